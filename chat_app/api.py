"""``/v1``: OpenAI's chat completions for other programs on this computer.

Off until the person switches it on, and closed without the key. The guard in front (``guard.py``)
lets nobody in from elsewhere.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from threading import Event
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from chat_app.api_key import ApiKey
from chat_app.completions import Completions, Told
from chat_app.errors import ChatError
from chat_app.openai_shapes import (
    END,
    FINISHES,
    THUMBS,
    ApiError,
    Asked,
    chunk,
    event,
    models_body,
    read_feedback,
    read_request,
    reply_body,
)

MAX_BODY_BYTES = 2**20
GONE = 499
"""Status of an answer that nobody hears any more: nginx's, there is none in the standard."""
ID = "chatcmpl-"

Heard = str | Told | ApiError
_T = TypeVar("_T")


class Api:
    """The routes, over ``completions``; ``is_on`` is asked at every request."""

    def __init__(
        self, completions: Completions, key: ApiKey, *, max_chars: int, is_on: Callable[[], bool]
    ) -> None:
        self._completions = completions
        self._key = key
        self._max_chars = max_chars
        self._is_on = is_on
        self._started = int(time.time())

    def add_to(self, app: FastAPI) -> None:
        """Answer under ``/v1``, before Gradio takes the rest of the addresses."""

        @app.get("/v1/models")
        async def models(request: Request) -> Response:
            return self._answered(request, lambda: JSONResponse(models_body(self._started)))

        @app.post("/v1/chat/completions")
        async def complete(request: Request) -> Response:
            try:
                self._let_in(request)
                asked = read_request(await _body(request), max_chars=self._max_chars)
                answer = Answer(self._completions, asked)
                return await (answer.streamed if asked.stream else answer.whole)(request)
            except ApiError as error:
                return _refusal(error)

        @app.post("/v1/feedback")
        async def feedback(request: Request) -> Response:
            try:
                self._let_in(request)
                return self._rate(await _body(request))
            except ApiError as error:
                return _refusal(error)

        @app.api_route("/v1/{rest:path}", methods=["GET", "POST"])
        async def unknown(request: Request) -> Response:
            def refuse() -> Response:
                raise ApiError(f"There is no {request.url.path} here.", status=404)

            return self._answered(request, refuse)

    def _answered(self, request: Request, answer: Callable[[], Response]) -> Response:
        try:
            self._let_in(request)
            return answer()
        except ApiError as error:
            return _refusal(error)

    def _let_in(self, request: Request) -> None:
        if not self._is_on():
            raise ApiError("The API is off: switch it on under Settings.", status=403)
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        try:
            opens = scheme.lower() == "bearer" and self._key.opens(given.strip())
        except ChatError as error:
            raise ApiError(str(error), status=500) from error
        if not opens:
            raise ApiError(
                "This is not the key: it stands under Settings.",
                status=401,
                code="invalid_api_key",
            )

    def _rate(self, body: bytes) -> Response:
        rated = read_feedback(body)
        try:
            self._completions.rate(rated.id.removeprefix(ID), THUMBS[rated.rating])
        except ChatError as error:
            raise ApiError(str(error), status=404, param="id") from error
        return JSONResponse({"id": rated.id, "object": "feedback", "rating": rated.rating})


class Answer:
    """One reply on its way from the model's thread to a client."""

    def __init__(self, completions: Completions, asked: Asked) -> None:
        self._heard: asyncio.Queue[Heard] = asyncio.Queue()
        self._cancel = Event()
        self._created = int(time.time())
        self._id = ID + secrets.token_hex(12)
        loop = asyncio.get_running_loop()

        def hear(one: Heard) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._heard.put_nowait, one)

        completions.reply(asked, write=hear, done=hear, cancel=self._cancel)

    async def whole(self, request: Request) -> Response:
        told = await self._while_there(request, self._told())
        if told is None:
            return Response(status_code=GONE)
        return JSONResponse(reply_body(self._name(told), self._created, told.text, told.completion))

    async def streamed(self, request: Request) -> Response:
        # What fails before the first word is a plain error.
        first = await self._while_there(request, self._next())
        if first is None:
            return Response(status_code=GONE)
        return StreamingResponse(self._events(first), media_type="text/event-stream")

    async def _next(self) -> str | Told:
        one = await self._heard.get()
        if isinstance(one, ApiError):
            raise one
        return one

    async def _told(self) -> Told:
        while isinstance(one := await self._next(), str):
            pass
        return one

    async def _while_there(self, request: Request, hearing: Coroutine[Any, Any, _T]) -> _T | None:
        """What is heard, or None where the client goes away first: its reply then ends.

        Listens for that all the while. ``request.is_disconnected()`` takes only what can be had
        without waiting, which behind a middleware that waits itself (hang_up.py) is nothing.
        """
        heard = asyncio.ensure_future(hearing)
        gone = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait({heard, gone}, return_when=asyncio.FIRST_COMPLETED)
            if heard.done():
                return heard.result()
            self._cancel.set()
            return None
        finally:
            heard.cancel()
            gone.cancel()

    async def _events(self, one: Heard) -> AsyncIterator[bytes]:
        try:
            yield chunk(self._id, self._created, {"role": "assistant", "content": ""})
            while isinstance(one, str):
                yield chunk(self._id, self._created, {"content": one})
                one = await self._heard.get()
            if isinstance(one, ApiError):
                yield event(one.body())
            else:
                finish = FINISHES[one.completion.finish_reason]
                yield chunk(self._name(one), self._created, {}, finish)
            yield END
        finally:
            self._cancel.set()  # the client may have gone

    def _name(self, told: Told) -> str:
        """What feedback calls a reply that was kept."""
        return self._id if told.kept is None else f"{ID}{told.kept}"


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise ApiError("The request is larger than 1 MB.", status=413)
    return body


async def _gone(request: Request) -> None:
    """Wait until the client of a request that was read to its end goes away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _refusal(error: ApiError) -> Response:
    return JSONResponse(error.body(), status_code=error.status)
