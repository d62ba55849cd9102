"""Bayesian Bradley-Terry: MAP weights, their Gaussian posterior and the evidence.

Each row is a difference of features ``z`` and says one of two things: the first reply was picked
(a win), or neither was (a tie). With ``s = w @ z``:

    P(tie)  = nu / (exp(s / 2) + exp(-s / 2) + nu)                   Davidson 1970, nu: tie strength
    P(win)  = (1 - P(tie)) * (eps / 2 + (1 - eps) * sigmoid(s))      eps: share of random picks

A row that cannot end in a tie (a thumb, an edit) has P(tie) = 0. The prior is ``w ~ N(m, S)``.

The MAP is found by Newton steps. With ``eps > 0`` the likelihood is not log-concave; where the
Hessian is not positive definite, the expected (Fisher) information takes its place. Steps are
halved until the objective falls: without that the iteration diverges on separable data. The
posterior covariance is the inverse of the information plus the prior's precision (Laplace's
approximation), and so is the evidence, the probability of all rows under the hypothesis:

    log Z = log P(rows | w) - (w - m) S^-1 (w - m) / 2 + (log |S^-1| - log |information + S^-1|) / 2

By the chain rule it equals the sum of the predictive log scores of the rows, one after another,
whatever their order; so it is what a prequential comparison would sum up, without its history.

Several hypotheses (priors, flip rates, stretches of the rows) are fitted at once: H hypotheses, n
rows, D weights, all float64.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import logsigmoid

MAX_STEPS = 50
MAX_HALVINGS = 30
TOLERANCE = 1e-9
"""Largest change of a weight in the last step, in logits."""
ROUNDING = 1e-12
"""An objective that rises by no more than this share of itself has not risen."""
_STEEPEST = 80.0
"""Beyond so many logits a row's information is nil; cosh of more would overflow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    z: Float[Tensor, "n D"]
    """Features of the picked reply minus those of the other; for a tie, first minus second."""
    tie: Bool[Tensor, " n"]
    may_tie: Bool[Tensor, " n"]
    weight: Float[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.tie)

    def part(self, chosen: slice) -> "Rows":
        return Rows(
            z=self.z[chosen],
            tie=self.tie[chosen],
            may_tie=self.may_tie[chosen],
            weight=self.weight[chosen],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypotheses:
    """What is believed before any row is seen."""

    mean: Float[Tensor, "H D"]
    precision: Float[Tensor, "H D D"]
    flip_rate: Float[Tensor, " H"]

    def __len__(self) -> int:
        return len(self.flip_rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Posteriors:
    mean: Float[Tensor, "H D"]
    scale: Float[Tensor, "H D D"]
    """L with covariance ``L @ L.T``, lower triangular."""
    log_evidence: Float[Tensor, " H"]
    steps: int
    """Newton steps taken."""


def log_likelihood(
    s: Float[Tensor, "H n"], rows: Rows, flip_rate: Float[Tensor, " H"], nu: float
) -> Float[Tensor, "H n"]:
    """Log-probability of each row's outcome at ``s = w @ z``, nats, unweighted."""
    eps = flip_rate[:, None]
    picked = torch.logaddexp((eps / 2).log(), (1 - eps).log() + logsigmoid(s))
    both = torch.logaddexp(s / 2, -s / 2)  # log(exp(s / 2) + exp(-s / 2))
    any_outcome = torch.logaddexp(both, s.new_tensor(math.log(nu)))
    decided = torch.where(rows.may_tie, both - any_outcome, 0.0)
    return torch.where(rows.tie, math.log(nu) - any_outcome, decided + picked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Derivatives:
    """Of each row's log-likelihood by ``s``."""

    slope: Float[Tensor, "H n"]
    curvature: Float[Tensor, "H n"]
    """Minus the second derivative of the outcome's; may be negative."""
    information: Float[Tensor, "H n"]
    """Fisher information: the mean curvature over the outcomes, never negative."""


def derivatives(
    s: Float[Tensor, "H n"], rows: Rows, flip_rate: Float[Tensor, " H"], nu: float
) -> Derivatives:
    eps, s = flip_rate[:, None], s.clamp(-_STEEPEST, _STEEPEST)
    p = torch.sigmoid(s)
    won = (eps / 2 + (1 - eps) * p).clamp(min=1e-300)
    lost = (eps / 2 + (1 - eps) * torch.sigmoid(-s)).clamp(min=1e-300)
    dp = (1 - eps) * p * torch.sigmoid(-s)
    pick_slope = dp / won
    pick_curvature = pick_slope**2 - pick_slope * (1 - 2 * p)
    pick_info = dp**2 / (won * lost)
    # Davidson: b = exp(s / 2) + exp(-s / 2), P(no tie) = b / (b + nu), db/ds = r, dr/ds = b / 4.
    b, r = 2 * torch.cosh(s / 2), torch.sinh(s / 2)
    tie_slope = -r / (b + nu)
    tie_curvature = (b * (b + nu) / 4 - r**2) / (b + nu) ** 2
    decided_slope = nu * r / (b * (b + nu))
    decided_curvature = nu * (r**2 * (2 * b + nu) - b**2 * (b + nu) / 4) / (b * (b + nu)) ** 2
    tie_info = nu * r**2 / ((b + nu) ** 2 * b)
    may, zero = rows.may_tie, s.new_zeros(())
    return Derivatives(
        slope=torch.where(rows.tie, tie_slope, torch.where(may, decided_slope, zero) + pick_slope),
        curvature=torch.where(
            rows.tie, tie_curvature, torch.where(may, decided_curvature, zero) + pick_curvature
        ),
        information=torch.where(may, b / (b + nu) * pick_info + tie_info, pick_info),
    )


def fit_posteriors(
    rows: Rows, prior: Hypotheses, *, nu: float, counted: Float[Tensor, "H n"] | None = None
) -> Posteriors:
    """MAP, Laplace covariance and evidence under each hypothesis; without rows, the prior itself.

    ``counted`` multiplies the rows' weights, hypothesis by hypothesis; 0 leaves a row out. Always
    starts at the prior's mean, so that the result depends on the rows alone and not on what
    was fitted before. Raises FloatingPointError if a row is not finite.
    """
    if not rows.z.isfinite().all():
        raise FloatingPointError("a pick's features are not finite")
    weight = rows.weight.expand(len(prior), -1) if counted is None else rows.weight * counted
    w, steps = prior.mean.clone(), 0
    value = _objective(w, rows, weight, prior, nu)
    for steps in range(1, MAX_STEPS + 1):  # noqa: B007
        step = _newton_step(w, rows, weight, prior, nu)
        w, value, moved = _halve_until_lower(w, value, step, rows, weight, prior, nu)
        if moved < TOLERANCE:
            break
    information = _precision(
        derivatives(w @ rows.z.T, rows, prior.flip_rate, nu).information, rows, weight, prior
    )
    factor = torch.linalg.cholesky(information)
    prior_factor = torch.linalg.cholesky(prior.precision)
    log_det = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(dim=1)
    prior_log_det = 2 * prior_factor.diagonal(dim1=1, dim2=2).log().sum(dim=1)
    return Posteriors(
        mean=w,
        scale=torch.linalg.cholesky(torch.cholesky_inverse(factor)),
        log_evidence=-value + (prior_log_det - log_det) / 2,
        steps=steps,
    )


def _objective(
    w: Float[Tensor, "H D"],
    rows: Rows,
    weight: Float[Tensor, "H n"],
    prior: Hypotheses,
    nu: float,
) -> Float[Tensor, " H"]:
    """Negative log-posterior without the prior's normaliser, nats."""
    loglik = log_likelihood(w @ rows.z.T, rows, prior.flip_rate, nu)
    off = w - prior.mean
    pull = torch.einsum("hd,hde,he->h", off, prior.precision, off)
    return -(weight * loglik).sum(dim=1) + pull / 2


def _newton_step(
    w: Float[Tensor, "H D"],
    rows: Rows,
    weight: Float[Tensor, "H n"],
    prior: Hypotheses,
    nu: float,
) -> Float[Tensor, "H D"]:
    at = derivatives(w @ rows.z.T, rows, prior.flip_rate, nu)
    pull = (prior.precision @ (w - prior.mean)[:, :, None]).squeeze(2)
    gradient = pull - (weight * at.slope) @ rows.z
    factor, failed = torch.linalg.cholesky_ex(_precision(at.curvature, rows, weight, prior))
    if failed.any():
        safe = torch.linalg.cholesky(_precision(at.information, rows, weight, prior))
        factor = torch.where((failed > 0)[:, None, None], safe, factor)
    return torch.cholesky_solve(gradient[:, :, None], factor).squeeze(2)


def _precision(
    curvature: Float[Tensor, "H n"],
    rows: Rows,
    weight: Float[Tensor, "H n"],
    prior: Hypotheses,
) -> Float[Tensor, "H D D"]:
    weighted = rows.z.T * (weight * curvature)[:, None, :]  # (H, D, n)
    return weighted @ rows.z + prior.precision


def _halve_until_lower(
    w: Float[Tensor, "H D"],
    value: Float[Tensor, " H"],
    step: Float[Tensor, "H D"],
    rows: Rows,
    weight: Float[Tensor, "H n"],
    prior: Hypotheses,
    nu: float,
) -> tuple[Float[Tensor, "H D"], Float[Tensor, " H"], float]:
    """The first of ``w - step, w - step / 2, ...`` that is no worse, for each hypothesis.

    Also says how far the farthest weight moved; a hypothesis that finds nothing lower stays.
    """
    share, slack = torch.ones_like(value), ROUNDING * value.abs()
    for _ in range(MAX_HALVINGS):
        tried = w - share[:, None] * step
        lower = _objective(tried, rows, weight, prior, nu)
        worse = ~(lower <= value + slack)  # NaN is worse
        if not worse.any():
            break
        share = torch.where(worse, share / 2, share)
    else:
        tried = torch.where(worse[:, None], w, tried)
        lower = torch.where(worse, value, lower)
    return tried, lower, float((tried - w).abs().max())
