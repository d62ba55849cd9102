"""Principal components of hidden-state differences: few directions, in the order of their size."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    basis: Float[Tensor, "H K"]

    def project(self, hidden: Float[Tensor, "n H"]) -> Float[Tensor, "n K"]:
        return hidden @ self.basis


def principal_components(differences: Float[Tensor, "n H"], count: int) -> Components:
    """The leading ``count`` directions of ``differences`` (at most n), about zero.

    Differences of pairs have no meaningful mean, so none is taken off. All directions are divided
    by one scale, which keeps the spectrum: a direction in which replies differ little stays small
    and is thereby held to its prior.
    """
    n, H = differences.shape
    # The smaller of the two Gram matrices has the same non-zero eigenvalues.
    if n < H:
        values, vectors = torch.linalg.eigh(differences @ differences.T)
        directions = differences.T @ vectors[:, -count:]
        directions = directions / directions.norm(dim=0).clamp(min=1e-12)
    else:
        values, vectors = torch.linalg.eigh(differences.T @ differences)
        directions = vectors[:, -count:]
    kept = values[-count:].clamp(min=0.0)
    scale = (kept.mean() / n).sqrt().clamp(min=1e-12)
    directions = directions.flip(1)  # largest first
    # An eigenvector's sign is arbitrary; fixed, so that refits and machines agree.
    signs = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True)).sign()
    return Components(basis=directions * signs / scale)


def pairs_for_basis(n: int) -> int:
    """Of how many pairs, the oldest, the basis is made: it is renewed as they grow by a tenth.

    A function of their number alone, so that a refit does not depend on those before it. None of
    less than two.
    """
    m = 2
    while (grown := m + max(1, m // 10)) <= n:
        m = grown
    return m if n >= 2 else 0
