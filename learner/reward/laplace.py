"""Bayesian Bradley-Terry: the MAP weights and their Gaussian posterior.

Each row is a difference of features ``z`` and says one of two things: the first reply was picked
(a win), or neither was (a tie). With ``s = w @ z``:

    P(win)  = eps / 2 + (1 - eps) * sigmoid(s)          eps: share of picks made at random
    P(tie)  = nu / (exp(s / 2) + exp(-s / 2) + nu)      Davidson 1970, nu: tie strength

The prior is ``w ~ N(0, diag(std ** 2))``. The MAP is found by Newton steps with the expected
(Fisher) information in place of the Hessian, since with ``eps > 0`` the likelihood is not
log-concave and the Hessian may be indefinite. Steps are halved until the objective falls: without
that the iteration diverges on separable data. The posterior covariance is the inverse of the
Fisher information plus the prior's precision (Laplace's approximation).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

MAX_STEPS = 50
MAX_HALVINGS = 30
TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Picks:
    """Rows of the likelihood, float64."""

    z: Float[Tensor, "n D"]
    """Features of the picked reply minus those of the other; for a tie, first minus second."""
    tie: Bool[Tensor, " n"]
    weight: Float[Tensor, " n"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Posterior:
    mean: Float[Tensor, " D"]
    scale: Float[Tensor, "D D"]
    """Lower-triangular L with covariance ``L @ L.T``."""
    steps: int
    """Newton steps taken."""


def negative_log_posterior(
    w: Float[Tensor, " D"], picks: Picks, prior_std: Float[Tensor, " D"], eps: float, nu: float
) -> Float[Tensor, ""]:
    """Up to a constant, in nats."""
    s = picks.z @ w
    win = torch.log(eps / 2 + (1 - eps) * torch.sigmoid(s))
    tie = torch.log(torch.tensor(nu, dtype=s.dtype)) - torch.log(2 * torch.cosh(s / 2) + nu)
    loglik = torch.where(picks.tie, tie, win)
    return -(picks.weight * loglik).sum() + 0.5 * ((w / prior_std) ** 2).sum()


def _slope_and_information(
    s: Float[Tensor, " n"], tie: Bool[Tensor, " n"], eps: float, nu: float
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """d log-likelihood / ds, and the Fisher information of ``s``, row by row."""
    p = torch.sigmoid(s)
    smoothed = eps / 2 + (1 - eps) * p
    dp = (1 - eps) * p * (1 - p)
    win_slope = dp / smoothed
    win_info = dp**2 / (smoothed * (1 - smoothed))
    both = 2 * torch.cosh(s / 2)
    tie_slope = -torch.sinh(s / 2) / (both + nu)
    # -d2/ds2 log P(tie), which is positive: the tie term is log-concave.
    tie_info = (0.5 * torch.cosh(s / 2) * (both + nu) - torch.sinh(s / 2) ** 2) / (both + nu) ** 2
    return torch.where(tie, tie_slope, win_slope), torch.where(tie, tie_info, win_info)


def fit_posterior(
    picks: Picks,
    prior_std: Float[Tensor, " D"],
    *,
    eps: float,
    nu: float,
    start: Float[Tensor, " D"] | None = None,
) -> Posterior:
    """MAP and Laplace covariance; without rows, the prior itself.

    ``start`` warms the iteration. Raises FloatingPointError if a row is not finite.
    """
    if not picks.z.isfinite().all():
        raise FloatingPointError("a pick's features are not finite")
    precision = prior_std**-2
    w = torch.zeros_like(prior_std) if start is None else start.clone()
    value = negative_log_posterior(w, picks, prior_std, eps, nu)
    steps = 0
    for steps in range(1, MAX_STEPS + 1):  # noqa: B007
        slope, info = _slope_and_information(picks.z @ w, picks.tie, eps, nu)
        gradient = precision * w - picks.z.T @ (picks.weight * slope)
        fisher = (picks.z.T * (picks.weight * info)) @ picks.z + precision.diag()
        step = torch.linalg.solve(fisher, gradient)
        w, value, moved = _halve_until_lower(w, value, step, picks, prior_std, eps, nu)
        if moved < TOLERANCE:
            break
    _, info = _slope_and_information(picks.z @ w, picks.tie, eps, nu)
    fisher = (picks.z.T * (picks.weight * info)) @ picks.z + precision.diag()
    # With fisher = C @ C.T, inv(C).T is a square root of the covariance; QR makes it triangular.
    root = torch.linalg.inv(torch.linalg.cholesky(fisher)).T
    upper = torch.linalg.qr(root.T).R
    return Posterior(mean=w, scale=(upper.T * upper.diagonal().sign()), steps=steps)


def _halve_until_lower(
    w: Float[Tensor, " D"],
    value: Float[Tensor, ""],
    step: Float[Tensor, " D"],
    picks: Picks,
    prior_std: Float[Tensor, " D"],
    eps: float,
    nu: float,
) -> tuple[Float[Tensor, " D"], Float[Tensor, ""], float]:
    """The first of ``w - step, w - step / 2, ...`` that lowers the objective, and by how much."""
    for halving in range(MAX_HALVINGS):
        tried = w - step * 0.5**halving
        lower = negative_log_posterior(tried, picks, prior_std, eps, nu)
        if lower < value:
            return tried, lower, float(value - lower)
    return w, value, 0.0
