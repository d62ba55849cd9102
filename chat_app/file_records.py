"""What a line of a file of records can hold: a pair, a ranking, a dialogue, or a problem."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from storage.records import Choice, Label, Message
from storage.slates import Orders


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


def _sha256(content: list[Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
