"""A rater that shares nothing with the reward model: other prompts, other features, no network.

Bradley-Terry over the words of a reply: hashed words and pairs of words, log counts, scaled to unit
length, so that a longer reply has no more weight than a short one. Ridge-penalised, fitted by
L-BFGS. It is weak, and says so: its accuracy on choices it never saw stands beside what it says.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from learner.evaluation.intervals import wilson_interval

WIDTH = 4096
RIDGE = 3.0
"""Weight of the squared norm, against the summed log-likelihood: chosen by nothing but habit."""

_WORD = re.compile(r"[\w']+|[^\w\s]")


class WordRater:
    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        """``pairs`` are (chosen, rejected) replies."""
        z = torch.stack([_features(chosen) - _features(rejected) for chosen, rejected in pairs])
        self._weight = torch.zeros(WIDTH, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.LBFGS([self._weight], max_iter=100, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimiser.zero_grad()
            value = -F.logsigmoid(z @ self._weight).sum() + RIDGE * self._weight.square().sum()
            value.backward()
            return value

        optimiser.step(loss)
        self._weight.requires_grad_(False)

    def margin(self, reply: str, other: str) -> float:
        """In logits; above 0 it prefers ``reply``."""
        return float((_features(reply) - _features(other)) @ self._weight)

    def accuracy(self, pairs: Sequence[tuple[str, str]]) -> float:
        """Share of (chosen, rejected) pairs it gets right; a draw counts half."""
        return sum(_won(self.margin(*pair)) for pair in pairs) / len(pairs)

    def win_rate(self, replies: Sequence[str], others: Sequence[str]) -> tuple[float, float, float]:
        """Share of prompts whose reply it prefers to the other, and Wilson's 95 % interval."""
        wins = [_won(self.margin(a, b)) for a, b in zip(replies, others, strict=True)]
        return sum(wins) / len(wins), *wilson_interval(sum(wins), len(wins))


def _won(margin: float) -> float:
    return 0.5 if margin == 0.0 else float(margin > 0.0)


def _features(text: str) -> Float[Tensor, " W"]:
    words = [word.lower() for word in _WORD.findall(text)]
    counts = Counter(_place(word) for word in (*words, *map(" ".join, pairwise(words))))
    features = torch.zeros(WIDTH, dtype=torch.float64)
    for place, count in counts.items():
        features[place] = math.log1p(count)
    return features / features.norm().clamp(min=1.0)


def _place(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "big") % WIDTH
