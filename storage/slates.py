"""Several answers to one message, and what a person said of their order: values, without SQL.

A ranking holds one rank for each answer, in the order in which the answers were shown: 1 is the
best, tied answers share a rank, and no rank is left out. On a criterion that was not ordered by
itself the order is the overall one. The pairs that follow are those of InstructGPT (Ouyang et al.
2022, section 3.5): all C(N, 2) of a slate belong together, each with the weight 1 / C(N, 2).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import combinations
from math import comb
from typing import NewType

from storage.records import Candidate, ConversationId, Message, TurnId

SlateId = NewType("SlateId", int)
RankingId = NewType("RankingId", int)

MIN_ANSWERS, MAX_ANSWERS = 2, 9

Ranks = tuple[int, ...]
"""One rank for each answer, in the order shown."""


class Criterion(StrEnum):
    OVERALL = "overall"
    RELEVANCE = "relevance"
    """It is about what was asked."""
    INFORMATIVENESS = "informativeness"
    """It says what helps, and enough of it."""
    HARMLESSNESS = "harmlessness"
    HONESTY = "honesty"
    """It is true, and does not claim to know what it does not."""


class RankingState(StrEnum):
    RANKED = "ranked"
    SKIPPED = "skipped"
    WITHDRAWN = "withdrawn"
    """Undo: a new row, nothing is deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slate:
    """Answers to one message as shown to one person."""

    id: SlateId
    token: str
    """Unguessable; all that the page sends back besides the order."""
    conversation_id: ConversationId
    prompt_turn_id: TurnId
    prompt: tuple[Message, ...]
    """The messages before the answers, oldest first."""
    answers: tuple[Candidate, ...]
    """In the order shown."""
    imported: bool
    asked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedPair:
    """Two answers of a slate, by their index in it. If ``tied``, better and worse say nothing."""

    better: int
    worse: int
    tied: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What a person said of a slate: one order overall, and one for each criterion of its own."""

    overall: Ranks
    criteria: Mapping[Criterion, Ranks]
    """Only those that differ from ``overall``. Raises ValueError on anything but whole rankings."""

    def __post_init__(self) -> None:
        if Criterion.OVERALL in self.criteria:
            raise ValueError("the overall order stands by itself")
        check_ranks(self.overall)
        for criterion, ranks in self.criteria.items():
            check_ranks(ranks)
            if len(ranks) != len(self.overall):
                raise ValueError(f"{criterion} ranks {len(ranks)} of {len(self.overall)} answers")
        kept = {name: one for name, one in self.criteria.items() if one != self.overall}
        object.__setattr__(self, "criteria", kept)

    def on(self, criterion: Criterion) -> Ranks:
        """Return the order on this criterion, which is the overall one unless said otherwise."""
        return self.criteria.get(criterion, self.overall)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """A person's answer to a slate: the newest one counts."""

    id: RankingId
    slate: Slate
    state: RankingState
    orders: Orders | None
    """None where it was skipped or taken back."""
    decision_ms: int
    decided_at: datetime

    def pairs(self, criterion: Criterion = Criterion.OVERALL) -> tuple[RankedPair, ...]:
        """Return all C(N, 2) pairs of the slate on a criterion, tied ones too; none if skipped."""
        return () if self.orders is None else ranked_pairs(self.orders.on(criterion))

    @property
    def pair_weight(self) -> float:
        """Of each of its pairs: 1 / C(N, 2), so that a slate weighs one, whatever its size."""
        return 1.0 / comb(len(self.slate.answers), 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingReceipt:
    """What the store answers to a ranking, after COMMIT."""

    ranking_id: RankingId
    state: RankingState
    already_saved: bool
    """True where the slate had been answered before: the stored answer stands."""


def ranked_pairs(ranks: Ranks) -> tuple[RankedPair, ...]:
    """Return the pairs of all answers, by index, the better one of each named."""
    return tuple(
        RankedPair(
            better=first if ranks[first] <= ranks[second] else second,
            worse=second if ranks[first] <= ranks[second] else first,
            tied=ranks[first] == ranks[second],
        )
        for first, second in combinations(range(len(ranks)), 2)
    )


def check_ranks(ranks: Ranks) -> None:
    """Raise ValueError unless these are ranks of 2 to 9 answers: 1, 2, ... with ties, no gap."""
    if not MIN_ANSWERS <= len(ranks) <= MAX_ANSWERS:
        raise ValueError(f"{MIN_ANSWERS} to {MAX_ANSWERS} answers are ranked, got {len(ranks)}")
    if set(ranks) != set(range(1, len(set(ranks)) + 1)):
        raise ValueError(f"ranks begin with 1 and leave none out, got {list(ranks)}")
