"""What is believed about a person's taste before the first pick: several priors, averaged later.

A *flat* prior says only how large weights usually are. The shipped ones say more: the directions in
which real criteria and styles pull (``learner/reward/taste.safetensors``, made and described by
``benchmarks/learning/make_taste.py``, sources named in its metadata). They never say which way a
person leans in what they do not state, and they are averaged by evidence (``mixture.py``), so that
one that is wrong is soon left out. Order of the weights: style, position, thumb offset, hidden.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor

from learner.config import RewardConfig
from learner.reward.components import Components
from learner.reward.laplace import Hypotheses
from learner.reward.style import STYLE_NAMES

POSITION = len(STYLE_NAMES)
"""Column of the position covariate: +1 where the picked reply was shown first, -1 where second."""
OFFSET = POSITION + 1
"""Column of the thumb offset: how much more readily a thumb goes up than down."""
HIDDEN = OFFSET + 1
"""First column of the hidden components."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taste:
    """Shipped knowledge. ``style`` holds for any model, the rest for one base model only."""

    names: tuple[str, ...]
    """Criteria and styles, one for each direction."""
    style: Float[Tensor, "C S"]
    """Weights of the style features in logits, as a fit on that criterion found them."""
    hidden: Float[Tensor, "C K"]
    basis: Components | None
    """None where it was made for another base model."""

    def without(self, name: str) -> "Taste":
        """All but the criteria whose name starts with ``name``: for honest evaluation."""
        kept = [i for i, known in enumerate(self.names) if not known.startswith(name)]
        return Taste(
            names=tuple(self.names[i] for i in kept),
            style=self.style[kept],
            hidden=self.hidden[kept],
            basis=self.basis,
        )


def load_taste(base_sha256: str, path: Path | None = None) -> Taste | None:
    """The shipped knowledge, as far as it holds for this base model; None where nothing ships."""
    path = path or Path(str(files("learner.reward") / "taste.safetensors"))
    if not path.is_file():
        return None
    with safe_open(path, "pt") as stored:
        about = stored.metadata()
        basis = Components(basis=stored.get_tensor("basis").double())
        return Taste(
            names=tuple(about["names"].split(",")),
            style=stored.get_tensor("style").double(),
            hidden=stored.get_tensor("hidden").double(),
            basis=basis if about["base_sha256"] == base_sha256 else None,
        )


def taste_without_sets(base_sha256: str, sets: Sequence[str]) -> Taste | None:
    """What ships, less the directions that were found on ``sets``: their answers, measured by a
    prior that knows them, would be no measurement."""
    taste = load_taste(base_sha256)
    for name in sets:
        taste = None if taste is None else taste.without(f"criterion:{name}")
    return taste


def flat_std(config: RewardConfig, hidden_std: float, components: int) -> Float[Tensor, " D"]:
    """Standard deviations of a flat prior, in the weights' order."""
    stds = [config.style_prior_std] * len(STYLE_NAMES)
    stds += [config.position_prior_std, config.offset_prior_std]
    stds += [hidden_std] * components
    return torch.tensor(stds, dtype=torch.float64)


def hypotheses(
    config: RewardConfig, taste: Taste | None, components: int, *, shipped_basis: bool
) -> Hypotheses:
    """Every prior with every flip rate: the flat ones first, then, where shipped, the directed one.

    The directed prior is N(0, rest + gain^2 sum_c t_c t_c^T), t_c the direction of criterion c: it
    expects a taste to be a sum of a few known directions, either way round, and little else.
    Without the shipped basis only what a direction says of style can be used.
    """
    stds = config.hidden_prior_stds if components else config.hidden_prior_stds[:1]
    flats = [flat_std(config, std, components) for std in stds]
    covariances = [flat.square().diag() for flat in flats]
    if taste is not None and len(taste.names):
        rest = flats[0].clone()
        rest[:POSITION] *= config.directed_rest
        if shipped_basis:
            rest[HIDDEN:] *= config.directed_rest
        directions = torch.zeros((len(taste.names), len(rest)), dtype=torch.float64)
        directions[:, :POSITION] = taste.style
        if shipped_basis:
            directions[:, HIDDEN:] = taste.hidden[:, :components]
        directions *= config.directed_gain
        covariances.append(rest.square().diag() + directions.T @ directions)
    precisions = [torch.linalg.inv(covariance) for covariance in covariances]
    pairs = [(p, eps) for p in precisions for eps in config.flip_rates]
    return Hypotheses(
        mean=torch.zeros((len(pairs), len(flats[0])), dtype=torch.float64),
        precision=torch.stack([p for p, _ in pairs]),
        flip_rate=torch.tensor([eps for _, eps in pairs], dtype=torch.float64),
    )
