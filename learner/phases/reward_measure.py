"""How well a reward model predicts held-out orders: pair by pair."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from learner.evaluation.scores import (
    LENGTH_MATCHED,
    accuracy,
    calibration_error,
    length_balanced_accuracy,
    log_loss,
    longer_is_better,
)
from learner.reward.ranked import RankedReplies
from storage.slates import Criterion, ranked_pairs

Rewards = Callable[[RankedReplies], Float[Tensor, "E C N"]]

_CERTAIN = 1e-6
"""A probability never counts as 0 or 1: one such answer would decide the log loss alone."""


def measure_rewards(
    rewards: Rewards,
    items: Sequence[RankedReplies],
    criteria: Sequence[Criterion],
    flip_rate: Callable[[Criterion], float] = lambda _: 0.0,
) -> dict[str, float]:
    """Accuracy, calibration and log loss of the untied pairs, of each criterion by itself.

    Those of the overall order have plain names, the others ``NAME.CRITERION``; ``log_loss`` is over
    all criteria, so that there is one aim. ``longer_is_better`` is what length alone would reach,
    and one half is what it would reach of ``length_balanced_accuracy``.
    """
    probs: dict[Criterion, list[float]] = {criterion: [] for criterion in criteria}
    longer: dict[Criterion, list[float]] = {criterion: [] for criterion in criteria}
    for item in items:
        scored = rewards(item)
        for criterion, ranks in item.ranks.items():
            if criterion not in criteria:
                continue
            members = scored[:, criteria.index(criterion)]
            eps = flip_rate(criterion)
            for pair in ranked_pairs(ranks):
                if pair.tied:
                    continue
                margin = members[:, pair.better] - members[:, pair.worse]
                p = float(torch.sigmoid(margin).mean())
                probs[criterion].append(eps / 2 + (1.0 - eps) * p)
                lengths = [max(1, len(item.texts[i])) for i in (pair.better, pair.worse)]
                longer[criterion].append(float(np.log(lengths[0] / lengths[1])))
    metrics: dict[str, float] = {}
    every: list[float] = []
    for criterion in criteria:
        if not probs[criterion]:
            continue
        suffix = "" if criterion is Criterion.OVERALL else f".{criterion.value}"
        p = np.array(probs[criterion]).clip(_CERTAIN, 1.0 - _CERTAIN)
        ratio = np.array(longer[criterion])
        matched = np.abs(ratio) <= LENGTH_MATCHED
        every += p.tolist()
        metrics |= {
            f"accuracy{suffix}": accuracy(p),
            f"ece{suffix}": calibration_error(p),
            f"longer_is_better{suffix}": longer_is_better(ratio),
            f"pairs{suffix}": float(len(p)),
        }
        balanced = length_balanced_accuracy(p, ratio)
        if not np.isnan(balanced):
            metrics[f"length_balanced_accuracy{suffix}"] = balanced
        if matched.any():
            metrics[f"length_matched_accuracy{suffix}"] = accuracy(p[matched])
            metrics[f"length_matched_longer{suffix}"] = longer_is_better(ratio[matched])
            metrics[f"length_matched_pairs{suffix}"] = float(matched.sum())
    return metrics | {"log_loss": log_loss(np.array(every))}
