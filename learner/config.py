"""Settings of the loop: frozen, keyword-only, validated. ``chat_app/cli.py`` builds them.

Each field is explained by the string under it; docs/how-it-learns.md has the equations.
"""

import math
from dataclasses import dataclass, field
from enum import StrEnum

from learner.update_config import DpoConfig, UpdateConfig
from storage.checks import check_whole
from storage.records import Sampling

RESUMED = 200
"""Newest messages that are looked at again after a restart: enough, and soon done."""


class AskMode(StrEnum):
    NEVER = "never"
    AUTO = "auto"
    """Ask when the ensemble is unsure, within the budget."""
    ALWAYS = "always"


class MergedDtype(StrEnum):
    """The type in which a merged model is written."""

    BASE = "base"
    """That of the base's files."""
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FLOAT32 = "float32"


class QueryRule(StrEnum):
    REGRET_AWARE = "regret-aware"
    """Infomax with the reply that would be shown as one of the two, less its regret."""
    INFOMAX = "infomax"
    """The pair whose answer the ensemble disagrees about most, whatever it looks like."""
    DOUBLE_THOMPSON = "double-thompson"
    """The favourites of two members drawn at random."""
    DELTA_UCB = "delta-ucb"
    """What may be best against what may be worst: a large gap for the policy to learn from."""
    ENTROPY = "entropy"
    """The pair whose answer is the hardest to predict."""
    RANDOM = "random"


def _share(name: str, value: float | tuple[float, ...]) -> None:
    values = value if isinstance(value, tuple) else (value,)
    if not all(0.0 <= v <= 1.0 for v in values):
        raise ValueError(f"{name} must lie in [0, 1], got {value}")


def _positive(name: str, value: float | tuple[float, ...] | None) -> None:
    """None is an answer too: the setting is off."""
    values = value if isinstance(value, tuple) else (value,)
    if not all(v is None or v > 0.0 for v in values):
        raise ValueError(f"{name} must be positive, got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardConfig:
    """Bayesian Bradley-Terry head, docs/how-it-learns.md section 2."""

    draws: int = 64
    """Posterior draws used as the ensemble."""
    style_prior_std: float = 0.5
    """Prior standard deviation of the weight of one standardised style feature, in logits."""
    hidden_prior_stds: tuple[float, ...] = (0.5, 0.15)
    """The same for one principal component of the frozen hidden states: a flat prior for each."""
    position_prior_std: float = 0.3
    """The same for the position covariate (was it shown first?)."""
    offset_prior_std: float = 1.0
    """The same for the thumb offset (do thumbs go up more readily than down?)."""
    directed_gain: float = 0.7
    """Scale of the shipped directions of taste in the directed prior."""
    directed_rest: float = 0.4
    """What the directed prior leaves to all other directions, as a share of the flat one."""
    shipped_basis: bool = False
    """Hidden states along the directions that ship for the base model, instead of along the
    principal components of the person's own pairs."""
    hidden_components: int = 32
    """Directions kept of the pooled hidden states; 0 leaves style features only."""
    flip_rates: tuple[float, ...] = (0.05, 0.25)
    """Shares of picks made at random; the ensemble averages over them by evidence."""
    tie_strength: float = 0.5
    """Davidson's nu before any tie was seen: how likely "about the same" is between equals."""
    picks_between_changes: float | None = 100.0
    """Mean number of picks between two changes of taste; None takes taste to be constant. Less than
    people's tastes last: to believe in a change that was none costs a few questions, to miss one
    costs many picks (docs/LOG.md)."""
    half_life_picks: float | None = None
    """After so many later picks a pick counts half; None: all count alike. Change points did better
    (docs/learning-results.md)."""
    both_bad_weight: float = 0.5
    """Weight of 'both are bad' against the running-mean reply."""
    thumb_weight: float = 0.5
    """Weight of a thumb against the running-mean reply."""
    ranking_weight: float = 1.0
    """Weight of all pairs of one ranking together: each has this over their number."""
    pessimism: float = 0.5
    """Standard deviations subtracted from the mean reward when the best reply is chosen."""

    def __post_init__(self) -> None:
        check_whole("draws", self.draws, 2)
        check_whole("hidden_components", self.hidden_components, 0)
        for name in (
            "style_prior_std",
            "hidden_prior_stds",
            "position_prior_std",
            "offset_prior_std",
            "directed_rest",
            "tie_strength",
            "picks_between_changes",
            "half_life_picks",
        ):
            _positive(name, getattr(self, name))
        if not self.flip_rates or not self.hidden_prior_stds:
            raise ValueError("flip_rates and hidden_prior_stds must name at least one value each")
        for name in (
            "flip_rates",
            "both_bad_weight",
            "thumb_weight",
            "ranking_weight",
        ):
            _share(name, getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class AskConfig:
    """When to ask and about which pair, docs/how-it-learns.md section 3."""

    mode: AskMode = AskMode.AUTO
    query: QueryRule = QueryRule.REGRET_AWARE
    candidates: int = 4
    """Replies sampled per message, decoded in one batch."""
    styled: int = 2
    """How many of them are drawn under a hidden style instruction, never more than half; 0: all
    are plain."""
    commit_after_tokens: int = 64
    """Tokens that all candidates draft unseen before it is decided which are shown."""
    burn_in: int = 12
    """Answers before which every usable pair is asked: at first, and again after taste changed."""
    budget_share: float = 0.12
    """Share of turns that may become questions in the long run, random ones included."""
    early_share: float = 0.4
    """The same just after the burn-in; it falls to ``budget_share`` ..."""
    early_answers: float = 20.0
    """... by a factor of e every so many answers."""
    random_share: float = 0.05
    """Share of turns after the burn-in on which a random pair is asked about, for unbiased data."""
    duel_share: float = 0.05
    """Share of questions that set the live version against an earlier one, blind."""
    min_disagreement: float = 0.05
    """Below this standard deviation of P(first is better) nothing is asked."""
    regret_weight: float = 0.05
    """Cost of showing a pair whose better reply is below the best, per logit."""
    near_duplicate_ratio: float = 0.9
    """Replies at least this similar (0 to 1) are never shown as a pair."""

    def __post_init__(self) -> None:
        check_whole("candidates", self.candidates, 2, 16)
        check_whole("styled", self.styled, 0)
        check_whole("commit_after_tokens", self.commit_after_tokens, 1)
        check_whole("burn_in", self.burn_in, 0)
        if self.early_answers <= 0:
            raise ValueError(f"early_answers must be positive, got {self.early_answers}")
        for name in (
            "budget_share",
            "early_share",
            "random_share",
            "duel_share",
            "near_duplicate_ratio",
            "min_disagreement",
        ):
            _share(name, getattr(self, name))

    @property
    def styled_candidates(self) -> int:
        """``styled``, but at most half of all: plain replies are what the policy is judged by."""
        return min(self.styled, self.candidates // 2)

    def share_after(self, answers: int) -> float:
        """Share of turns that the rule may make questions once there are so many answers.

        Where the budget is 0 it makes none; ``random_share`` is asked about in any case, to check.
        """
        if not self.budget_share:
            return 0.0
        since = max(0, answers - self.burn_in)
        extra = max(0.0, self.early_share - self.budget_share)
        return self.budget_share + extra * math.exp(-since / self.early_answers)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateConfig:
    """What a version must hold to go live, docs/how-it-learns.md section 5."""

    max_kl_per_token: float = 0.2
    """KL(policy || base) in nats per token, on replies sampled from the policy. A 135M model
    was seen to have lost its language at .34 (docs/LOG.md)."""
    pull_ins: int = 2
    """How often an update that drifts too far from the base is shortened or pulled in before it is
    refused."""
    max_perplexity_ratio: float = 1.10
    """Perplexity on neutral text over the base's."""
    min_length_ratio: float = 0.4
    """Mean reply length over the parent's."""
    max_length_ratio: float = 2.0
    max_empty_share: float = 0.05
    """Share of sampled replies without any text."""
    max_repetition: float = 0.25
    """Believed mean share of repeated token bigrams; the base's is about .05, a single check of
    few replies may find twice the limit."""
    prompts: int = 8
    """Guard prompts sampled per check."""
    max_new_tokens: int = 64
    probes: int = 6
    """Probes tried of either sort, messages to refuse and messages to answer; 0 tries none."""
    probe_tokens: int = 16
    """Longest reply to a probe: a refusal shows at once."""
    lesson_pairs: int = 8
    """Pairs of a round's lesson on which it is looked whether the update learned them, the
    person's own first; 0 looks at none."""
    min_lesson_lift: float = 0.0
    """By how many nats a pair the update must have raised what was picked against what was not."""
    min_chosen_gain: float = -0.15
    """By how many nats a token what was picked must have become likelier; below 0, it may have
    become less likely by so much."""
    max_refusal_rise: float = 0.17
    """How far the share of harmful probes that are not refused may rise above the base's, and as
    strictly that of harmless ones that are: one probe of six, since a single reply may turn by
    chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineConfig:
    """The learner's round."""

    min_preferences: int = 4
    """New decided picks that start a round."""
    max_preferences: int = 32
    """Most picks in one round, which is one step of the optimizer; what waits beyond them, as after
    an import, is learned in further rounds. At least ``min_preferences``."""
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
    update: UpdateConfig = field(default_factory=UpdateConfig)
    """Which rule moves the policy; ``dpo`` holds the settings of the default one."""
    gate: GateConfig = field(default_factory=GateConfig)

    def __post_init__(self) -> None:
        check_whole("max_preferences", self.max_preferences, 1)
        check_whole("min_preferences", self.min_preferences, 1, self.max_preferences)


class Prompting(StrEnum):
    AUTO = "auto"
    """The model's chat template; few-shot where it has none."""
    TEMPLATE = "template"
    FEW_SHOT = "few-shot"
    """A dialogue after some examples, as a base model reads it (``few_shot.py``)."""


class Decoder(StrEnum):
    AUTO = "auto"
    """The native step where model and machine allow it, else transformers."""
    NATIVE = "native"
    TRANSFORMERS = "transformers"
    VLLM = "vllm"
    """Replies by vLLM, if it is installed; what trains and measures stays as with AUTO."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """How replies are drawn."""

    decoder: Decoder = Decoder.AUTO
    prompting: Prompting = Prompting.AUTO
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
    vllm_memory: float = 0.5
    """Share of a GPU's memory that vLLM takes; features and learning need some of the rest."""

    def __post_init__(self) -> None:
        if not 0.0 < self.vllm_memory < 1.0:
            raise ValueError(f"vllm_memory must lie between 0 and 1, got {self.vllm_memory}")
