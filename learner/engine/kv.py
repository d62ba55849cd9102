"""Keys and values of one sequence, with the tokens they were made from.

Keys lie in tiles, ``(layer, head, tile, head_dim, 16)``: the decoding step makes the scores of
sixteen neighbouring positions at once. A prompt has one cache, each candidate a short one of its
own, so that a prompt is stored and read once whatever the number of candidates.
"""

from collections import deque
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

_LANES = 16


class KvCache:
    """Room for ``capacity`` tokens, ``length`` of which are filled."""

    def __init__(
        self, layers: int, heads: int, head_dim: int, capacity: int, dtype: torch.dtype
    ) -> None:
        self.capacity = -(-capacity // _LANES) * _LANES
        tiles = self.capacity // _LANES
        self.keys = torch.zeros(layers, heads, tiles, head_dim, _LANES, dtype=dtype)
        self.values = torch.zeros(layers, heads, self.capacity, head_dim, dtype=dtype)
        self.token_ids: list[int] = []

    @property
    def length(self) -> int:
        return len(self.token_ids)

    def like(self, capacity: int) -> "KvCache":
        """An empty cache of the same model."""
        layers, heads, _, head_dim, _ = self.keys.shape
        return type(self)(layers, heads, head_dim, capacity, self.keys.dtype)

    def write(
        self,
        layer: int,
        at: int,
        keys: Float[Tensor, "H T D"],
        values: Float[Tensor, "H T D"],
    ) -> None:
        end = at + keys.shape[1]
        self._by_position()[layer][:, *_places(at, end)] = keys
        self.values[layer, :, at:end] = values

    def read(
        self, layer: int, length: int
    ) -> tuple[Float[Tensor, "H T D"], Float[Tensor, "H T D"]]:
        return (
            self._by_position()[layer][:, *_places(0, length)],
            self.values[layer, :, :length],
        )

    def _by_position(self) -> Float[Tensor, "L H tiles 16 D"]:
        return self.keys.transpose(3, 4)

    def copy_from(self, other: "KvCache", count: int) -> None:
        """Append the first ``count`` tokens of ``other``."""
        at, end = self.length, self.length + count
        theirs = other._by_position()[:, :, *_places(0, count)]
        self._by_position()[:, :, *_places(at, end)] = theirs
        self.values[:, :, at:end] = other.values[:, :, :count]
        self.token_ids += other.token_ids[:count]


def _places(start: int, end: int) -> tuple[Int[Tensor, " T"], Int[Tensor, " T"]]:
    """Tile and place in it of each position."""
    position = torch.arange(start, end)
    return position // _LANES, position % _LANES


class CacheMemory:
    """Caches of the newest prompts and their replies, for prompts that begin the same way.

    The next turn of a chat is its last prompt, one of the replies and a little more: only that
    little has to be encoded. ``key`` says under which weights a cache was filled.
    """

    def __init__(self, size: int) -> None:
        self._entries: deque[tuple[object, KvCache, tuple[KvCache, ...]]] = deque(maxlen=size)

    def keep(self, key: object, prompt: KvCache, replies: Iterable[KvCache]) -> None:
        """Caches may grow afterwards; their tokens are compared when they are wanted."""
        self._entries.append((key, prompt, tuple(replies)))

    def forget(self, key: object) -> None:
        kept = [entry for entry in self._entries if entry[0] != key]
        self._entries = deque(kept, maxlen=self._entries.maxlen)

    def recall(self, key: object, token_ids: Sequence[int], into: KvCache) -> None:
        """Copy the longest known beginning of ``token_ids`` into the empty cache ``into``."""
        best: tuple[int, KvCache, KvCache | None] | None = None
        for known_key, prompt, replies in self._entries:
            if known_key != key:
                continue
            shared = common_length(prompt.token_ids, token_ids)
            for reply in (None, *replies) if shared == prompt.length else (None,):
                more = common_length(reply.token_ids, token_ids[shared:]) if reply else 0
                if best is None or shared + more > best[0]:
                    best = (shared + more, prompt, reply)
        if best is None:
            return
        total, prompt, reply = best
        of_prompt = min(total, prompt.length)
        into.copy_from(prompt, of_prompt)
        if reply is not None:
            into.copy_from(reply, total - of_prompt)


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """Tokens that both begin with."""
    for place, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return place
    return min(len(a), len(b))
