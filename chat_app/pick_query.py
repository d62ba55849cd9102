"""A filter of picks as plain words: from the page's boxes, a download's address, a command's flags.

Raises ChatError, with a sentence, for what cannot be meant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from urllib.parse import urlencode

from chat_app.errors import ChatError
from chat_app.language import tr
from storage.pick_list import PickFilter
from storage.records import AskReason, Choice, PolicyVersionId

Word = TypeVar("Word", Choice, AskReason)
STATES = ("used", "left-out", "held-out")
"""Teaches; excluded, forgotten, taken back, or of a chat that must not teach; only measures."""
MAX_DIGITS = 18
"""Of a number that the database can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PickQuery:
    """Every field may be empty, which means any."""

    words: str = ""
    choice: str = ""
    reason: str = ""
    version: str = ""
    state: str = ""
    since: str = ""
    """A day as 2026-11-22, in UTC."""
    until: str = ""
    """The last day that counts."""

    @staticmethod
    def of(values: Mapping[str, str]) -> "PickQuery":
        """Those of the values that are fields of a query."""
        names = {field.name for field in fields(PickQuery)}
        return PickQuery(**{name: value for name, value in values.items() if name in names})

    @staticmethod
    def listed(values: Sequence[str | None]) -> "PickQuery":
        """From the values of all fields, in their order; None is empty."""
        names = [field.name for field in fields(PickQuery)]
        return PickQuery(**{name: value or "" for name, value in zip(names, values, strict=True)})

    @property
    def is_empty(self) -> bool:
        return self == PickQuery()

    def urlencoded(self) -> str:
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return urlencode({name: value for name, value in given.items() if value})

    def filter(self) -> PickFilter:
        held_out = None
        if self.state in ("used", "held-out"):
            held_out = self.state == "held-out"
        elif self.state not in ("", "left-out"):
            raise ChatError(
                tr(
                    "{state} is no state; known are {known}.",
                    state=self.state,
                    known=", ".join(STATES),
                )
            )
        return PickFilter(
            words=self.words,
            choices=frozenset([_one_of(Choice, self.choice, "choice")] if self.choice else []),
            reason=_one_of(AskReason, self.reason, "reason") if self.reason else None,
            version=_version(self.version) if self.version else None,
            held_out=held_out,
            counts={"used": True, "left-out": False}.get(self.state),
            since=_day(self.since) if self.since else None,
            until=_day_after(_day(self.until)) if self.until else None,
        )


def _one_of(kind: type[Word], value: str, name: str) -> Word:
    try:
        return kind(value)
    except ValueError as error:
        known = ", ".join(kind)
        raise ChatError(
            tr("{value} is no {name}; known are {known}.", value=value, name=name, known=known)
        ) from error


def _version(value: str) -> PolicyVersionId:
    digits = value.removeprefix("v")
    if not digits.isdecimal() or len(digits) > MAX_DIGITS:
        raise ChatError(tr("{value} is no version: give its number.", value=value))
    return PolicyVersionId(int(digits))


def _day_after(day: datetime) -> datetime | None:
    """None after the last day that there is: nothing is later."""
    try:
        return day + timedelta(days=1)
    except OverflowError:
        return None


def _day(value: str) -> datetime:
    try:
        return datetime.strptime(value.strip(), "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise ChatError(tr("{value} is no day: write it as 2026-11-22.", value=value)) from error
