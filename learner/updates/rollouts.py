"""Replies sampled from the policy in training, and what they are worth.

The reward is pessimistic: the ensemble's mean less some of its standard deviation (arXiv
2310.02743), so that what the ensemble knows nothing about is no place to go. Only differences
within one prompt mean anything, so each member is centred on what it gives the replies to the same
prompt; what it gives them all alike would count as doubt, or hide it. All are divided by the spread
of the first replies, those of the reference (arXiv 1909.08593, section 2.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from learner.engine.local import LocalEngine
from learner.measures import supervised_ids
from learner.presentable import looping, textless
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
    rewards = reward.score(prompt, [_as_judged(reply, config) for reply in replies])  # (E, N)
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


def _as_judged(reply: Completion, config: RolloutConfig) -> Completion:
    """A reply that the rollout's limit cut is a draft of one that the chat would let run on."""
    limit = config.reply_limit
    cut = reply.finish_reason is FinishReason.LENGTH
    if limit is None or not cut or len(reply.token_ids) >= limit:
        return reply
    sampling = replace(reply.sampling, max_new_tokens=limit)
    return replace(reply, finish_reason=FinishReason.ABORTED, sampling=sampling)


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardScale:
    """From the members' rewards to one number a reply."""

    centre: Float[Tensor, " E"]
    """What each member gave the first replies: for prompts whose replies cannot be compared."""
    spread: float

    @classmethod
    def of(cls, rollouts: Sequence[Rollout], config: RolloutConfig) -> "RewardScale":
        """Taken from the first replies; without ``normalise`` rewards stay as they are."""
        rewards = _rewards(rollouts)
        if not config.normalise:
            return cls(centre=torch.zeros(len(rewards)), spread=1.0)
        usual = _usual(rollouts, rewards)
        if not usual.any():
            usual = torch.ones_like(usual)
        centre = rewards[:, usual].mean(dim=1)
        means = _centred(rollouts, rewards, usual, centre).mean(dim=0)
        return cls(centre=centre, spread=max(float(means[usual].std(correction=0)), 1e-3))

    def __call__(self, rollouts: Sequence[Rollout], config: RolloutConfig) -> Float[Tensor, " N"]:
        """Pessimistic, normalised, clipped, less the penalty for what the limit cut.

        A reply that says nothing, or loops, is worth the least there is: what the ensemble expects
        of it is a guess (``presentable.py``).
        """
        rewards, bound = _rewards(rollouts), config.reward_clip
        if config.normalise:
            rewards = _centred(rollouts, rewards, _usual(rollouts, rewards), self.centre)
        worth = rewards.mean(dim=0) - config.pessimism * rewards.std(dim=0, correction=0)
        scores = (worth / self.spread).clamp(-bound, bound)
        if config.normalise:
            scores[~_worded(rollouts)] = -bound
        cut = torch.tensor([r.completion.finish_reason is FinishReason.LENGTH for r in rollouts])
        return scores - config.unfinished_penalty * cut


def _rewards(rollouts: Sequence[Rollout]) -> Float[Tensor, "E N"]:
    return torch.stack([r.rewards for r in rollouts], dim=1)


def _worded(rollouts: Sequence[Rollout]) -> Bool[Tensor, " N"]:
    """Which say something, and not over and over."""
    texts = [r.completion for r in rollouts]
    return torch.tensor([not textless(text) and not looping(text) for text in texts])


def _usual(rollouts: Sequence[Rollout], rewards: Float[Tensor, "E N"]) -> Bool[Tensor, " N"]:
    """Which tell how far replies are apart: worded, and no bound broken (``reward.criteria``).

    One that broke it would take most of the reward from all the others.
    """
    means = rewards.mean(dim=0)
    return _worded(rollouts) & (means > means.max() - OUT / 2)


def _centred(
    rollouts: Sequence[Rollout],
    rewards: Float[Tensor, "E N"],
    usual: Bool[Tensor, " N"],
    centre: Float[Tensor, " E"],
) -> Float[Tensor, "E N"]:
    """Each member's rewards less what it gives usual replies to the same prompt, or ``centre``
    where there are not two of these."""
    centred = rewards - centre[:, None]
    for prompt in dict.fromkeys(r.prompt for r in rollouts):
        of_prompt = torch.tensor([r.prompt == prompt for r in rollouts])
        compared = of_prompt & usual
        if int(compared.sum()) >= 2:
            centred[:, of_prompt] -= centred[:, compared].mean(dim=1, keepdim=True)
    return centred
