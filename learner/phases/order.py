"""Which items make up a step: a function of seed and step number, so that nothing is remembered."""

from functools import lru_cache

import torch


@lru_cache(maxsize=4)
def _permutation(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return tuple(torch.randperm(count, generator=generator).tolist())


def batch(number: int, *, count: int, size: int, seed: int) -> list[int]:
    """Places of the ``size`` items of step ``number``, counted from 0.

    Each pass over all ``count`` items is a new order; a batch may reach into the next pass, so that
    all batches are whole and every item comes up equally often.
    """
    first = number * size
    return [
        _permutation(count, seed, place // count)[place % count]
        for place in range(first, first + size)
    ]
