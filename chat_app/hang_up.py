"""Ends the open streams of all pages when the server ends.

A page listens for as long as it is open, so a server that waits for its connections would wait for
ever, and one that breaks them off writes an alarming traceback for each. So once ``ending`` is set
every response is told what it would hear if its page were closed, and is completed.
"""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HangUp:
    """ASGI middleware; set ``ending`` on the server's own event loop."""

    def __init__(self, app: ASGIApp, ending: asyncio.Event) -> None:
        self._app = app
        self._ending = ending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        unfinished = False

        async def receive_or_end() -> Message:
            said = asyncio.ensure_future(receive())
            ended = asyncio.create_task(self._ending.wait())
            try:
                await asyncio.wait({said, ended}, return_when=asyncio.FIRST_COMPLETED)
                return said.result() if said.done() else {"type": "http.disconnect"}
            finally:
                said.cancel()
                ended.cancel()

        async def send_and_note(message: Message) -> None:
            nonlocal unfinished
            unfinished = message["type"] == "http.response.start" or message.get("more_body", False)
            await send(message)

        await self._app(scope, receive_or_end, send_and_note)
        if unfinished and self._ending.is_set():
            await send({"type": "http.response.body", "body": b""})
