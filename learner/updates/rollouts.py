"""Replies sampled from the policy in training, and what they are worth.

The reward is pessimistic: the ensemble's mean less some of its standard deviation (arXiv
2310.02743), so that what the ensemble knows nothing about is no place to go. Only differences mean
anything, so each member is centred on what it gave the first replies, those of the reference, and
all are divided by the spread of these (arXiv 1909.08593, section 2.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from learner.engine.local import LocalEngine
from learner.measures import supervised_ids
from learner.protocols import RewardModel
from learner.reward.criteria import OUT
from learner.update_config import RolloutConfig
from learner.updates.lesson import Prompt
from storage.records import Completion, FinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    prompt: Prompt
    prompt_ids: tuple[int, ...]
    completion: Completion
    reply_ids: tuple[int, ...]
    """With the end-of-sequence token where the policy ended the reply itself."""
    rewards: Float[Tensor, " E"]
    """What each member gives it, logits."""


def step_seed(seed: int, number: int) -> int:
    """For ``sample_rollouts`` in step ``number`` of a run: each reply takes a seed of its own from
    there on, and up to 1009 of them none that another step, or the next run, gives one of its."""
    return seed * 1_000_003 + number * 1009


def sample_rollouts(
    engine: LocalEngine,
    reward: RewardModel,
    prompts: Sequence[Prompt],
    config: RolloutConfig,
    seed: int,
) -> list[Rollout]:
    """``config.samples`` replies to each prompt by the adapter in training, prompt by prompt.

    Raises PromptTooLongError.
    """
    engine.load_training()
    n, made = config.samples, []
    at_once = max(1, config.batch // n)
    for start in range(0, len(prompts), at_once):
        some = prompts[start : start + at_once]
        seeds = [seed + n * (start + i) for i in range(len(some))]
        batch = engine.start_many(some, n, config.sampling, seeds)
        while batch.running:
            batch.step()
        replies = batch.completions()
        for i, prompt in enumerate(some):
            made += _of_prompt(engine, reward, prompt, replies[i * n : (i + 1) * n], config)
    return made


def _of_prompt(
    engine: LocalEngine,
    reward: RewardModel,
    prompt: Prompt,
    replies: Sequence[Completion],
    config: RolloutConfig,
) -> list[Rollout]:
    rewards = reward.score(prompt, replies)  # (E, N)
    prompt_ids = engine.render(prompt, config.sampling).token_ids
    return [
        Rollout(
            prompt=prompt,
            prompt_ids=prompt_ids,
            completion=reply,
            reply_ids=supervised_ids(engine.backbone, reply),
            rewards=rewards[:, i],
        )
        for i, reply in enumerate(replies)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardScale:
    """From the members' rewards to one number a reply."""

    centre: Float[Tensor, " E"]
    spread: float

    @classmethod
    def of(cls, rollouts: Sequence[Rollout], config: RolloutConfig) -> "RewardScale":
        """Taken from the first replies; without ``normalise`` rewards stay as they are.

        Replies that break a bound (``reward.criteria``) tell nothing of how far others are apart:
        one of them in the first batch would take most of the reward from all the others.
        """
        rewards = torch.stack([r.rewards for r in rollouts], dim=1)  # (E, N)
        if not config.normalise:
            return cls(centre=torch.zeros(len(rewards)), spread=1.0)
        means = rewards.mean(dim=0)
        rewards = rewards[:, means > means.max() - OUT / 2]
        spread = float(rewards.mean(dim=0).std(correction=0))
        return cls(centre=rewards.mean(dim=1), spread=max(spread, 1e-3))

    def __call__(self, rollouts: Sequence[Rollout], config: RolloutConfig) -> Float[Tensor, " N"]:
        """Pessimistic, normalised, clipped, less the penalty for what the limit cut."""
        rewards = torch.stack([r.rewards for r in rollouts], dim=1) - self.centre[:, None]
        worth = rewards.mean(dim=0) - config.pessimism * rewards.std(dim=0, correction=0)
        cut = torch.tensor([r.completion.finish_reason is FinishReason.LENGTH for r in rollouts])
        bound = config.reward_clip
        return (worth / self.spread).clamp(-bound, bound) - config.unfinished_penalty * cut
