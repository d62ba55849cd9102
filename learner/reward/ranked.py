"""Replies in an order, whoever ordered them: what reward models of any kind are trained on.

A ranking of N replies, a pick of two, a recorded pair: each becomes one ``RankedReplies``, and all
its C(N, 2) pairs weigh as much as one answer together (arXiv 2203.02155, section 3.5). Recorded
pairs of one prompt share one answer's weight as well, for they are not independent.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from learner.families import family_of_prompt
from storage.records import AskReason, Choice, Message, Preference
from storage.slates import Criterion, Ranking, Ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedReplies:
    prompt: tuple[Message, ...]
    texts: tuple[str, ...]
    ranks: Mapping[Criterion, Ranks]
    """One rank a reply, 1 the best, ties share one; only criteria that somebody judged."""
    family: str
    """What must stay on one side of a split: a request and its near-copies, wherever they were
    made, with all that followed."""
    weight: float = 1.0
    held_out: bool = False
    """It comes from a chat that only measures."""
    source: str | None = None
    """The ``set`` of its row, in a file."""


_PICKED: dict[Choice, Ranks] = {
    Choice.FIRST: (1, 2),
    Choice.SECOND: (2, 1),
    Choice.TIE: (1, 1),
}


def of_picks(preferences: Iterable[Preference], *, held_out: bool = False) -> list[RankedReplies]:
    """Decided picks and ties, on the whole; skips and pairs that are both bad order nothing.

    Imported ones share the weight of one answer, as they would in a file.
    """
    asked: list[RankedReplies] = []
    imported: list[RankedReplies] = []
    for p in preferences:
        if p.choice not in _PICKED:
            continue
        one = RankedReplies(
            prompt=p.comparison.prompt,
            texts=(p.comparison.first.completion.text, p.comparison.second.completion.text),
            ranks={Criterion.OVERALL: _PICKED[p.choice]},
            family=family_of_prompt(p.comparison.prompt),
            held_out=held_out,
        )
        from_file = p.comparison.question.reason is AskReason.IMPORTED
        (imported if from_file else asked).append(one)
    return asked + sharing_weight(imported)


def of_rankings(rankings: Iterable[Ranking], *, held_out: bool = False) -> list[RankedReplies]:
    """Ranked slates; on a criterion without an order of its own the overall one holds."""
    return [
        RankedReplies(
            prompt=one.slate.prompt,
            texts=tuple(answer.completion.text for answer in one.slate.answers),
            ranks={criterion: one.orders.on(criterion) for criterion in Criterion},
            family=family_of_prompt(one.slate.prompt),
            held_out=held_out,
        )
        for one in rankings
        if one.orders is not None
    ]


def sharing_weight(pairs: Sequence[RankedReplies]) -> list[RankedReplies]:
    """The same with the weight 1 / (pairs of that prompt) each."""
    counts = Counter(pair.prompt for pair in pairs)
    return [replace(pair, weight=1.0 / counts[pair.prompt]) for pair in pairs]


def split(
    items: Sequence[RankedReplies], *, share: float, salt: str
) -> tuple[list[RankedReplies], list[RankedReplies]]:
    """Those to train on and those that measure, whole families each; stable under ``salt``."""
    training: list[RankedReplies] = []
    held_out: list[RankedReplies] = []
    for one in items:
        number = int(hashlib.sha256(f"{salt}/{one.family}".encode()).hexdigest(), 16) % 10_000
        measures = one.held_out or number < 10_000 * share
        (held_out if measures else training).append(one)
    return training, held_out


def digest_of(items: Iterable[RankedReplies], beside: str = "") -> str:
    """Hex digest of all that is learned from, in order, and of ``beside``."""
    digest = hashlib.sha256(beside.encode())
    for one in items:
        said = [f"{m.role}:{m.content}" for m in one.prompt]
        ranks = sorted((c.value, r) for c, r in one.ranks.items())
        digest.update(repr((said, one.texts, ranks, one.weight)).encode() + b"\0")
    return digest.hexdigest()
