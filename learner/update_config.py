"""Settings of the update rules: how picks, thumbs and rewards move the policy's weights.

Each field is explained by the string under it; docs/how-it-learns.md section 4 has the equations.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from storage.records import Sampling


class UpdateRuleName(StrEnum):
    """The rules to choose from; each is one file of ``learner/updates``."""

    DPO = "dpo"
    """Online direct preference optimisation on picks and reward-labelled pairs."""
    NPG = "npg"
    """Nudged pairwise policy gradient on the same pairs."""
    KTO = "kto"
    """Kahneman-Tversky optimisation on single verdicts: thumbs, and picks taken apart."""
    PPO = "ppo"
    """Proximal policy optimisation with a value head, the InstructGPT recipe."""
    RLOO = "rloo"
    """REINFORCE with the other replies of a prompt as the baseline."""
    GRPO = "grpo"
    """Clipped policy gradient with advantages standardised within a prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSpec:
    rank: int = 16
    alpha: int = 32

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha < 1:
            raise ValueError(f"rank and alpha must be positive, got {self.rank} and {self.alpha}")

    @property
    def scale(self) -> float:
        """What B A is multiplied with."""
        return self.alpha / self.rank


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningConfig:
    """What every rule has: an adapter and its optimizer."""

    learning_rate: float = 1e-4
    row_tokens: int = 320
    """Tokens run at once, unless one prompt with its replies has more. Longer rows take more
    memory."""
    grad_clip: float = 1.0
    lora: LoraSpec = field(default_factory=LoraSpec)

    def __post_init__(self) -> None:
        if not (self.learning_rate > 0 and self.grad_clip > 0):  # NaN is neither
            raise ValueError("learning_rate and grad_clip must be positive")
        if self.row_tokens < 1:
            raise ValueError(f"row_tokens must be at least 1, got {self.row_tokens}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DpoConfig(TuningConfig):
    """Online DPO on human picks and reward-labelled pairs."""

    beta: float = 0.1
    """Strength of the pull to the reference policy. A label of probability p stops pulling once it
    has moved its pair by ln(p / (1 - p)) / beta nats, and pulls back beyond (decision 0019)."""
    learning_rate: float = 1e-3
    label_smoothing: float = 0.1
    """Assumed chance that a human pick is wrong (conservative DPO)."""
    reward_pairs: int = 8
    """Pairs labelled by the reward ensemble beside the human ones of a round."""
    reward_pairs_after: int = 8
    """No reward-labelled pairs before this many human picks."""
    steps: int = 1
    """Optimizer steps a round."""
    minibatch: int | None = None
    """Pairs that a step sees: the next so many in an order shuffled anew when all were seen. None
    is all of the round's, right where a round has few."""

    def __post_init__(self) -> None:
        TuningConfig.__post_init__(self)
        if self.beta <= 0:
            raise ValueError(f"beta must be positive, got {self.beta}")
        if not 0.0 <= self.label_smoothing < 0.5:
            raise ValueError(f"label_smoothing must lie in [0, 0.5), got {self.label_smoothing}")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if self.minibatch is not None and self.minibatch < 1:
            raise ValueError(f"minibatch must be at least 1 or None, got {self.minibatch}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NpgConfig(TuningConfig):
    """Nudged pairwise policy gradient, arXiv 2603.17378 with the guards of PPO."""

    learning_rate: float = 3e-4
    nudge: float = 0.03
    """Added to every advantage; without it both replies of a pair may sink."""
    doubt: float = 0.5
    """Standard deviations of the ensemble's probability by which an advantage shrinks."""
    clip_low: float = 0.2
    clip_high: float = 0.28
    anchor_kl: float = 0.05
    """Strength of KL(anchor || policy), the anchor being a slow average of the policy."""
    anchor_decay: float = 0.97
    """Share of the anchor that is kept at each step."""
    reference_kl: float = 0.05
    """First strength of KL(policy || reference); it adapts."""
    kl_target: float = 0.04
    """Nats per token at which that strength stays as it is."""
    demonstration_weight: float = 0.2
    """Of the NLL per token of what people wrote."""
    steps: int = 1

    def __post_init__(self) -> None:
        TuningConfig.__post_init__(self)
        if not 0.0 <= self.anchor_decay <= 1.0:
            raise ValueError(f"anchor_decay must lie in [0, 1], got {self.anchor_decay}")
        if self.steps < 1 or self.kl_target <= 0:
            raise ValueError("steps must be at least 1 and kl_target positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class KtoConfig(TuningConfig):
    """Kahneman-Tversky optimisation, arXiv 2402.01306."""

    learning_rate: float = 1e-3
    beta: float = 0.1
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0
    balance: bool = True
    """Weigh the rarer kind of verdict up until both count alike."""
    steps: int = 1

    def __post_init__(self) -> None:
        TuningConfig.__post_init__(self)
        if self.beta <= 0 or self.steps < 1:
            raise ValueError("beta must be positive and steps at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutConfig:
    """How replies are drawn from the policy in training, and what they are worth."""

    samples: int = 4
    """Replies to each prompt."""
    sampling: Sampling = field(
        default_factory=lambda: Sampling(
            temperature=1.0, top_k=1 << 20, top_p=1.0, max_new_tokens=64
        )
    )
    """Temperature 1 and nothing cut off: the KL is measured under the policy that was sampled."""
    batch: int = 16
    """Replies decoded at once."""
    pessimism: float = 1.0
    """Standard deviations of the ensemble taken off the mean reward (against over-optimisation)."""
    reward_clip: float = 5.0
    """Bound of the normalised reward, in standard deviations of the reference's own rewards."""
    normalise: bool = True
    """Set each reply against the others to its prompt, and divide by the spread of the first ones;
    those that say nothing, or loop, are worth the least."""
    reply_limit: int | None = None
    """Tokens to which the chat would let a reply run on. One that the rollout's limit cut is then
    judged as a draft, by the length it is expected to reach (``reward/lengths.py``). None: as a
    whole reply."""
    unfinished_penalty: float = 0.0
    """Taken off the reward of a reply that the length limit cut (after normalising)."""

    def __post_init__(self) -> None:
        if self.samples < 1 or self.batch < 1:
            raise ValueError("samples and batch must be at least 1")
        if self.pessimism < 0 or self.reward_clip <= 0 or self.unfinished_penalty < 0:
            raise ValueError(
                "pessimism and unfinished_penalty must not be negative, reward_clip must be above 0"
            )
        if self.reply_limit is not None and self.reply_limit < 1:
            raise ValueError(f"reply_limit must be at least 1 or None, got {self.reply_limit}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardedConfig(TuningConfig):
    """What PPO, RLOO and GRPO share: replies are drawn from the policy, and rewards move it."""

    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    iterations: int = 2
    """Batches of rollouts in one round of the live loop."""
    epochs: int = 1
    """Passes over a batch; more make it unstable (DeepSpeed-Chat)."""
    minibatch: int = 8
    """Replies to an optimizer step."""
    clip: float = 0.2
    """The policy's ratio counts within 1 - clip and 1 + clip."""
    kl_weight: float = 0.05
    """Strength of the KL penalty, the first one where it adapts. PPO takes it off each token's
    reward, RLOO off the reply's, GRPO adds it to the loss."""

    def __post_init__(self) -> None:
        TuningConfig.__post_init__(self)
        if not 0.0 < self.clip < 1.0 or self.kl_weight < 0:
            raise ValueError("clip must lie in (0, 1) and kl_weight must not be negative")
        if min(self.epochs, self.minibatch, self.iterations) < 1:
            raise ValueError("epochs, minibatch and iterations must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class PpoConfig(RewardedConfig):
    """PPO with a value head, per-token KL and PTX: arXiv 2203.02155 and 1909.08593."""

    value_clip: float = 0.2
    value_learning_rate: float = 1e-3
    value_width: int = 64
    """Width of the value head's one hidden layer."""
    discount: float = 1.0
    gae_lambda: float = 0.95
    whiten: bool = True
    """Advantages of a batch get mean 0 and standard deviation 1."""
    kl_target: float = 0.04
    """Nats per token at which the strength of the KL penalty stays as it is."""
    kl_adapts: bool = True
    ptx_weight: float = 0.2
    """Of the NLL per token of demonstrations. The published 27.8 belongs to summed gradients."""

    def __post_init__(self) -> None:
        RewardedConfig.__post_init__(self)
        if self.value_clip <= 0 or self.value_width < 1:
            raise ValueError("value_clip must be positive and value_width at least 1")
        if not (0.0 < self.discount <= 1.0 and 0.0 <= self.gae_lambda <= 1.0):
            raise ValueError("discount must lie in (0, 1] and gae_lambda in [0, 1]")
        if self.kl_target <= 0 or self.ptx_weight < 0:
            raise ValueError("kl_target must be positive and ptx_weight must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupConfig(RewardedConfig):
    """RLOO (arXiv 2402.14740) and GRPO (arXiv 2402.03300): no value head, several replies."""

    learning_rate: float = 5e-4
    minibatch: int = 32
    """Replies to an optimizer step; those of one prompt stay together. All of a batch, as in the
    papers: a second step on it would be off-policy, and a whole reply soon leaves the clip."""

    def __post_init__(self) -> None:
        RewardedConfig.__post_init__(self)
        if self.rollout.samples < 2:
            raise ValueError(f"a group needs at least 2 replies, got {self.rollout.samples}")


_LIVE = RolloutConfig(reply_limit=Sampling().max_new_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateConfig:
    """Which rule moves the policy, and its settings.

    In the live loop PPO's value head is new each round and knows nothing of a reply's course yet.
    With GAE's lambda below 1 the reward, which comes with the last token, would then hardly reach
    the first ones: .95 leaves .04 of it after 64 tokens.
    """

    rule: UpdateRuleName = UpdateRuleName.DPO
    npg: NpgConfig = field(default_factory=NpgConfig)
    kto: KtoConfig = field(default_factory=KtoConfig)
    ppo: PpoConfig = field(default_factory=lambda: PpoConfig(rollout=_LIVE, gae_lambda=1.0))
    group: GroupConfig = field(default_factory=lambda: GroupConfig(rollout=_LIVE))
