"""How far an update may go: what to keep of one that drifted too far from the base.

Along a line in weight space the drift (KL to the base over its limit) grows like a power of the
distance, between 2.9 and 3.9 in twenty rounds that were measured (docs/LOG.md), not the 2 of small
changes. So its cube root is taken to be linear.
"""

import math
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from learner.protocols import Verdict

POWER = 3.0
ROOM = 0.9
"""Drift aimed at: below one, so that the next update is not at the limit at once."""
SHORTEST = 0.1
"""Least share of a step that is kept, whatever has to give way of what is there already."""


def shorter_step(before: float, after: float) -> float:
    """Share of a step from drift ``before`` to drift ``after`` at which it should come to ROOM.

    At least SHORTEST: were a parent at the limit to leave nothing of the step, its picks would
    never be learned. ``after`` is above ROOM and finite.
    """
    start, end, aim = (x ** (1.0 / POWER) for x in (before, after, ROOM))
    if end <= start:  # the parent is as far away: the step is not to blame
        return 1.0
    return min(1.0, max(SHORTEST, (aim - start) / (end - start)))


def nearer(drift: float) -> float:
    """Share of the distance to the base at which this drift should have come down to ROOM."""
    return (ROOM / drift) ** (1.0 / POWER)


@runtime_checkable
class Step(Protocol):
    """An update in training that can be taken back in part."""

    def shorten(self, share: float) -> None: ...
    def pull_in(self, share: float) -> None: ...


def judge_in_part(
    judge: Callable[[], Verdict], step: Step, *, parent_drift: float, attempts: int
) -> Verdict:
    """The gate's verdict; of an update that drifts too far a part is kept, and judged again.

    First the step is shortened, as in a line search: what was learned before stays. Where that is
    not enough, because the parent is at the limit, the whole adapter is pulled towards the base:
    were the update refused instead, so would be each further one from this parent, and its picks
    would never be learned. The verdict's metrics say what was kept.
    """
    verdict = judge()
    kept: dict[str, float] = {}
    for attempt in range(attempts):
        if not 1.0 < verdict.drift < math.inf:
            break
        if attempt == 0:
            kept["shortened"] = shorter_step(parent_drift, verdict.drift)
            step.shorten(kept["shortened"])
        else:
            share = nearer(verdict.drift)
            kept["pulled_in"] = kept.get("pulled_in", 1.0) * share
            step.pull_in(share)
        verdict = judge()
        verdict.metrics.update(kept)
    return verdict
