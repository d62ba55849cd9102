"""Settings of the loop: frozen, keyword-only, validated. ``chat_app/cli.py`` builds them.

Each field is explained by the string under it; docs/how-it-learns.md has the equations.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from storage.records import Sampling


class AskMode(StrEnum):
    NEVER = "never"
    AUTO = "auto"
    """Ask when the ensemble is unsure, within the budget."""
    ALWAYS = "always"


class QueryRule(StrEnum):
    INFOMAX = "infomax"
    """Regret-aware infomax: the pair whose answer teaches most, at little cost to the reader."""
    RANDOM = "random"


def _share(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} must lie in [0, 1], got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardConfig:
    """Bayesian Bradley-Terry head, docs/how-it-learns.md section 2."""

    draws: int = 64
    """Posterior draws used as the ensemble."""
    style_prior_std: float = 0.5
    """Prior standard deviation of the weight of one standardised style feature, in logits."""
    hidden_prior_std: float = 0.5
    """The same for one principal component of the frozen hidden states."""
    position_prior_std: float = 0.3
    """The same for the position covariate (was it shown first?)."""
    hidden_components: int = 32
    """Principal components kept of the pooled hidden states; 0 leaves style features only."""
    flip_rate: float = 0.1
    """Share of picks assumed to be made at random."""
    tie_strength: float = 0.5
    """Davidson's nu: how much weight a tie carries."""
    both_bad_weight: float = 0.5
    """Weight of 'both are bad' against the running-mean reply."""
    pessimism: float = 0.5
    """Standard deviations subtracted from the mean reward when the best reply is chosen."""

    def __post_init__(self) -> None:
        if self.draws < 2:
            raise ValueError(f"draws must be at least 2, got {self.draws}")
        if self.hidden_components < 0:
            raise ValueError(
                f"hidden_components must not be negative, got {self.hidden_components}"
            )
        for name in ("style_prior_std", "hidden_prior_std", "position_prior_std", "tie_strength"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        _share("flip_rate", self.flip_rate)
        _share("both_bad_weight", self.both_bad_weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskConfig:
    """When to ask and about which pair, docs/how-it-learns.md section 3."""

    mode: AskMode = AskMode.AUTO
    query: QueryRule = QueryRule.INFOMAX
    candidates: int = 4
    """Replies sampled per message, decoded in one batch."""
    commit_after_tokens: int = 64
    """Tokens that all candidates draft unseen before it is decided which are shown."""
    burn_in: int = 12
    """Answers before which every usable pair is asked."""
    budget_share: float = 0.3
    """Ceiling on the share of later turns that may become questions."""
    random_share: float = 0.05
    """Share of later turns that become random questions, for unbiased data."""
    min_disagreement: float = 0.05
    """Below this standard deviation of P(first is better) nothing is asked."""
    regret_weight: float = 0.05
    """Cost of showing a pair whose better reply is below the best, per logit."""
    near_duplicate_ratio: float = 0.9
    """Replies at least this similar (0 to 1) are never shown as a pair."""

    def __post_init__(self) -> None:
        if not 2 <= self.candidates <= 16:
            raise ValueError(f"candidates must be 2 to 16, got {self.candidates}")
        if self.commit_after_tokens < 1:
            raise ValueError(
                f"commit_after_tokens must be positive, got {self.commit_after_tokens}"
            )
        if self.burn_in < 0:
            raise ValueError(f"burn_in must not be negative, got {self.burn_in}")
        for name in ("budget_share", "random_share", "near_duplicate_ratio", "min_disagreement"):
            _share(name, getattr(self, name))


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
class DpoConfig:
    """Online DPO on human picks and reward-labelled pairs, docs/how-it-learns.md section 4."""

    beta: float = 0.1
    """Strength of the pull to the reference policy."""
    learning_rate: float = 1e-3
    label_smoothing: float = 0.1
    """Assumed chance that a human pick is wrong (conservative DPO)."""
    reward_pairs: int = 8
    """Pairs labelled by the reward ensemble beside the human ones of a round."""
    reward_pairs_after: int = 8
    """No reward-labelled pairs before this many human picks."""
    steps: int = 1
    """Optimizer steps a round; each sees all of the round's pairs."""
    row_tokens: int = 320
    """Tokens run at once, unless one prompt with its replies has more. Longer rows take more
    memory."""
    grad_clip: float = 1.0
    lora: LoraSpec = field(default_factory=LoraSpec)

    def __post_init__(self) -> None:
        if self.beta <= 0 or self.learning_rate <= 0:
            raise ValueError("beta and learning_rate must be positive")
        if not 0.0 <= self.label_smoothing < 0.5:
            raise ValueError(f"label_smoothing must lie in [0, 0.5), got {self.label_smoothing}")
        if self.steps < 1 or self.row_tokens < 1:
            raise ValueError("steps and row_tokens must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class GateConfig:
    """What a version must hold to go live, docs/how-it-learns.md section 5."""

    max_kl_per_token: float = 0.15
    """KL(policy || base) in nats per token, on replies sampled from the policy. A 135M model begins
    to lose its language at three times this (docs/LOG.md)."""
    pull_ins: int = 2
    """How often an update that drifts too far from the base is pulled towards it before it is
    refused."""
    max_perplexity_ratio: float = 1.10
    """Perplexity on neutral text over the base's."""
    min_length_ratio: float = 0.4
    """Mean reply length over the parent's."""
    max_length_ratio: float = 2.0
    max_empty_share: float = 0.05
    """Share of sampled replies without any text."""
    max_repetition: float = 0.5
    """Mean share of repeated token bigrams in sampled replies."""
    prompts: int = 8
    """Guard prompts sampled per check."""
    max_new_tokens: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineConfig:
    """The learner's round."""

    min_preferences: int = 4
    """New decided picks that start a round."""
    poll_s: float = 0.5
    """Pause between two looks at the log."""
    max_failures: int = 3
    """Failed rounds in a row, or deaths of the process within ten minutes, after which learning
    pauses until the next start."""
    back_off_s: float = 2.0
    """First wait after a failure; each further one doubles it, up to ten seconds."""
    seed: int = 0
    reward: RewardConfig = field(default_factory=RewardConfig)
    dpo: DpoConfig = field(default_factory=DpoConfig)
    gate: GateConfig = field(default_factory=GateConfig)


class Decoder(StrEnum):
    AUTO = "auto"
    """The native step where model and machine allow it, else transformers."""
    NATIVE = "native"
    TRANSFORMERS = "transformers"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """How replies are drawn."""

    decoder: Decoder = Decoder.AUTO

    sampling: Sampling = field(default_factory=Sampling)
    max_prompt_tokens: int = 2048
    """Longer contexts drop their oldest turns."""
    seed: int = 0
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    dtype: str = "auto"
    """auto, float32 or bfloat16; auto takes bfloat16 where the hardware multiplies it natively."""
    threads: int = 0
    """CPU threads for decoding; 0 takes all cores."""
