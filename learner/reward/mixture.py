"""Bayesian model averaging: which prior, which flip rate, and has the taste changed?

Every hypothesis is fitted on the rows it believes in and weighs as much as its evidence says:

- *no change*: prior h explains all rows;
- *change at c*: the rows before c follow some prior, those from c on another draw from prior h.
  Its evidence is the product of both stretches' (Barry & Hartigan 1993), its posterior that of the
  newer stretch. Everything said may be a change with probability ``1 / expected_picks``, however
  many rows it wrote, and a few places stand for all.

The evidence is the sum of prequential log scores (``laplace.py``), so a wrong prior loses weight at
the rate at which it predicts worse, and nothing remembers the path: the mixture follows from the
rows alone, and a withdrawn pick leaves no trace.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from learner.reward.laplace import Hypotheses, Posteriors, Rows, fit_posteriors

GRID = 5
"""Changes are looked for at every fifth thing said, so that older stretches are fitted once."""
AGES = ((5, 20, 5), (20, 60, 20), (60, 120, 60))
"""How many things said ago a change is looked for: at least, at most, in steps of. The older, the
coarser, since a few on the wrong side of it matter less and less; and at places that stay the same
as time goes on, so that a change, once found, is not lost between two places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """Gaussians of weights: C components."""

    weight: Float[Tensor, " C"]
    mean: Float[Tensor, "C D"]
    scale: Float[Tensor, "C D D"]
    flip_rate: Float[Tensor, " C"]
    begins: tuple[int, ...]
    """Each component's first row: 0 where it explains all, else where it sees a change."""
    change_prob: float
    """Probability that the taste changed within what ``AGES`` looks back at."""
    steps: int

    def members(self, noise: Float[Tensor, "E D"], places: Float[Tensor, " E"]) -> Tensor:
        """One draw of weights for each row of ``noise`` (E, D).

        ``places`` in (0, 1) says from which component: fixed, so that a member stays with its
        component as long as the weights allow.
        """
        upto = self.weight.cumsum(dim=0)
        component = torch.searchsorted(upto, places * upto[-1]).clamp(max=len(upto) - 1)
        draws = (self.scale[component] @ noise[:, :, None]).squeeze(2)
        return self.mean[component] + draws

    @property
    def present_since(self) -> int:
        """The row at which the present taste began: the median over all components.

        0 unless a change is more likely than not.
        """
        upto = 0.0
        for begin, weight in sorted(zip(self.begins, self.weight.tolist(), strict=True)):
            upto += weight
            if upto > 0.5:
                return begin
        return max(self.begins)

    @property
    def average(self) -> Float[Tensor, " D"]:
        """The mean weights over all components."""
        return self.weight @ self.mean


class TasteModel:
    """Fits mixtures; remembers the evidence of older stretches, which is only a matter of time."""

    def __init__(self, *, expected_picks: float | None) -> None:
        """``expected_picks`` between two changes of taste; None expects none."""
        self._hazard = None if expected_picks is None else 1.0 / (1.0 + expected_picks)
        self._evidence: dict[bytes, float] = {}

    def fit(
        self, rows: Rows, prior: Hypotheses, *, nu: float, starts: Sequence[int] | None = None
    ) -> Mixture:
        """The posterior of all hypotheses. Raises FloatingPointError if a row is not finite.

        ``starts`` is the first row of each thing said, oldest first; None: every row is one.
        """
        starts = range(len(rows)) if starts is None else starts
        unchanged = fit_posteriors(rows, prior, nu=nu)
        changes = self._changes(starts)
        if self._hazard is not None and len(starts) % GRID == 0 and len(starts):
            total = float(unchanged.log_evidence.logsumexp(dim=0))
            self._evidence[_digest(rows, prior, nu)] = total
        log_weights = [unchanged.log_evidence]
        means, scales = [unchanged.mean], [unchanged.scale]
        rates, steps = [prior.flip_rate], unchanged.steps
        begins = [0] * len(prior)
        if changes and self._hazard is not None:
            recent, newer = self._since(changes, rows, prior, nu)
            H = len(prior)
            for i, (place, covered) in enumerate(changes):
                before = self._evidence_of(rows.part(slice(0, place)), prior, nu)
                odds = math.log(covered * self._hazard / (1 - self._hazard))
                log_weights.append(odds + before + newer[i * H : (i + 1) * H])
                begins += [place] * H
            means.append(recent.mean)
            scales.append(recent.scale)
            rates += [prior.flip_rate] * len(changes)
        weight = torch.cat(log_weights).softmax(dim=0)
        return Mixture(
            weight=weight,
            mean=torch.cat(means),
            scale=torch.cat(scales),
            flip_rate=torch.cat(rates),
            begins=tuple(begins),
            change_prob=float(weight[len(prior) :].sum()),
            steps=steps,
        )

    def _changes(self, starts: Sequence[int]) -> list[tuple[int, int]]:
        """Rows at which a change is looked for, and how many things said each stands for."""
        if self._hazard is None:
            return []
        places = change_places(len(starts))
        return [(starts[c], end - c) for c, end in pairwise([*places, len(starts)])]

    @staticmethod
    def _since(
        changes: list[tuple[int, int]], rows: Rows, prior: Hypotheses, nu: float
    ) -> tuple[Posteriors, Float[Tensor, " CH"]]:
        """Fits of the rows from each change on, all at once, and their evidence."""
        oldest, H = changes[0][0], len(prior)
        recent = rows.part(slice(oldest, None))
        row = torch.arange(oldest, len(rows))
        counted = torch.stack([(row >= c).double() for c, _ in changes]).repeat_interleave(H, dim=0)
        times = len(changes)
        fits = fit_posteriors(
            recent,
            Hypotheses(
                mean=prior.mean.repeat(times, 1),
                precision=prior.precision.repeat(times, 1, 1),
                flip_rate=prior.flip_rate.repeat(times),
            ),
            nu=nu,
            counted=counted,
        )
        return fits, fits.log_evidence - math.log(H)

    def _evidence_of(self, rows: Rows, prior: Hypotheses, nu: float) -> float:
        """log of the mean over priors of the evidence of a stretch; the same rows cost nothing."""
        key = _digest(rows, prior, nu)
        if key not in self._evidence:
            fits = fit_posteriors(rows, prior, nu=nu)
            self._evidence[key] = float(fits.log_evidence.logsumexp(dim=0))
        return self._evidence[key]


def change_places(n: int) -> list[int]:
    """Where a change is looked for among ``n`` things said, oldest first."""
    found = {
        c
        for least, most, step in AGES
        for c in range(step * ((n - least) // step), 0, -step)
        if n - c <= most
    }
    return sorted(found)


def _digest(rows: Rows, prior: Hypotheses, nu: float) -> bytes:
    """Names a stretch of rows, as these hypotheses see it."""
    digest = hashlib.blake2b(str(nu).encode(), digest_size=16)
    tensors = (rows.z, rows.tie, rows.may_tie, rows.weight)
    tensors += (prior.mean, prior.precision, prior.flip_rate)
    for tensor in tensors:
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.digest()
