"""A person's own word about their taste, beside what was learned from their choices.

The lean is a weight for each style feature, in logits per typical difference, and is added to what
every member of the ensemble gives a reply. It moves all members alike, and so the mean of rewards
and not their spread. The disagreement by which is asked is the spread of probabilities: a strong
lean takes them all near 0 or 1, and little is asked about what it has decided. It lies in a file of
the data folder that the app writes; both processes read it with each fit.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from learner.config import RewardConfig
from learner.reward.head import BayesianRewardHead
from learner.reward.lean_file import Lean
from learner.reward.signals import Signal
from learner.reward.style import STYLE_NAMES
from learner.reward.taste import Taste
from storage.records import Preference


class LeaningHead(BayesianRewardHead):
    """The reward ensemble plus the person's lean, which is read with each fit."""

    def __init__(
        self,
        config: RewardConfig,
        *,
        seed: int,
        lean: Callable[[], Lean],
        taste: Taste | None = None,
    ) -> None:
        self._read_lean = lean
        self._lean = torch.zeros(len(STYLE_NAMES), dtype=torch.float64)
        super().__init__(config, seed=seed, taste=taste)

    @property
    def lean(self) -> dict[str, float]:
        return dict(zip(STYLE_NAMES, self._lean.tolist(), strict=True))

    def fit(
        self, preferences: Sequence[Preference], signals: Sequence[Signal] = ()
    ) -> dict[str, float]:
        """Refit, and take up the lean as it is now."""
        lean = self._read_lean()
        self._lean = torch.tensor(
            [lean.get(name, 0.0) for name in STYLE_NAMES], dtype=torch.float64
        )
        return super().fit(preferences, signals)

    def _rewards(
        self, style: Float[Tensor, "n S"], hidden: Float[Tensor, "n H"] | None
    ) -> Float[Tensor, "E n"]:
        """As the ensemble's, each raised by what the person leans to."""
        return super()._rewards(style, hidden) + (style.double() @ self._lean).float()
