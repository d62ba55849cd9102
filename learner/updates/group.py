"""What RLOO and GRPO share: several replies to each prompt, and no value head.

A round samples replies, scores them, asks a rule for each reply's advantage, and takes optimizer
steps on whole groups. ``rloo.py`` and ``grpo.py`` say what an advantage and a loss are.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from learner.engine.local import LocalEngine
from learner.losses import k3
from learner.protocols import RewardModel
from learner.update_config import GroupConfig
from learner.updates.lesson import Lesson, Prompt
from learner.updates.passes import Passes
from learner.updates.rollouts import RewardScale, Rollout, sample_rollouts, step_seed
from learner.updates.tuning import AdapterTuning
from storage.records import PolicyVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """All replies of a batch, prompt by prompt, and what is known of them beforehand."""

    rollouts: list[Rollout]
    logprobs: list[Float[Tensor, " _"]]
    """Under the policy that sampled, a reply each."""
    ref_logprobs: list[Float[Tensor, " _"]]
    advantages: Float[Tensor, " N"]


class GroupRule(ABC):
    """Leaves the new adapter in training on the backbone for gate and ``save``."""

    name: str

    def __init__(
        self,
        engine: LocalEngine,
        reward: RewardModel,
        config: GroupConfig,
        *,
        max_prompt_tokens: int,
    ) -> None:
        self._engine = engine
        self._reward = reward
        self._config = config
        self._tuning = AdapterTuning(
            engine.backbone, config, optimizer_file=f"{self.name}_optimizer.safetensors"
        )
        self._passes = Passes(
            engine.backbone, row_tokens=config.row_tokens, max_prompt_tokens=max_prompt_tokens
        )
        self.shorten = self._tuning.shorten
        self.start_afresh = self._tuning.start_afresh
        self.pull_in = self._tuning.pull_in
        self.close = self._tuning.close

    def update(self, parent: PolicyVersion, lesson: Lesson, seed: int) -> dict[str, float]:
        """A few steps on the lesson's prompts; returns the last one's metrics.

        Raises FloatingPointError if a loss or a gradient is not finite.
        """
        self.begin(parent, seed)
        metrics: dict[str, float] = {}
        for number in range(self._config.iterations):
            metrics = self.step(lesson.prompts, step_seed(seed, number))
        return metrics | {"prompts": float(len(lesson.prompts))}

    def begin(self, parent: PolicyVersion, seed: int) -> None:
        """Open a copy of ``parent`` for ``step``."""
        self._tuning.open(parent, seed)

    def save(self, folder: Path) -> None:
        """Write the adapter in training and its optimizer's moments."""
        self._tuning.save(folder)

    def step(self, prompts: Sequence[Prompt], seed: int) -> dict[str, float]:
        """One batch of groups and the optimizer steps on it; returns metrics."""
        c = self._config
        rollouts = sample_rollouts(self._engine, self._reward, prompts, c.rollout, seed)
        logprobs = self._passes.known_logprobs(rollouts)
        with self._engine.backbone.reference():
            ref_logprobs = self._passes.known_logprobs(rollouts)
        # Only replies to one prompt are compared, so each batch may have a scale of its own.
        scores = RewardScale.of(rollouts, c.rollout)(rollouts, c.rollout)
        drift = torch.stack(
            [(new - ref).sum() for new, ref in zip(logprobs, ref_logprobs, strict=True)]
        ).cpu()
        advantages = self.advantages(
            scores.view(-1, c.rollout.samples), drift.view(-1, c.rollout.samples)
        )
        group = Group(
            rollouts=rollouts,
            logprobs=logprobs,
            ref_logprobs=ref_logprobs,
            advantages=advantages.flatten(),
        )
        losses = [
            self._optimizer_step(group, replies)
            for _ in range(c.epochs)
            for replies in self._minibatches(len(prompts))
        ]
        kl = k3(torch.cat(logprobs), torch.cat(ref_logprobs))
        return {
            "policy_loss": sum(loss for loss, _ in losses) / len(losses),
            "grad_norm": losses[-1][1],
            "score": float(scores.mean()),
            "reward": float(torch.stack([r.rewards.mean() for r in rollouts]).mean()),
            "kl": float(kl.mean()),
            "length_tokens": sum(map(len, logprobs)) / len(rollouts),
        }

    @abstractmethod
    def advantages(
        self, scores: Float[Tensor, "G N"], drift: Float[Tensor, "G N"]
    ) -> Float[Tensor, "G N"]:
        """``drift`` is log pi - log pi_0 of each reply, summed over its tokens."""

    @abstractmethod
    def loss(
        self,
        logprobs: Float[Tensor, " T"],
        old_logprobs: Float[Tensor, " T"],
        ref_logprobs: Float[Tensor, " T"],
        advantage: Float[Tensor, ""],
    ) -> Float[Tensor, ""]:
        """Of one reply."""

    def _optimizer_step(self, group: Group, replies: Sequence[int]) -> tuple[float, float]:
        """The mean loss over these replies, and the gradient's norm."""
        self._tuning.clear()
        total = 0.0
        for grove in self._passes.rows_of(group.rollouts, replies):
            lengths = [len(group.rollouts[i].reply_ids) for i in grove.names]
            parts = self._passes.token_logprobs(grove).split(lengths)
            loss = torch.stack(
                [
                    self.loss(
                        new,
                        group.logprobs[i],
                        group.ref_logprobs[i],
                        group.advantages[i].to(new.device),
                    )
                    for i, new in zip(grove.names, parts, strict=True)
                ]
            ).sum() / len(replies)
            loss.backward()
            total += float(loss.detach())
        return total, self._tuning.step()

    def _minibatches(self, prompts: int) -> list[list[int]]:
        """Places of replies, those of one prompt together."""
        n = self._config.rollout.samples
        at_once = max(1, self._config.minibatch // n) * n
        every = list(range(prompts * n))
        return [every[start : start + at_once] for start in range(0, len(every), at_once)]
