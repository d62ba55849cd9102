"""The pairs a round trains on: the person's picks, and pairs labelled by the reward ensemble."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from learner.reward.head import BayesianRewardHead
from storage.records import Candidate, CandidatePool, Message, Preference


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPair:
    prompt: tuple[Message, ...]
    chosen: Candidate
    rejected: Candidate
    chosen_prob: float
    """Probability that the label is right."""


def human_pairs(preferences: Sequence[Preference], label_smoothing: float) -> list[TrainingPair]:
    """One pair for each decided pick."""
    return [
        TrainingPair(
            prompt=p.comparison.prompt,
            chosen=p.chosen,
            rejected=p.rejected,
            chosen_prob=1.0 - label_smoothing,
        )
        for p in preferences
        if p.chosen is not None and p.rejected is not None
    ]


def reward_pairs(
    pools: Sequence[CandidatePool],
    reward: BayesianRewardHead,
    count: int,
    generator: torch.Generator,
) -> list[TrainingPair]:
    """Best against worst of up to ``count`` stored pools, labelled by the ensemble.

    Pools are drawn with probability proportional to how sure the ensemble is of their label,
    ``max(0, |p - 1/2| - std)``: what it doubts teaches the policy nothing (docs/how-it-learns.md).
    """
    pairs: list[TrainingPair] = []
    sureness: list[float] = []
    for pool in pools:
        rewards = reward.score(pool.prompt, [c.completion for c in pool.candidates])  # (E, N)
        mean = rewards.mean(dim=0)
        best, worst = int(mean.argmax()), int(mean.argmin())
        if best == worst:
            continue
        p = torch.sigmoid(rewards[:, best] - rewards[:, worst])
        sure = abs(float(p.mean()) - 0.5) - float(p.std(correction=0))
        if sure <= 0.0:
            continue
        sureness.append(sure)
        pairs.append(
            TrainingPair(
                prompt=pool.prompt,
                chosen=pool.candidates[best],
                rejected=pool.candidates[worst],
                chosen_prob=float(p.mean()),
            )
        )
    if not pairs or count == 0:
        return []
    drawn = torch.multinomial(torch.tensor(sureness), min(count, len(pairs)), generator=generator)
    return [pairs[i] for i in drawn.tolist()]
