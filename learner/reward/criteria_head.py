"""The Bayesian head, one for each criterion, on the same frozen features.

It is fitted to differences of features (``head.fit_differences``), so it needs no log: a file of
them is the whole model, and reading it is refitting it, in milliseconds.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from learner.config import RewardConfig
from learner.protocols import FeatureExtractor
from learner.reward.criteria import CriteriaWeights, combined
from learner.reward.featured import as_half
from learner.reward.head import BayesianRewardHead
from learner.reward.style import style_features
from learner.reward.taste import Taste, taste_without_sets
from storage.records import Completion, Message
from storage.slates import Criterion

HEAD_FILE = "differences.safetensors"
_BASE, _FIT = "base_sha256", "fit"

PAIRS_PER_COMPONENT = 16
MOST_COMPONENTS = 64
"""More of them predict held-out choices worse (docs/phases.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """Better minus worse of many pairs, oldest first; of a tie first minus second."""

    style: Float[Tensor, "n S"]
    hidden: Float[Tensor, "n H"]
    weight: Float[Tensor, " n"]
    tie: Bool[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.tie)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadFit:
    """How heads were fitted: with the differences, all that they follow from."""

    base_sha256: str | None
    """Of the model whose hidden states these are; others mean other things."""
    config: RewardConfig = field(  # of many people, none of whom changed
        default_factory=lambda: RewardConfig(picks_between_changes=None)
    )
    seed: int = 0
    without: tuple[str, ...] = ()
    """Sets whose shipped directions were left out."""


class CriteriaHead:
    def __init__(
        self, criteria: Sequence[Criterion], config: RewardConfig, *, seed: int, taste: Taste | None
    ) -> None:
        self.criteria = tuple(criteria)
        self._config, self._seed, self._taste = config, seed, taste
        self._heads = {c: self._head_of(0) for c in criteria}

    def fit(
        self,
        differences: Mapping[Criterion, Differences],
        usual: tuple[Float[Tensor, " S"], Float[Tensor, " H"]],
    ) -> None:
        """Fit each criterion to its own; ``usual`` is the mean reply, whose reward shall be 0."""
        self._usual = usual
        for criterion, rows in differences.items():
            self._heads[criterion] = self._head_of(len(rows))
            self._heads[criterion].fit_differences(
                style=rows.style,
                hidden=rows.hidden,
                position=torch.zeros(len(rows)),
                weight=rows.weight,
                tie=rows.tie,
                may_tie=bool(rows.tie.any()),
            )

    def rewards(
        self, style: Float[Tensor, "N S"], hidden: Float[Tensor, "N H"]
    ) -> Float[Tensor, "E C N"]:
        """Rewards in logits above the usual reply's, by criterion."""
        style, hidden = style - self._usual[0], hidden - self._usual[1]
        return torch.stack(
            [self._heads[c].margin_draws(style, hidden) for c in self.criteria], dim=1
        )

    def _head_of(self, pairs: int) -> BayesianRewardHead:
        """As wide as so many pairs allow."""
        at_least = self._config.hidden_components
        count = components_for(pairs, at_least) if at_least else 0
        config = replace(self._config, hidden_components=count)
        return BayesianRewardHead(config, seed=self._seed, taste=self._taste)

    def flip_rate(self, criterion: Criterion) -> float:
        """Estimated share of answers on it that were given at random."""
        return self._heads[criterion].flip_rate


def components_for(pairs: int, at_least: int) -> int:
    """Directions of the hidden states that so many pairs can tell apart."""
    return max(at_least, min(MOST_COMPONENTS, pairs // PAIRS_PER_COMPONENT))


def save_differences(
    folder: Path,
    differences: Mapping[Criterion, Differences],
    usual: tuple[Float[Tensor, " S"], Float[Tensor, " H"]],
    fit: HeadFit,
) -> None:
    """Write all that the heads follow from."""
    said = {"config": asdict(fit.config), "seed": fit.seed, "without": fit.without}
    metadata = {_FIT: json.dumps(said)}
    if fit.base_sha256 is not None:
        metadata[_BASE] = fit.base_sha256
    kept = {"usual.style": usual[0], "usual.hidden": usual[1]}
    for criterion, rows in differences.items():
        for name in ("style", "hidden", "weight", "tie"):
            kept[f"{criterion.value}.{name}"] = getattr(rows, name)
    save_file(
        {name: t.contiguous() for name, t in kept.items()},
        folder / HEAD_FILE,
        metadata=metadata,
    )


def fit_of(folder: Path) -> HeadFit:
    """How the heads there were fitted; older files do not say, nor all of them the base.

    Raises as below, and TypeError or ValueError where it says what there is not.
    """
    with safe_open(folder / HEAD_FILE, framework="pt") as kept:
        about = kept.metadata() or {}
    if _FIT not in about:
        return HeadFit(base_sha256=about.get(_BASE))
    said = json.loads(about[_FIT])
    config = {n: tuple(v) if isinstance(v, list) else v for n, v in said["config"].items()}
    return HeadFit(
        base_sha256=about.get(_BASE),
        config=RewardConfig(**config),
        seed=said["seed"],
        without=tuple(said["without"]),
    )


def read_differences(
    folder: Path,
) -> tuple[dict[Criterion, Differences], tuple[Tensor, Tensor]]:
    """Raises OSError, KeyError and SafetensorError where there is none."""
    kept = load_file(folder / HEAD_FILE)
    found = {
        criterion: Differences(
            **{n: kept[f"{criterion.value}.{n}"] for n in ("style", "hidden", "weight", "tie")}
        )
        for criterion in Criterion
        if f"{criterion.value}.tie" in kept
    }
    return found, (kept["usual.style"], kept["usual.hidden"])


class HeadReward:
    """A ``RewardModel`` read from a folder of differences."""

    def __init__(
        self,
        features: FeatureExtractor,
        differences: Mapping[Criterion, Differences],
        usual: tuple[Float[Tensor, " S"], Float[Tensor, " H"]],
        weights: CriteriaWeights,
        fit: HeadFit,
        *,
        base_sha256: str,
    ) -> None:
        """``base_sha256``: of the model that is here, whose taste ships."""
        self._features = features
        self._weights = weights
        taste = taste_without_sets(base_sha256, fit.without)
        self._head = CriteriaHead(tuple(differences), fit.config, seed=fit.seed, taste=taste)
        self._head.fit(differences, usual)

    def score(
        self, prompt: Sequence[Message], completions: Sequence[Completion]
    ) -> Float[Tensor, "E N"]:
        """Rewards in logits, the criteria taken together as they are weighed."""
        ids = [c.token_ids for c in completions]
        hidden = as_half(self._features.extract(prompt, ids)).float()
        style = torch.tensor([style_features(prompt, c.text) for c in completions])
        return combined(self._head.rewards(style, hidden), self._head.criteria, self._weights)
