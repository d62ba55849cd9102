"""A file of records, line by line: what can be taken in, and what is wrong with the rest.

It reads what TRL calls a preference dataset, conversational or plain, with the prompt of its own or
inside both conversations; dialogues as lists of messages; and what ``twofold export`` writes,
rankings among it. The kinds may stand in one file. Nothing is stored here.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from chat_app.exports import LABEL_COLUMNS
from chat_app.language import tr, tr_told
from storage.records import Choice, Label, Message, Role
from storage.slates import Criterion, Orders, Ranks
from storage.text import clean_text, storable_text

MAX_TEXT_CHARS = 100_000
"""A longer text is surely not a message."""
MAX_LINES = 100_000
MAX_DECISION_MS = 2**63 - 1
"""The largest number that SQLite holds."""
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
    labels: tuple[tuple[Label, ...], tuple[Label, ...]]
    """What is marked in the first and the second reply."""
    excluded: bool
    """It was left out of learning where it comes from."""
    meta_json: str

    @property
    def sha256(self) -> str:
        """Of the content: the same pair in another file has the same one."""
        messages = [[message.role.value, message.content] for message in self.prompt]
        return _sha256([messages, self.first, self.second, self.choice.value, self.id])


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRanking:
    """A ranking of a file: answers in the order shown there, and their ranks."""

    line: int
    prompt: tuple[Message, ...]
    answers: tuple[str, ...]
    orders: Orders
    id: str | None
    held_out: bool | None
    decision_ms: int
    meta_json: str

    @property
    def sha256(self) -> str:
        own = {name.value: list(ranks) for name, ranks in sorted(self.orders.criteria.items())}
        messages = [[message.role.value, message.content] for message in self.prompt]
        return _sha256([messages, self.answers, self.orders.overall, own, self.id])


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDialogue:
    """A dialogue of a file: it ends with a reply."""

    line: int
    messages: tuple[Message, ...]
    id: str | None
    held_out: bool | None
    meta_json: str

    @property
    def sha256(self) -> str:
        messages = [[message.role.value, message.content] for message in self.messages]
        return _sha256([messages, self.id])


FileRecord = FilePair | FileRanking | FileDialogue


@dataclass(frozen=True, slots=True, kw_only=True)
class FileProblem:
    line: int
    sentence: str


class _BadLineError(Exception):
    """Its text says what is wrong with the line."""


def read_records(lines: Iterable[str]) -> Iterator[FileRecord | FileProblem]:
    """Yield for every line that is not blank the record it holds, or what is wrong with it."""
    for number, line in enumerate(lines, start=1):
        if number > MAX_LINES:
            yield FileProblem(
                line=number,
                sentence=tr(
                    "only the first {MAX_LINES:,} lines are read; split the file",
                    MAX_LINES=MAX_LINES,
                ),
            )
            return
        if not line.strip():
            continue
        try:
            yield _record(number, line)
        except _BadLineError as error:
            yield FileProblem(line=number, sentence=str(error))


def _record(number: int, line: str) -> FileRecord:
    row = _row(line)
    if "messages" in row:
        return _dialogue(number, row)
    if "answers" in row or "ranks" in row:
        return _ranking(number, row)
    return _pair(number, row)


def _dialogue(number: int, row: dict[str, Any]) -> FileDialogue:
    messages = _messages(row, "messages")
    if not messages or messages[-1].role is not Role.ASSISTANT:
        raise _BadLineError(tr("the messages do not end with a reply of the assistant"))
    _check_prompt(messages[:-1])
    meta = _meta(row)
    _refuse_excluded(meta)
    return FileDialogue(
        line=number,
        messages=messages,
        id=_id(meta),
        held_out=_truth(meta, "meta_held_out"),
        meta_json=_meta_json(meta),
    )


def _ranking(number: int, row: dict[str, Any]) -> FileRanking:
    prompt = _messages(row, "prompt")
    _check_prompt(prompt)
    said, ranks = row.get("answers"), row.get("ranks")
    if not isinstance(said, list):
        raise _BadLineError(tr("answers is not a list of texts"))
    answers = tuple(_text(one, "answers", said=Role.ASSISTANT) for one in said)
    if len(set(answers)) < len(answers):
        raise _BadLineError(tr("two of the answers are the same"))
    meta = _meta(row)
    _refuse_excluded(meta)
    return FileRanking(
        line=number,
        prompt=prompt,
        answers=answers,
        orders=_orders(ranks, len(answers)),
        id=_id(meta),
        held_out=_truth(meta, "meta_held_out"),
        decision_ms=_decision_ms(meta),
        meta_json=_meta_json(meta),
    )


def _orders(ranks: Any, answers: int) -> Orders:  # noqa: ANN401 - whatever JSON may hold
    if not isinstance(ranks, dict) or Criterion.OVERALL.value not in ranks:
        raise _BadLineError(tr("ranks is not an object with ranks for 'overall'"))
    unknown = sorted(set(ranks) - set(Criterion))
    if unknown:
        known = ", ".join(Criterion)
        raise _BadLineError(
            tr("{name!r} is no criterion; known are {known}", name=unknown[0], known=known)
        )
    given: dict[str, Ranks] = {}
    for name, one in ranks.items():
        if not isinstance(one, list) or not all(type(rank) is int for rank in one):
            raise _BadLineError(
                tr("the ranks on {name} are not a list of whole numbers", name=name)
            )
        if len(one) != answers:
            raise _BadLineError(
                tr(
                    "{name} ranks {n} answers, and there are {answers}",
                    name=name,
                    n=len(one),
                    answers=answers,
                )
            )
        given[name] = tuple(one)
    overall = given.pop(Criterion.OVERALL.value)
    try:
        return Orders(overall=overall, criteria={Criterion(k): v for k, v in given.items()})
    except ValueError as error:
        raise _BadLineError(tr_told(str(error))) from error


def _pair(number: int, row: dict[str, Any]) -> FilePair:
    if "first" in row and "second" in row:
        prompt = _messages(row, "prompt")
        first, second = _reply(row, "first"), _reply(row, "second")
        choice = _choice(row.get("choice"))
    else:
        prompt, chosen, rejected = _explicit(row)
        choice = _choice(row.get("meta_choice", _either(prompt, chosen, rejected)))
        if choice not in (Choice.FIRST, Choice.SECOND):
            raise _BadLineError(
                tr("meta_choice is {value}, but a better reply is named", value=choice.value)
            )
        first, second = (chosen, rejected) if choice is Choice.FIRST else (rejected, chosen)
    _check_prompt(prompt)
    if first == second:
        raise _BadLineError(tr("both replies are the same"))
    meta = _meta(row)
    marked_first, marked_second = (_labels(meta, name) for name in LABEL_COLUMNS)
    return FilePair(
        line=number,
        prompt=prompt,
        first=first,
        second=second,
        choice=choice,
        id=_id(meta),
        held_out=_truth(meta, "meta_held_out"),
        decision_ms=_decision_ms(meta),
        labels=(marked_first, marked_second),
        excluded=bool(_truth(meta, "meta_excluded")),
        meta_json=_meta_json(meta),
    )


def _row(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise _BadLineError(tr("not JSON ({error})", error=error)) from error
    except RecursionError as error:
        raise _BadLineError(tr("nested too deeply")) from error
    if not isinstance(row, dict):
        raise _BadLineError(tr("not a JSON object"))
    if {"messages", "answers", "ranks"} & set(row):
        return row
    missing = [name for name in ("chosen", "rejected") if name not in row]
    if missing and not ("first" in row and "second" in row):
        raise _BadLineError(tr("there is no {known}", known=tr(" and no ").join(missing)))
    return row


def _explicit(row: dict[str, Any]) -> tuple[tuple[Message, ...], str, str]:
    """Prompt, chosen and rejected; a prompt inside both conversations is what they share."""
    if "prompt" in row:
        return _messages(row, "prompt"), _reply(row, "chosen"), _reply(row, "rejected")
    chosen, rejected = _messages(row, "chosen"), _messages(row, "rejected")
    if chosen[:-1] != rejected[:-1]:
        raise _BadLineError(tr("chosen and rejected do not begin with the same prompt"))
    for name, message in (("chosen", chosen[-1]), ("rejected", rejected[-1])):
        if message.role is not Role.ASSISTANT:
            raise _BadLineError(tr("{name} does not end with a reply of the assistant", name=name))
    return chosen[:-1], chosen[-1].content, rejected[-1].content


def _messages(row: dict[str, Any], name: str) -> tuple[Message, ...]:
    """A list of messages; a plain string is one message of a user."""
    value = row.get(name)
    if isinstance(value, str):
        return (Message(role=Role.USER, content=_text(value, name)),)
    if not isinstance(value, list):
        raise _BadLineError(tr("{name} is neither text nor a list of messages", name=name))
    return tuple(_message(one, name) for one in value)


def _message(value: Any, name: str) -> Message:  # noqa: ANN401 - whatever JSON may hold
    if not isinstance(value, dict):
        raise _BadLineError(tr("{name} holds something that is not a message", name=name))
    roles = [role.value for role in Role]
    if value.get("role") not in roles:
        raise _BadLineError(
            tr(
                "{name} has a message of the role {role!r}; known are {known}",
                name=name,
                role=value.get("role"),
                known=", ".join(roles),
            )
        )
    role = Role(value["role"])
    return Message(role=role, content=_text(value.get("content"), name, said=role))


def _reply(row: dict[str, Any], name: str) -> str:
    if isinstance(row[name], str):
        return _text(row[name], name, said=Role.ASSISTANT)
    messages = _messages(row, name)
    if len(messages) != 1 or messages[0].role is not Role.ASSISTANT:
        raise _BadLineError(tr("{name} is not one reply of the assistant", name=name))
    return messages[0].content


def _text(
    value: Any,  # noqa: ANN401 - whatever JSON may hold
    name: str,
    *,
    said: Role = Role.USER,
) -> str:
    if not isinstance(value, str):
        raise _BadLineError(tr("a text in {name} is not a string", name=name))
    # A reply is kept as it was said, as those that are written here.
    text = storable_text(value) if said is Role.ASSISTANT else clean_text(value)
    if not text.strip():
        raise _BadLineError(tr("a text in {name} is empty", name=name))
    if len(text) > MAX_TEXT_CHARS:
        raise _BadLineError(
            tr(
                "a text in {name} has more than {MAX_TEXT_CHARS:,} characters",
                name=name,
                MAX_TEXT_CHARS=MAX_TEXT_CHARS,
            )
        )
    return text


def _check_prompt(prompt: tuple[Message, ...]) -> None:
    roles = [message.role for message in prompt]
    if not roles or roles[-1] is not Role.USER:
        raise _BadLineError(tr("the prompt does not end with a message of the user"))
    if Role.SYSTEM in roles[1:]:
        raise _BadLineError(tr("a system message stands elsewhere than at the beginning"))
    before = [None, *roles]
    if any(
        role is Role.ASSISTANT and last is not Role.USER
        for last, role in zip(before, roles, strict=False)
    ):
        raise _BadLineError(tr("a reply in the prompt does not follow a message of the user"))


def _choice(value: Any) -> Choice:  # noqa: ANN401 - whatever JSON may hold
    allowed = [choice.value for choice in Choice if choice is not Choice.WITHDRAWN]
    if value == Choice.WITHDRAWN.value:
        raise _BadLineError(tr("this choice was taken back"))
    if value not in allowed:
        raise _BadLineError(
            tr("the choice is {value!r}; known are {known}", value=value, known=", ".join(allowed))
        )
    return Choice(value)


def _either(prompt: tuple[Message, ...], chosen: str, rejected: str) -> str:
    """Which one counts as shown first, where the file does not say: a coin that falls by content,
    so that no position is preferred and a second import says the same."""
    content = json.dumps([[message.content for message in prompt], chosen, rejected])
    bit = hashlib.sha256(content.encode()).digest()[0] & 1
    return Choice.FIRST.value if bit else Choice.SECOND.value


def _meta(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name.startswith("meta_")}


def _meta_json(meta: dict[str, Any]) -> str:
    return storable_text(json.dumps(meta, ensure_ascii=False))


def _sha256(content: list[Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _id(meta: dict[str, Any]) -> str | None:
    id_ = meta.get("meta_id")
    if id_ is None:
        return None
    if (
        not isinstance(id_, str)
        or not id_.isascii()
        or not MIN_ID_CHARS <= len(id_) <= 2 * MIN_ID_CHARS
    ):
        raise _BadLineError(tr("meta_id is not an id of twofold's"))
    return id_


def _truth(meta: dict[str, Any], name: str) -> bool | None:
    value = meta.get(name)
    if value is not None and not isinstance(value, bool):
        raise _BadLineError(tr("{name} is neither true nor false", name=name))
    return value


def _refuse_excluded(meta: dict[str, Any]) -> None:
    """Only a choice can be here without teaching."""
    if _truth(meta, "meta_excluded"):
        raise _BadLineError(tr("meta_excluded is true: it is not to be learned from"))


def _decision_ms(meta: dict[str, Any]) -> int:
    value = meta.get("meta_decision_ms", 0)
    if not isinstance(value, int) or not 0 <= value <= MAX_DECISION_MS:
        raise _BadLineError(tr("meta_decision_ms is not a number of milliseconds"))
    return value


def _labels(meta: dict[str, Any], name: str) -> tuple[Label, ...]:
    given = meta.get(name) or []
    if not isinstance(given, list) or not all(one in list(Label) for one in given):
        raise _BadLineError(
            tr(
                "{name} is not a list of labels; known are {known}",
                name=name,
                known=", ".join(Label),
            )
        )
    return tuple(label for label in Label if label in given)
