"""The pairs a round trains on: the person's picks, and pairs labelled by the reward ensemble."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from learner.measures import reply_room
from learner.presentable import looping, textless
from learner.reward.head import BayesianRewardHead
from storage.records import Candidate, CandidatePool, FinishReason, Message, Preference

MOST_CERTAIN = 0.99
"""No label is surer: beyond it DPO's pull has no end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPair:
    prompt: tuple[Message, ...]
    chosen: Candidate
    rejected: Candidate
    chosen_prob: float
    """Probability that the label is right."""
    prob_std: float = 0.0
    """How far the ensemble's members are apart about that; 0 for a person's label."""


def prompt_rooms(pairs: Sequence[TrainingPair]) -> dict[tuple[Message, ...], int]:
    """Tokens kept free behind each prompt: enough for the longest of all replies to it.

    Where a prompt has to be cut for that, it is cut alike for all pairs, and a reply that is in
    several of them has one log-probability.
    """
    rooms: dict[tuple[Message, ...], int] = {}
    for pair in pairs:
        room = reply_room(pair.chosen.completion, pair.rejected.completion)
        rooms[pair.prompt] = max(room, rooms.get(pair.prompt, 0))
    return rooms


def human_pairs(
    preferences: Sequence[Preference], reward: BayesianRewardHead, label_smoothing: float
) -> list[TrainingPair]:
    """One pair for each decided pick between whole replies, labelled by pick and ensemble.

    Where the worse one was cut off by the choice, its end is not known, and where the better one
    loops it is nothing to imitate: the reward ensemble learns from such a pick, the
    policy only through the pairs that the ensemble labels.
    """
    return [
        TrainingPair(
            prompt=p.comparison.prompt,
            chosen=p.chosen,
            rejected=p.rejected,
            chosen_prob=_label(p.comparison.prompt, p.chosen, p.rejected, reward, label_smoothing),
        )
        for p in preferences
        if p.chosen is not None
        and p.rejected is not None
        and p.rejected.completion.finish_reason is not FinishReason.ABORTED
        and not looping(p.chosen.completion)
    ]


def _label(
    prompt: Sequence[Message],
    chosen: Candidate,
    rejected: Candidate,
    reward: BayesianRewardHead,
    label_smoothing: float,
) -> float:
    """Probability that the pick is right, given all else that the person said.

    The pick, right with probability 1 - ``label_smoothing``, and what the ensemble thinks of the
    pair are taken as independent evidence, so their odds multiply. A pick that contradicts
    everything else becomes a tie: DPO weighs a pair the more, the more it is violated, so wrong
    labels would soon be most of its gradient.
    """
    rewards = reward.score(prompt, [chosen.completion, rejected.completion])
    believed = float(torch.sigmoid(rewards[:, 0] - rewards[:, 1]).mean())
    odds = (1.0 - label_smoothing) * believed / max(label_smoothing * (1.0 - believed), 1e-9)
    return min(MOST_CERTAIN, max(0.5, odds / (1.0 + odds)))


def reward_pairs(
    pools: Sequence[CandidatePool],
    reward: BayesianRewardHead,
    count: int,
    generator: torch.Generator,
    *,
    depth: int = 1,
) -> list[TrainingPair]:
    """Up to ``count`` pairs of stored replies to one prompt, labelled by the ensemble.

    Of each pool the best against the worst and, with ``depth`` 2, the second against the last but
    one. Replies without a word, or that loop, are left out: the ensemble only guesses what they
    are worth.

    Pools are drawn with probability proportional to how sure the ensemble is of their label,
    ``max(0, |p - 1/2| - std)``: what it doubts teaches the policy nothing (docs/how-it-learns.md).
    """
    pairs: list[TrainingPair] = []
    sureness: list[float] = []
    for pool in pools:
        candidates = [
            c for c in pool.candidates if not textless(c.completion) and not looping(c.completion)
        ]
        if not candidates:
            continue
        rewards = reward.score(pool.prompt, [c.completion for c in candidates])  # (E, N)
        order = rewards.mean(dim=0).argsort().tolist()
        for best, worst in list(zip(reversed(order), order, strict=True))[:depth]:
            if order.index(best) <= order.index(worst):
                break
            p = torch.sigmoid(rewards[:, best] - rewards[:, worst])
            std = float(p.std(correction=0))
            sure = abs(float(p.mean()) - 0.5) - std
            if sure <= 0.0:
                continue
            sureness.append(sure)
            pairs.append(
                TrainingPair(
                    prompt=pool.prompt,
                    chosen=candidates[best],
                    rejected=candidates[worst],
                    chosen_prob=float(p.mean()),
                    prob_std=std,
                )
            )
    if not pairs or count == 0:
        return []
    drawn = torch.multinomial(torch.tensor(sureness), min(count, len(pairs)), generator=generator)
    return [pairs[i] for i in drawn.tolist()]
