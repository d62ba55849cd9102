"""Do blind comparisons say that learning did harm? A test that may be looked at any time.

A few questions set a reply of the live version against one of an earlier version, as sampled, and
the person does not know which is which (a *shadow duel*). Were each new version at least as good as
what it replaced, its chance x of winning a duel (a tie counts one half) would have a mean of at
least one half, and for any bet 0 < b < 1

    M_t = (M_{t-1} + 1) * (1 + b (1 - 2 x_t)),   M_0 = 0

would grow by at most one a duel: a Shiryaev-Roberts e-detector (arXiv 2203.03532, section 3), whose
mean number of duels to a false alarm is at least the threshold at which it alarms. Harm may begin
with any version, and this detects its beginning; which bet is best is not known, so M is averaged
over several.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from storage.duels import Outcome
from storage.records import PolicyVersionId

BETS = np.arange(1, 10) / 10
"""From "loses a little more often" to "loses nearly always"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """The duels since harm most probably began."""

    since: PolicyVersionId
    """The live version of the first of them."""
    lost: int
    of: int
    evidence: float


def detect_harm(outcomes: Sequence[Outcome], threshold: float) -> Harm | None:
    """What the duels of the live line say, oldest first; None below ``threshold``."""
    if not outcomes:
        return None
    won = np.array([one.won for one in outcomes])[:, None]
    factors = 1.0 + BETS * (1.0 - 2.0 * won)  # (T, bets)
    # Unrolled, M_T is a sum over all starts: of the product from there to now. The start that says
    # most is where harm began.
    since_start = np.cumprod(factors[::-1], axis=0)[::-1].mean(axis=1)
    evidence = float(since_start.sum())
    if evidence < threshold:
        return None
    start = int(since_start.argmax())
    return Harm(
        since=outcomes[start].live,
        lost=sum(one.won == 0.0 for one in outcomes[start:]),
        of=len(outcomes) - start,
        evidence=evidence,
    )
