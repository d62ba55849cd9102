"""The key of the API: a file of its own in the data folder, which nobody else on this computer may
read. Made when the API is first used; a new one makes the old one worthless."""

import hmac
import secrets
from pathlib import Path
from threading import RLock

from chat_app.errors import ChatError
from chat_app.language import tr
from storage.files import replace_text

PREFIX = "twofold-"


class ApiKey:
    """Raises ChatError where its file can neither be read nor written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = RLock()

    def read(self) -> str:
        """The key, made now if there is none; an empty file, as a crash may leave, is none."""
        with self._lock:
            return self._stored() or self.renew()

    def renew(self) -> str:
        """Make another key; the one before opens nothing any more."""
        key = PREFIX + secrets.token_urlsafe(32)
        with self._lock:
            try:
                replace_text(self._path, key, mode=0o600)
            except OSError as error:
                raise ChatError(
                    tr(
                        "{folder} cannot be written ({error}).",
                        folder=self._path,
                        error=error.strerror,
                    )
                ) from error
        return key

    def opens(self, given: str) -> bool:
        return bool(given) and hmac.compare_digest(given.encode(), self.read().encode())

    def _stored(self) -> str:
        try:
            return self._path.read_text(encoding="ascii").strip()
        except (FileNotFoundError, UnicodeDecodeError):
            return ""
        except OSError as error:
            raise ChatError(
                tr("{file} cannot be read ({error}).", file=self._path, error=error.strerror)
            ) from error
