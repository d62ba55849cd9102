"""What a person says besides picking one of a pair: thumbs and rankings.

Each becomes weighted terms of the same likelihood as the picks (``rows.py``). Replies must carry
their features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from storage import records
from storage.records import Completion, Message
from storage.slates import Criterion, Ranking, Ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumb:
    """A verdict on one reply alone, against what replies usually are."""

    prompt: tuple[Message, ...]
    completion: Completion
    up: bool
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """Several replies to one message in an order; 1 is the best, ties share a rank."""

    prompt: tuple[Message, ...]
    completions: tuple[Completion, ...]
    ranks: Ranks
    at: datetime


Signal = Thumb | Ordered


def orders_of(
    rankings: Sequence[Ranking], criterion: Criterion = Criterion.OVERALL
) -> list[Ordered]:
    """The stored rankings on one criterion; one with replies the model has not read waits."""
    return [
        Ordered(
            prompt=one.slate.prompt,
            completions=tuple(answer.completion for answer in one.slate.answers),
            ranks=one.orders.on(criterion),
            at=one.decided_at,
        )
        for one in rankings
        if one.orders is not None
        and all(answer.completion.feature is not None for answer in one.slate.answers)
    ]


def thumbs_of(rated: Sequence[records.RatedReply]) -> list[Thumb]:
    """The stored thumbs as terms of the likelihood."""
    return [
        Thumb(
            prompt=one.prompt,
            completion=one.completion,
            up=one.thumb is records.Thumb.UP,
            at=one.rated_at,
        )
        for one in rated
    ]
