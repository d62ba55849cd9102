"""A person's own word about their taste: what is believed before their choices.

The lean is a weight for each style feature, in logits per typical difference: the mean of every
prior, where it is 0 without a word. Choices that say the same add nothing to it, and choices that
say otherwise outweigh it in time; added to what choices teach, it would be counted twice, and who
states their taste truly would be served worse than who says nothing. Before the first choice it
moves all members of the ensemble alike, and so the mean of rewards and not their spread. The
disagreement by which is asked is the spread of probabilities: a strong lean takes them all near 0
or 1, and little is asked about what it has decided. It lies in a file of the data folder that the
app writes; both processes read it with each fit.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from learner.config import RewardConfig
from learner.reward.head import STYLES, BayesianRewardHead
from learner.reward.laplace import Hypotheses
from learner.reward.lean_file import Lean
from learner.reward.signals import Signal
from learner.reward.style import STYLE_NAMES
from learner.reward.taste import Taste
from storage.records import Preference


class LeaningHead(BayesianRewardHead):
    """The reward ensemble with the person's lean, which is read with each fit."""

    def __init__(
        self,
        config: RewardConfig,
        *,
        seed: int,
        lean: Callable[[], Lean],
        taste: Taste | None = None,
    ) -> None:
        self._read_lean = lean
        self._lean = torch.zeros(STYLES, dtype=torch.float64)
        super().__init__(config, seed=seed, taste=taste)

    @property
    def lean(self) -> dict[str, float]:
        return dict(zip(STYLE_NAMES, self._lean.tolist(), strict=True))

    @property
    def style_weights(self) -> dict[str, float]:
        """What choices have added to the person's word, in logits per typical difference."""
        return {name: w - self.lean[name] for name, w in super().style_weights.items()}

    def fit(
        self, preferences: Sequence[Preference], signals: Sequence[Signal] = ()
    ) -> dict[str, float]:
        """Refit, with the lean as it is now."""
        said = self._read_lean()
        lean = torch.tensor([said.get(name, 0.0) for name in STYLE_NAMES], dtype=torch.float64)
        if not torch.equal(lean, self._lean):
            self._lean = lean
            self._prior = self._hypotheses()
        return super().fit(preferences, signals)

    def _hypotheses(self) -> Hypotheses:
        prior = super()._hypotheses()
        mean = prior.mean.clone()
        mean[:, :STYLES] += self._lean
        return replace(prior, mean=mean)
