"""The fields of a line of a file of records, each checked: what is wrong is a ``BadLineError``."""

import json
from typing import Any

from chat_app.language import tr, tr_told
from storage.records import Choice, Label, Message, Role
from storage.slates import Criterion, Orders, Ranks
from storage.text import clean_text, storable_text

MAX_TEXT_CHARS = 100_000
"""A longer text is surely not a message."""
MAX_DECISION_MS = 2**63 - 1
"""The largest number that SQLite holds."""
MIN_ID_CHARS = 32


class BadLineError(Exception):
    """Its text says what is wrong with the line."""


def messages_of(row: dict[str, Any], name: str) -> tuple[Message, ...]:
    """A list of messages; a plain string is one message of a user."""
    value = row.get(name)
    if isinstance(value, str):
        return (Message(role=Role.USER, content=text_of(value, name)),)
    if not isinstance(value, list):
        raise BadLineError(tr("{name} is neither text nor a list of messages", name=name))
    return tuple(_message(one, name) for one in value)


def _message(value: Any, name: str) -> Message:  # noqa: ANN401 - whatever JSON may hold
    if not isinstance(value, dict):
        raise BadLineError(tr("{name} holds something that is not a message", name=name))
    roles = [role.value for role in Role]
    if value.get("role") not in roles:
        raise BadLineError(
            tr(
                "{name} has a message of the role {role!r}; known are {known}",
                name=name,
                role=value.get("role"),
                known=", ".join(roles),
            )
        )
    role = Role(value["role"])
    return Message(role=role, content=text_of(value.get("content"), name, said=role))


def reply_of(row: dict[str, Any], name: str) -> str:
    if isinstance(row[name], str):
        return text_of(row[name], name, said=Role.ASSISTANT)
    messages = messages_of(row, name)
    if len(messages) != 1 or messages[0].role is not Role.ASSISTANT:
        raise BadLineError(tr("{name} is not one reply of the assistant", name=name))
    return messages[0].content


def text_of(
    value: Any,  # noqa: ANN401 - whatever JSON may hold
    name: str,
    *,
    said: Role = Role.USER,
) -> str:
    if not isinstance(value, str):
        raise BadLineError(tr("a text in {name} is not a string", name=name))
    # A reply is kept as it was said, as those that are written here.
    text = storable_text(value) if said is Role.ASSISTANT else clean_text(value)
    if not text.strip():
        raise BadLineError(tr("a text in {name} is empty", name=name))
    if len(text) > MAX_TEXT_CHARS:
        raise BadLineError(
            tr(
                "a text in {name} has more than {MAX_TEXT_CHARS:,} characters",
                name=name,
                MAX_TEXT_CHARS=MAX_TEXT_CHARS,
            )
        )
    return text


def check_prompt(prompt: tuple[Message, ...]) -> None:
    roles = [message.role for message in prompt]
    if not roles or roles[-1] is not Role.USER:
        raise BadLineError(tr("the prompt does not end with a message of the user"))
    if Role.SYSTEM in roles[1:]:
        raise BadLineError(tr("a system message stands elsewhere than at the beginning"))
    before = [None, *roles]
    if any(
        role is Role.ASSISTANT and last is not Role.USER
        for last, role in zip(before, roles, strict=False)
    ):
        raise BadLineError(tr("a reply in the prompt does not follow a message of the user"))


def orders_of(ranks: Any, answers: int) -> Orders:  # noqa: ANN401 - whatever JSON may hold
    if not isinstance(ranks, dict) or Criterion.OVERALL.value not in ranks:
        raise BadLineError(tr("ranks is not an object with ranks for 'overall'"))
    unknown = sorted(set(ranks) - set(Criterion))
    if unknown:
        known = ", ".join(Criterion)
        raise BadLineError(
            tr("{name!r} is no criterion; known are {known}", name=unknown[0], known=known)
        )
    given: dict[str, Ranks] = {}
    for name, one in ranks.items():
        if not isinstance(one, list) or not all(type(rank) is int for rank in one):
            raise BadLineError(tr("the ranks on {name} are not a list of whole numbers", name=name))
        if len(one) != answers:
            raise BadLineError(
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
        raise BadLineError(tr_told(str(error))) from error


def choice_of(value: Any) -> Choice:  # noqa: ANN401 - whatever JSON may hold
    allowed = [choice.value for choice in Choice if choice is not Choice.WITHDRAWN]
    if value == Choice.WITHDRAWN.value:
        raise BadLineError(tr("this choice was taken back"))
    if value not in allowed:
        raise BadLineError(
            tr("the choice is {value!r}; known are {known}", value=value, known=", ".join(allowed))
        )
    return Choice(value)


def labels_of(meta: dict[str, Any], name: str) -> tuple[Label, ...]:
    given = meta.get(name) or []
    if not isinstance(given, list) or not all(one in list(Label) for one in given):
        raise BadLineError(
            tr(
                "{name} is not a list of labels; known are {known}",
                name=name,
                known=", ".join(Label),
            )
        )
    return tuple(label for label in Label if label in given)


def id_of(meta: dict[str, Any]) -> str | None:
    id_ = meta.get("meta_id")
    if id_ is None:
        return None
    if (
        not isinstance(id_, str)
        or not id_.isascii()
        or not MIN_ID_CHARS <= len(id_) <= 2 * MIN_ID_CHARS
    ):
        raise BadLineError(tr("meta_id is not an id of twofold's"))
    return id_


def truth_of(meta: dict[str, Any], name: str) -> bool | None:
    value = meta.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadLineError(tr("{name} is neither true nor false", name=name))
    return value


def refuse_excluded(meta: dict[str, Any]) -> None:
    """Only a choice can be here without teaching."""
    if truth_of(meta, "meta_excluded"):
        raise BadLineError(tr("meta_excluded is true: it is not to be learned from"))


def refuse_criterion(meta: dict[str, Any]) -> None:
    """A choice is about the whole reply; the pairs of a ranking may be about one side of it."""
    criterion = meta.get("meta_criterion")
    if criterion not in (None, Criterion.OVERALL.value):
        raise BadLineError(
            tr(
                "meta_criterion is {value!r}, and a choice is overall: import the format rankings "
                "instead",
                value=criterion,
            )
        )


def decision_ms_of(meta: dict[str, Any]) -> int:
    value = meta.get("meta_decision_ms")
    if value is None:
        return 0
    if not isinstance(value, int) or not 0 <= value <= MAX_DECISION_MS:
        raise BadLineError(tr("meta_decision_ms is not a number of milliseconds"))
    return value


def meta_of(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name.startswith("meta_")}


def meta_json(meta: dict[str, Any]) -> str:
    try:
        return storable_text(json.dumps(meta, ensure_ascii=False))
    except RecursionError as error:  # a little less deep than what json.loads refuses
        raise BadLineError(tr("nested too deeply")) from error
