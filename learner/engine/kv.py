"""Keys and values of one sequence, with the tokens they were made from.

Keys lie transposed, ``(layer, head, head_dim, position)``: the decoding step makes the scores of
sixteen neighbouring positions at once. A prompt has one cache, each candidate a short one of its
own, so that a prompt is stored and read once whatever the number of candidates.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

_LANES = 16


class KvCache:
    """Room for ``capacity`` tokens, ``length`` of which are filled."""

    def __init__(
        self, layers: int, heads: int, head_dim: int, capacity: int, dtype: torch.dtype
    ) -> None:
        self.capacity = -(-capacity // _LANES) * _LANES
        self.keys = torch.zeros(layers, heads, head_dim, self.capacity, dtype=dtype)
        self.values = torch.zeros(layers, heads, self.capacity, head_dim, dtype=dtype)
        self.token_ids: list[int] = []

    @property
    def length(self) -> int:
        return len(self.token_ids)

    def like(self, capacity: int) -> "KvCache":
        """An empty cache of the same model."""
        layers, heads, head_dim, _ = self.keys.shape
        return type(self)(layers, heads, head_dim, capacity, self.keys.dtype)

    def write(
        self,
        layer: int,
        at: int,
        keys: Float[Tensor, "H T D"],
        values: Float[Tensor, "H T D"],
    ) -> None:
        T = keys.shape[1]
        self.keys[layer, :, :, at : at + T] = keys.transpose(1, 2)
        self.values[layer, :, at : at + T] = values

    def read(
        self, layer: int, length: int
    ) -> tuple[Float[Tensor, "H T D"], Float[Tensor, "H T D"]]:
        return (
            self.keys[layer, :, :, :length].transpose(1, 2),
            self.values[layer, :, :length],
        )

    def copy_from(self, other: "KvCache", count: int, *, skip: int = 0) -> None:
        """Append ``count`` tokens of ``other``, from its place ``skip`` on."""
        at, end = self.length, self.length + count
        self.keys[..., at:end] = other.keys[..., skip : skip + count]
        self.values[:, :, at:end] = other.values[:, :, skip : skip + count]
        self.token_ids += other.token_ids[skip : skip + count]


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """Tokens that both begin with."""
    for place, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return place
    return min(len(a), len(b))
