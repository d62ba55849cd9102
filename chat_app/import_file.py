"""A file of preferences, line by line: what can be taken in, and what is wrong with the rest.

It reads what TRL calls a preference dataset, conversational or plain, with the prompt of its own or
inside both conversations, and what ``twofold export`` writes. Nothing is stored here.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from storage.records import Choice, Message, Role
from storage.text import clean_text, storable_text

MAX_TEXT_CHARS = 100_000
"""A longer text is surely not a message."""
MAX_LINES = 100_000
MIN_ID_CHARS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePair:
    """A pair of a file. ``choice`` names which of the two was better, in the order shown there."""

    line: int
    prompt: tuple[Message, ...]
    first: str
    second: str
    choice: Choice
    id: str | None
    held_out: bool | None
    decision_ms: int
    meta_json: str

    @property
    def sha256(self) -> str:
        """Of the content: the same pair in another file has the same one."""
        messages = [[message.role.value, message.content] for message in self.prompt]
        content = [messages, self.first, self.second, self.choice.value, self.id]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileProblem:
    line: int
    sentence: str


class _BadLineError(Exception):
    """Its text says what is wrong with the line."""


def read_pairs(lines: Iterable[str]) -> Iterator[FilePair | FileProblem]:
    """Yield for every line that is not blank the pair it holds, or what is wrong with it."""
    for number, line in enumerate(lines, start=1):
        if number > MAX_LINES:
            yield FileProblem(
                line=number, sentence=f"only the first {MAX_LINES:,} lines are read; split the file"
            )
            return
        if not line.strip():
            continue
        try:
            yield _pair(number, line)
        except _BadLineError as error:
            yield FileProblem(line=number, sentence=str(error))


def _pair(number: int, line: str) -> FilePair:
    row = _row(line)
    if "first" in row and "second" in row:
        prompt = _messages(row, "prompt")
        first, second = _reply(row, "first"), _reply(row, "second")
        choice = _choice(row.get("choice"))
    else:
        prompt, chosen, rejected = _explicit(row)
        choice = _choice(row.get("meta_choice", _either(prompt, chosen, rejected)))
        if choice not in (Choice.FIRST, Choice.SECOND):
            raise _BadLineError(f"meta_choice is {choice.value}, but a better reply is named")
        first, second = (chosen, rejected) if choice is Choice.FIRST else (rejected, chosen)
    _check_prompt(prompt)
    if first == second:
        raise _BadLineError("both replies are the same")
    meta = {name: value for name, value in row.items() if name.startswith("meta_")}
    return FilePair(
        line=number,
        prompt=prompt,
        first=first,
        second=second,
        choice=choice,
        id=_id(meta),
        held_out=_held_out(meta),
        decision_ms=_decision_ms(meta),
        meta_json=json.dumps(meta, ensure_ascii=False),
    )


def _row(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise _BadLineError(f"not JSON ({error})") from error
    except RecursionError as error:
        raise _BadLineError("nested too deeply") from error
    if not isinstance(row, dict):
        raise _BadLineError("not a JSON object")
    missing = [name for name in ("chosen", "rejected") if name not in row]
    if missing and not ("first" in row and "second" in row):
        raise _BadLineError(f"there is no {' and no '.join(missing)}")
    return row


def _explicit(row: dict[str, Any]) -> tuple[tuple[Message, ...], str, str]:
    """Prompt, chosen and rejected; a prompt inside both conversations is what they share."""
    if "prompt" in row:
        return _messages(row, "prompt"), _reply(row, "chosen"), _reply(row, "rejected")
    chosen, rejected = _messages(row, "chosen"), _messages(row, "rejected")
    if chosen[:-1] != rejected[:-1]:
        raise _BadLineError("chosen and rejected do not begin with the same prompt")
    for name, message in (("chosen", chosen[-1]), ("rejected", rejected[-1])):
        if message.role is not Role.ASSISTANT:
            raise _BadLineError(f"{name} does not end with a reply of the assistant")
    return chosen[:-1], chosen[-1].content, rejected[-1].content


def _messages(row: dict[str, Any], name: str) -> tuple[Message, ...]:
    """A list of messages; a plain string is one message of a user."""
    value = row.get(name)
    if isinstance(value, str):
        return (Message(role=Role.USER, content=_text(value, name)),)
    if not isinstance(value, list):
        raise _BadLineError(f"{name} is neither text nor a list of messages")
    return tuple(_message(one, name) for one in value)


def _message(value: Any, name: str) -> Message:  # noqa: ANN401 - whatever JSON may hold
    if not isinstance(value, dict):
        raise _BadLineError(f"{name} holds something that is not a message")
    roles = [role.value for role in Role]
    if value.get("role") not in roles:
        raise _BadLineError(
            f"{name} has a message of the role {value.get('role')!r}; known are {', '.join(roles)}"
        )
    role = Role(value["role"])
    return Message(role=role, content=_text(value.get("content"), name, said=role))


def _reply(row: dict[str, Any], name: str) -> str:
    if isinstance(row[name], str):
        return _text(row[name], name, said=Role.ASSISTANT)
    messages = _messages(row, name)
    if len(messages) != 1 or messages[0].role is not Role.ASSISTANT:
        raise _BadLineError(f"{name} is not one reply of the assistant")
    return messages[0].content


def _text(
    value: Any,  # noqa: ANN401 - whatever JSON may hold
    name: str,
    *,
    said: Role = Role.USER,
) -> str:
    if not isinstance(value, str):
        raise _BadLineError(f"a text in {name} is not a string")
    # A reply is kept as it was said, as those that are written here.
    text = storable_text(value) if said is Role.ASSISTANT else clean_text(value)
    if not text.strip():
        raise _BadLineError(f"a text in {name} is empty")
    if len(text) > MAX_TEXT_CHARS:
        raise _BadLineError(f"a text in {name} has more than {MAX_TEXT_CHARS:,} characters")
    return text


def _check_prompt(prompt: tuple[Message, ...]) -> None:
    roles = [message.role for message in prompt]
    if not roles or roles[-1] is not Role.USER:
        raise _BadLineError("the prompt does not end with a message of the user")
    if Role.SYSTEM in roles[1:]:
        raise _BadLineError("a system message stands elsewhere than at the beginning")
    before = [None, *roles]
    if any(
        role is Role.ASSISTANT and last is not Role.USER
        for last, role in zip(before, roles, strict=False)
    ):
        raise _BadLineError("a reply in the prompt does not follow a message of the user")


def _choice(value: Any) -> Choice:  # noqa: ANN401 - whatever JSON may hold
    allowed = [choice.value for choice in Choice if choice is not Choice.WITHDRAWN]
    if value == Choice.WITHDRAWN.value:
        raise _BadLineError("this choice was taken back")
    if value not in allowed:
        raise _BadLineError(f"the choice is {value!r}; known are {', '.join(allowed)}")
    return Choice(value)


def _either(prompt: tuple[Message, ...], chosen: str, rejected: str) -> str:
    """Which one counts as shown first, where the file does not say: a coin that falls by content,
    so that no position is preferred and a second import says the same."""
    content = json.dumps([[message.content for message in prompt], chosen, rejected])
    bit = hashlib.sha256(content.encode()).digest()[0] & 1
    return Choice.FIRST.value if bit else Choice.SECOND.value


def _id(meta: dict[str, Any]) -> str | None:
    id_ = meta.get("meta_id")
    if id_ is None:
        return None
    if not isinstance(id_, str) or not MIN_ID_CHARS <= len(id_) <= 2 * MIN_ID_CHARS:
        raise _BadLineError("meta_id is not an id of twofold's")
    return id_


def _held_out(meta: dict[str, Any]) -> bool | None:
    value = meta.get("meta_held_out")
    if value is not None and not isinstance(value, bool):
        raise _BadLineError("meta_held_out is neither true nor false")
    return value


def _decision_ms(meta: dict[str, Any]) -> int:
    value = meta.get("meta_decision_ms", 0)
    if not isinstance(value, int) or value < 0:
        raise _BadLineError("meta_decision_ms is not a number of milliseconds")
    return value
