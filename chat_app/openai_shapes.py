"""The shapes of OpenAI's chat completions: a request read, a reply and an error written.

What a client may ask for and does not get is refused by name, never silently left out.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storage.records import Completion, FinishReason, Message, Role, Thumb
from storage.text import storable_text

MODEL = "twofold"
"""The name of whichever version is live."""
ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
}
REFUSED = ("tools", "functions", "logprobs", "response_format", "audio", "logit_bias")
"""Wishes that would change the reply and cannot be met."""
NEUTRAL: Mapping[str, tuple[float, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "top_k": (0, -1),
    "min_p": (0,),
}
"""The same of numbers, with those that ask for nothing: many clients send them always."""
MAX_STOPS = 4
MAX_WHOLE = 2**53 - 1
"""The largest whole number that every reader of JSON reads alike."""
THUMBS = {"up": Thumb.UP, "down": Thumb.DOWN, "none": Thumb.NONE}
FINISHES = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.ABORTED: "stop",
}


class ApiError(Exception):
    """Told to a client in OpenAI's own shape."""

    def __init__(
        self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code

    def body(self) -> dict[str, Any]:
        kind = {401: "authentication_error", 403: "permission_error"}.get(self.status)
        kind = kind or ("server_error" if self.status >= 500 else "invalid_request_error")
        error = {"message": str(self), "type": kind, "param": self.param, "code": self.code}
        return {"error": error}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a client asks for."""

    messages: tuple[Message, ...]
    stream: bool = False
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stops: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rated:
    """What a client says of a reply."""

    id: str
    rating: str
    """One of ``THUMBS``."""


def read_request(body: bytes, *, max_chars: int) -> Asked:
    """Raises ApiError with the name of the field at fault."""
    given = _object(body)
    model = given.get("model", MODEL)
    if model != MODEL:
        named = f"model {model!r}" if isinstance(model, str) else "such model"
        raise ApiError(
            f"There is no {named} here; its name is {MODEL!r}.",
            status=404,
            param="model",
            code="model_not_found",
        )
    for name in REFUSED:
        if given.get(name):
            raise ApiError(f"{name} cannot be had here: leave it out.", param=name)
    for name, nothing in NEUTRAL.items():
        if given.get(name) not in (None, *nothing):
            raise ApiError(f"{name} cannot be had here: leave it out.", param=name)
    if given.get("n") not in (None, 1):
        raise ApiError("n must be 1: one reply is written.", param="n")
    return Asked(
        messages=_messages(given.get("messages"), max_chars),
        stream=_flag(given, "stream"),
        temperature=_number(given, "temperature", 0, 5),
        top_p=_number(given, "top_p", 0.01, 1),
        max_tokens=_whole(given, "max_completion_tokens", 1) or _whole(given, "max_tokens", 1),
        seed=_whole(given, "seed", 0),
        stops=_stops(given.get("stop")),
    )


def read_feedback(body: bytes) -> Rated:
    """Raises ApiError with the name of the field at fault."""
    given = _object(body)
    id_ = given.get("id")
    if not isinstance(id_, str) or not id_.isascii():
        raise ApiError("id must be that of a reply that was kept.", param="id")
    if given.get("rating") not in list(THUMBS):
        raise ApiError(f"rating must be one of {', '.join(THUMBS)}.", param="rating")
    return Rated(id=id_, rating=given["rating"])


def reply_body(id_: str, created: int, text: str, completion: Completion) -> dict[str, Any]:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": FINISHES[completion.finish_reason],
        "logprobs": None,
    }
    return _envelope(id_, created, "chat.completion", choice)


def chunk(id_: str, created: int, delta: Mapping[str, str], finish: str | None = None) -> bytes:
    """One event of a stream."""
    choice = {"index": 0, "delta": dict(delta), "finish_reason": finish}
    return event(_envelope(id_, created, "chat.completion.chunk", choice))


def event(body: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


END = b"data: [DONE]\n\n"


def models_body(created: int) -> dict[str, Any]:
    model = {"id": MODEL, "object": "model", "created": created, "owned_by": "twofold"}
    return {"object": "list", "data": [model]}


def _envelope(id_: str, created: int, kind: str, choice: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": id_, "object": kind, "created": created, "model": MODEL, "choices": [choice]}


def _object(body: bytes) -> dict[str, Any]:
    try:
        given = json.loads(body)
    except ValueError as error:
        raise ApiError(f"The body is not JSON: {error}.") from error
    except RecursionError as error:
        raise ApiError("The body is nested too deeply.") from error
    if not isinstance(given, dict):
        raise ApiError("The body is not a JSON object.")
    return given


def _messages(given: object, max_chars: int) -> tuple[Message, ...]:
    if not isinstance(given, list) or not given:
        raise ApiError("messages must be a list with a message in it.", param="messages")
    messages = tuple(_message(one, f"messages[{at}]", max_chars) for at, one in enumerate(given))
    if messages[-1].role is not Role.USER:
        raise ApiError("The last message must be the user's.", param="messages")
    if any(one.role is Role.SYSTEM for one in messages[1:]):
        raise ApiError("A system message can only be the first.", param="messages")
    return messages


def _message(given: object, where: str, max_chars: int) -> Message:
    if not isinstance(given, dict) or given.get("role") not in list(ROLES):
        raise ApiError(
            f"{where} needs a role; known are {', '.join(ROLES)}.", param=f"{where}.role"
        )
    text = _text(given.get("content"), f"{where}.content")
    if not text.strip():
        raise ApiError(f"{where} is empty.", param=f"{where}.content")
    if len(text) > max_chars:
        raise ApiError(
            f"{where} has {len(text):,} characters; at most {max_chars:,} fit.",
            param=f"{where}.content",
            code="context_length_exceeded",
        )
    return Message(role=ROLES[given["role"]], content=text)


def _text(content: object, where: str) -> str:
    """What JSON can hold and no encoding can, a lone surrogate, is replaced as on the page."""
    if isinstance(content, str):
        return storable_text(content)
    if not isinstance(content, list):
        raise ApiError(f"{where} must be text.", param=where)
    parts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text":
            raise ApiError(f"{where} can only hold text here.", param=where)
        if not isinstance(part.get("text"), str):
            raise ApiError(f"{where} has a part without a text.", param=where)
        parts.append(part["text"])
    return storable_text("".join(parts))


def _stops(given: object) -> tuple[str, ...]:
    stops: Sequence[object] = [given] if isinstance(given, str) else given or []  # type: ignore[assignment]
    fine = isinstance(stops, list) and all(isinstance(one, str) and one for one in stops)
    if not fine or len(stops) > MAX_STOPS:
        raise ApiError(f"stop must be a text, or up to {MAX_STOPS} texts.", param="stop")
    return tuple(map(str, stops))


def _flag(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name)
    if not isinstance(value, bool | None):
        raise ApiError(f"{name} must be true or false.", param=name)
    return bool(value)


def _number(given: Mapping[str, Any], name: str, low: float, high: float) -> float | None:
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ApiError(f"{name} must be a number from {low} to {high}.", param=name)
    return float(value)


def _whole(given: Mapping[str, Any], name: str, low: int) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    fits = isinstance(value, int) and not isinstance(value, bool) and low <= value <= MAX_WHOLE
    if not fits:
        raise ApiError(f"{name} must be a whole number from {low} to {MAX_WHOLE}.", param=name)
    return value
