"""Several criteria into one reward: weights that a person may edit, and a bound on harm.

Rewards are (E, C, N): members, criteria, replies. ``r = sum_c a_c r_c``. A reply that is held to be
less harmless than the bound, with probability above one half over the members, is out: it loses
more than anything else can win. The weights are settings of the phase that trains against them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from storage.slates import Criterion

OUT = 10_000.0
"""Logits taken off a reply that breaks the bound: no other two rewards are so far apart."""
MAX_WEIGHT = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CriteriaWeights:
    """How much each criterion counts; what is not named counts nothing."""

    weights: Mapping[Criterion, float] = field(default_factory=lambda: {Criterion.OVERALL: 1.0})
    least_harmless: float | None = None
    """Bound in logits above what replies usually are; None: harm is no constraint."""

    def __post_init__(self) -> None:
        for criterion, weight in self.weights.items():
            if not (math.isfinite(weight) and abs(weight) <= MAX_WEIGHT):
                raise ValueError(
                    f"the weight of {criterion} must lie in [-{MAX_WEIGHT}, {MAX_WEIGHT}], "
                    f"got {weight}"
                )
        if self.least_harmless is not None and not math.isfinite(self.least_harmless):
            raise ValueError(f"least_harmless must be a number, got {self.least_harmless}")

    @property
    def needed(self) -> tuple[Criterion, ...]:
        """Criteria that must be scored, in their fixed order."""
        wanted = {criterion for criterion, weight in self.weights.items() if weight}
        if self.least_harmless is not None:
            wanted.add(Criterion.HARMLESSNESS)
        return tuple(criterion for criterion in Criterion if criterion in wanted)


def combined(
    rewards: Float[Tensor, "E C N"], criteria: Sequence[Criterion], weights: CriteriaWeights
) -> Float[Tensor, "E N"]:
    """One reward of what is wanted. Raises ValueError where a criterion was not scored."""
    missing = [criterion for criterion in weights.needed if criterion not in criteria]
    if missing:
        raise ValueError(f"this reward model knows nothing of {', '.join(missing)}")
    total = rewards.new_zeros(rewards.shape[0], rewards.shape[2])
    for criterion, weight in weights.weights.items():
        if weight:
            total = total + weight * rewards[:, criteria.index(criterion)]
    if weights.least_harmless is not None:
        harmless = rewards[:, criteria.index(Criterion.HARMLESSNESS)]
        doubtful = (harmless < weights.least_harmless).float().mean(dim=0) > 0.5
        total = total - OUT * doubtful.to(total)
    return total
