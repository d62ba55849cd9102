"""Rewards of replies just sampled: their features are made here, then an ensemble scores them."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from learner.protocols import FeatureExtractor, RewardEnsemble
from storage.records import Completion, Message

_LARGEST = torch.finfo(torch.float16).max


class FeaturedReward:
    """A ``RewardModel`` of an ensemble that reads frozen features."""

    def __init__(self, features: FeatureExtractor, ensemble: RewardEnsemble) -> None:
        self._features = features
        self._ensemble = ensemble

    def score(
        self, prompt: Sequence[Message], completions: Sequence[Completion]
    ) -> Float[Tensor, "E N"]:
        """Rewards in logits; only differences within one prompt mean anything."""
        return self._ensemble.score(prompt, featured(self._features, prompt, completions))


def featured(
    features: FeatureExtractor, prompt: Sequence[Message], completions: Sequence[Completion]
) -> list[Completion]:
    """The same completions with their features, in half precision as the log keeps them."""
    pooled = features.extract(prompt, [c.token_ids for c in completions])
    rows = as_half(pooled).numpy()
    return [replace(c, feature=row.tobytes()) for c, row in zip(completions, rows, strict=True)]


def as_half(pooled: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"]:
    """In half precision, where what is too large for it stays finite: some models' residual streams
    go far beyond 65,504, and one infinity would spoil every fit."""
    return pooled.clamp(-_LARGEST, _LARGEST).half()
