"""Keeps the page to this computer and its scripts to ours.

Gradio binds where it is told, but checks neither Host nor, on every path, Origin: a web page
elsewhere could reach it through DNS rebinding. So each request must name this machine, and come
from this page if it comes from a page at all. Browsers leave Origin out where a page loads a
picture or follows a link, and say in Sec-Fetch-Site whose page it is; programs send neither. The
headers keep the page out of frames and make the browser itself refuse every request to another
host, whatever a model or a person wrote.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",  # Gradio evaluates our page.js
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


class LocalGuard:
    """ASGI middleware without buffering, so that streamed replies pass through as they come."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        if is_local(headers) and is_own(headers, scope["path"]):
            await self._app(scope, receive, send_with_headers)
        else:
            told = "twofold answers only to this computer and to its own page."
            refusal = PlainTextResponse(told, status_code=403)
            await refusal(scope, receive, send_with_headers)


def is_local(headers: Headers) -> bool:
    """Whether a request names this machine and, if a page sent it, comes from our own page."""
    host = headers.get("host", "")
    if urlsplit(f"//{host}").hostname not in LOCAL_NAMES:
        return False
    origin = headers.get("origin")
    return origin is None or origin == f"http://{host}"


def is_own(headers: Headers, path: str) -> bool:
    """Whether no page elsewhere, another port of this machine included, has sent a request.

    A link to the page itself may stand anywhere: following it does nothing but open the page.
    """
    if headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
        return True
    followed = headers.get("sec-fetch-mode") == "navigate"
    return path == "/" and followed and headers.get("sec-fetch-dest") == "document"
