"""PPO on a language model: the InstructGPT recipe (arXiv 2203.02155) after arXiv 1909.08593.

A reply is an episode, a token an action. One ``step``:

1. sample replies from the policy;
2. score them: pessimistic, normalised, clipped (``rollouts.py``);
3. run policy, reference and value head on them once, without gradients;
4. reward each token with -beta (log pi - log pi_0), the last one with the score as well;
5. advantages and returns by GAE, advantages whitened;
6. minibatches: clipped ratio, clipped value loss, and the NLL of demonstrations (PTX);
7. steer beta towards the KL target.

Departures: LoRA instead of all weights, and the reference is the same model under another adapter
or none; a small value head on the policy's own hidden states, started at the mean reward, instead
of a second model started from the reward model's weights; PTX counts per token, not summed, so its
weight is a fraction and not 27.8; the reward is an ensemble's, less some of its spread.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from learner.advantages import generalised_advantages, padded, whitened
from learner.engine.local import LocalEngine
from learner.losses import clipped_policy_loss, clipped_value_loss, k3
from learner.measures import token_logprobs, tree_states
from learner.moments import moments_of, set_moments
from learner.prefixes import put_under, under
from learner.protocols import RewardModel
from learner.update_config import PpoConfig
from learner.updates.groves import Grove
from learner.updates.kl_control import steered
from learner.updates.lesson import Demonstration, Lesson, Prompt
from learner.updates.passes import Passes
from learner.updates.rollouts import RewardScale, Rollout, sample_rollouts, step_seed
from learner.updates.tuning import AdapterTuning, Alone, Team, new_adamw
from learner.updates.value_head import ValueHead
from storage.records import PolicyVersion, PolicyVersionId

STATE_FILE = "ppo.safetensors"
OPTIMIZER_FILE = "ppo_optimizer.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """What was sampled, token by token, reply after reply."""

    rollouts: list[Rollout]
    lengths: list[int]
    logprobs: Float[Tensor, " R"]
    """Under the policy that sampled."""
    ref_logprobs: Float[Tensor, " R"]
    values: Float[Tensor, " R"]
    advantages: Float[Tensor, " R"]
    returns: Float[Tensor, " R"]

    def tokens_of(self, replies: Sequence[int]) -> Tensor:
        """Indices of these replies' tokens, in their order."""
        starts = [0, *torch.tensor(self.lengths).cumsum(0).tolist()]
        return torch.cat([torch.arange(starts[i], starts[i + 1]) for i in replies])


class Ppo:
    """The update rule; leaves the new adapter in training on the backbone for gate and ``save``.

    The live loop calls ``update``; a training phase calls ``begin`` once and ``step`` many times.
    """

    name = "ppo"

    def __init__(
        self,
        engine: LocalEngine,
        reward: RewardModel,
        config: PpoConfig,
        *,
        max_prompt_tokens: int,
        reference: PolicyVersion | None = None,
        team: Team | None = None,
    ) -> None:
        """``reference`` None: the base, adapters off. ``team`` None: this process alone."""
        self._team = team or Alone()
        self._engine = engine
        self._backbone = engine.backbone
        self._reward = reward
        self._config = config
        self._reference = reference
        self._passes = Passes(
            engine.backbone, row_tokens=config.row_tokens, max_prompt_tokens=max_prompt_tokens
        )
        self._tuning = AdapterTuning(engine.backbone, config, optimizer_file=OPTIMIZER_FILE)
        self.shorten = self._tuning.shorten
        self.start_afresh = self._tuning.start_afresh
        self.pull_in = self._tuning.pull_in
        self._kl_weight = config.kl_weight
        self._scale: RewardScale | None = None
        self._value: ValueHead | None = None
        self._value_optimizer: torch.optim.AdamW | None = None

    # -- as a rule of the live loop ------------------------------------------------------------

    def update(self, parent: PolicyVersion, lesson: Lesson, seed: int) -> dict[str, float]:
        """A few steps on the lesson's prompts; returns the last one's metrics.

        Raises FloatingPointError if a loss or a gradient is not finite.
        """
        self.begin(parent, seed)
        if parent.adapter_path is not None and (parent.adapter_path / STATE_FILE).is_file():
            # The round goes on steering where the last one ended.
            self._kl_weight = float(load_file(parent.adapter_path / STATE_FILE)["kl_weight"])
        metrics: dict[str, float] = {}
        for number in range(self._config.iterations):
            metrics = self.step(lesson.prompts, lesson.demonstrations, step_seed(seed, number))
        return metrics | {"prompts": float(len(lesson.prompts))}

    def save(self, folder: Path) -> None:
        """Write the adapter, its moments and beta.

        Not the reward's scale, nor the value head, whose returns are in its units: who goes on from
        here is paid by another reward, and so is the next round, whose ensemble is a refitted one.
        """
        self._tuning.save(folder)
        kept = {"kl_weight": torch.tensor(self._kl_weight, dtype=torch.float64)}
        save_file(kept, folder / STATE_FILE)

    def close(self) -> None:
        """Forget the adapter in training and the value head."""
        self._value, self._value_optimizer, self._scale = None, None, None
        self._tuning.close()

    # -- step by step --------------------------------------------------------------------------

    def begin(self, parent: PolicyVersion, seed: int) -> None:
        """Open a copy of ``parent``; beta begins as it is set, whatever was left beside it."""
        self.close()
        if self._reference is not None:
            self._backbone.ensure_resident(self._reference)
        self._tuning.open(parent, seed)
        self._kl_weight = self._config.kl_weight

    def step(
        self, prompts: Sequence[Prompt], demonstrations: Sequence[Demonstration], seed: int
    ) -> dict[str, float]:
        """One batch of rollouts and the optimizer steps on it; returns metrics."""
        rollouts = self._team.agree(
            lambda: sample_rollouts(self._engine, self._reward, prompts, self._config.rollout, seed)
        )
        experience, metrics = self._experience(rollouts, seed)
        generator = torch.Generator().manual_seed(seed)
        steps: list[dict[str, float]] = []
        for _ in range(self._config.epochs):
            order = torch.randperm(len(rollouts), generator=generator)
            steps += [
                self._optimizer_step(experience, replies.tolist(), demonstrations)
                for replies in order.split(self._config.minibatch)
            ]
        for name in steps[0]:
            metrics[name] = sum(step[name] for step in steps) / len(steps)
        if self._config.kl_adapts:
            self._kl_weight = steered(self._kl_weight, metrics["kl"], self._config.kl_target)
        return metrics

    def _experience(
        self, rollouts: list[Rollout], seed: int
    ) -> tuple[Experience, dict[str, float]]:
        """Steps 2 to 5: everything that is known before the policy moves."""
        c = self._config
        if self._scale is None:
            self._scale = RewardScale.of(rollouts, c.rollout)
        scores = self._scale(rollouts, c.rollout)
        if self._value is None:
            self._set_value_head(float(scores.mean()), seed)
        lengths = [len(r.reply_ids) for r in rollouts]
        with torch.no_grad():
            logprobs, values = self._run(rollouts, range(len(rollouts)))
            if self._reference is not None:  # reward models may have taken its place in memory
                self._backbone.ensure_resident(self._reference)
            with self._backbone.speaking(self._reference_id):
                ref_logprobs, _ = self._run(rollouts, range(len(rollouts)))
        rewards, mask = padded(-self._kl_weight * (logprobs - ref_logprobs), lengths)
        last = torch.tensor(lengths, device=rewards.device) - 1
        rewards[torch.arange(len(rollouts)), last] += scores.to(rewards)
        advantages, returns = generalised_advantages(
            rewards,
            padded(values, lengths)[0],
            mask,
            discount=c.discount,
            gae_lambda=c.gae_lambda,
        )
        advantages, returns = advantages[mask], returns[mask]
        explained = 1.0 - float((returns - values).var() / returns.var().clamp(min=1e-8))
        raw = torch.stack([r.rewards for r in rollouts], dim=1)
        metrics = {
            "reward": float(raw.mean()),
            "reward_std": float(raw.std(dim=0, correction=0).mean()),
            "score": float(scores.mean()),
            "kl": float(k3(logprobs, ref_logprobs).mean()),
            "kl_weight": self._kl_weight,
            "length_tokens": sum(lengths) / len(lengths),
            "value_explained": explained,
        }
        return (
            Experience(
                rollouts=rollouts,
                lengths=lengths,
                logprobs=logprobs,
                ref_logprobs=ref_logprobs,
                values=values,
                advantages=whitened(advantages) if c.whiten else advantages,
                returns=returns,
            ),
            metrics,
        )

    def _optimizer_step(
        self,
        experience: Experience,
        replies: Sequence[int],
        demonstrations: Sequence[Demonstration],
    ) -> dict[str, float]:
        """Step 6: one AdamW step on the mean over the minibatch's tokens, a row at a time."""
        c, value, value_optimizer = self._config, self._value, self._value_optimizer
        if value is None or value_optimizer is None:
            raise RuntimeError("no rollouts were sampled yet")
        self._tuning.clear()
        value_optimizer.zero_grad(set_to_none=True)
        total = sum(experience.lengths[i] for i in replies)
        sums = dict.fromkeys(("policy_loss", "value_loss", "clip_frac", "approx_kl"), 0.0)
        for grove in self._team.share(self._passes.rows_of(experience.rollouts, replies)):
            tokens = experience.tokens_of(grove.names)
            logprobs, values = self._run_grove(grove)
            old, advantages = experience.logprobs[tokens], experience.advantages[tokens]
            policy_loss = clipped_policy_loss(logprobs, old, advantages, low=c.clip, high=c.clip)
            value_loss = clipped_value_loss(
                values, experience.values[tokens], experience.returns[tokens], c.value_clip
            )
            # The head has an optimizer of its own and sends nothing into the policy: no weight.
            ((policy_loss.sum() + value_loss.sum()) / total).backward()
            ratio = (logprobs.detach() - old).exp()
            for name, amount in (
                ("policy_loss", policy_loss.detach().sum()),
                ("value_loss", value_loss.detach().sum()),
                ("clip_frac", ((ratio - 1.0).abs() > c.clip).sum()),
                ("approx_kl", (ratio - 1.0 - ratio.log()).sum()),
            ):
                sums[name] += float(amount) / total
        some = self._team.share(demonstrations)
        if demonstrations and c.ptx_weight > 0:
            sums["ptx_loss"] = self._passes.add_nll_gradients(
                some, c.ptx_weight, tokens=sum(len(one.reply_ids) for one in demonstrations)
            )
        self._team.sum_gradients([*self._tuning.parameters, *value.parameters()])
        totals = self._team.sum(torch.tensor(list(sums.values()), dtype=torch.float64))
        sums = dict(zip(sums, totals.tolist(), strict=True))
        value_optimizer.step()
        return sums | {"grad_norm": self._tuning.step()}

    # -- running the model ---------------------------------------------------------------------

    def _run(
        self, rollouts: Sequence[Rollout], replies: Sequence[int]
    ) -> tuple[Float[Tensor, " R"], Float[Tensor, " R"]]:
        """Log-probabilities and values of these replies' tokens, reply by reply."""
        found: dict[int, tuple[Tensor, Tensor]] = {}
        for grove in self._passes.rows_of(rollouts, replies):
            logprobs, values = self._run_grove(grove)
            lengths = [len(rollouts[i].reply_ids) for i in grove.names]
            parts = zip(logprobs.split(lengths), values.split(lengths), strict=True)
            found.update(zip(grove.names, parts, strict=True))
        return (
            torch.cat([found[i][0] for i in replies]),
            torch.cat([found[i][1] for i in replies]),
        )

    def _run_grove(self, grove: Grove) -> tuple[Float[Tensor, " R"], Float[Tensor, " R"]]:
        states = tree_states(self._backbone, grove.trees)
        logprobs = token_logprobs(states.hidden, self._backbone.lm_head, states.tokens)
        values = states.hidden.new_zeros(len(states.tokens))
        if self._value is not None:
            values = self._value(states.hidden)
        return logprobs, values

    @property
    def _reference_id(self) -> PolicyVersionId:
        return self._backbone.reference_id if self._reference is None else self._reference.id

    # -- the value head and what else is kept --------------------------------------------------

    def _set_value_head(self, start: float, seed: int) -> tuple[ValueHead, torch.optim.AdamW]:
        inputs = self._backbone.lm_head.in_features
        value = ValueHead(inputs, self._config.value_width, start=start, seed=seed)
        self._value = value.to(self._backbone.device)
        self._value_optimizer = new_adamw(
            list(self._value.parameters()), self._config.value_learning_rate
        )
        return self._value, self._value_optimizer

    def tensors(self) -> dict[str, Tensor]:
        """All that the next step depends on beside its arguments, for a checkpoint."""
        return self._tuning.tensors() | put_under("ppo.", self._own_tensors())

    def restore(self, tensors: Mapping[str, Tensor], seed: int) -> None:
        """Take up what ``tensors`` gave; ``begin`` comes first."""
        self._tuning.restore(tensors)
        self._take_up(under("ppo.", tensors), seed)

    def _own_tensors(self) -> dict[str, Tensor]:
        kept = {"kl_weight": torch.tensor(self._kl_weight, dtype=torch.float64)}
        if self._value is not None and self._value_optimizer is not None:
            kept |= put_under("value.", self._value.state_dict())
            kept |= put_under("adam.", moments_of(self._value_optimizer))
        if self._scale is not None:
            kept["centre"] = self._scale.centre
            kept["spread"] = torch.tensor(self._scale.spread, dtype=torch.float64)
        return {name: t.detach().cpu().clone().contiguous() for name, t in kept.items()}

    def _take_up(self, kept: Mapping[str, Tensor], seed: int) -> None:
        self._kl_weight = float(kept["kl_weight"])
        if "centre" not in kept:
            return  # no step was taken before
        self._scale = RewardScale(centre=kept["centre"], spread=float(kept["spread"]))
        value, optimizer = self._set_value_head(0.0, seed)
        value.load_state_dict(under("value.", kept))
        set_moments(optimizer, under("adam.", kept))
