"""The one port that the page has: taken by whoever serves it, looked at before a model loads."""

import errno
import socket

from chat_app.errors import ChatError

HOST = "127.0.0.1"


def bound(port: int) -> socket.socket:
    """A listening socket: from here on a browser waits instead of being refused.

    Raises ChatError where the port cannot be had.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise ChatError(_why(port, error)) from error
    return listening


def check_port(port: int) -> None:
    """Raise ChatError, before anything takes long, unless the port can be had now."""
    bound(port).close()


def _why(port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} is taken, perhaps by another twofold that still runs. "
            f"Close that one, or choose another port with --port."
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"Port {port} is not open to you: most systems keep those below 1024 for themselves. "
            "Choose another port with --port."
        )
    return f"Port {port} cannot be had ({error.strerror}): choose another one with --port."
