"""Generators for what is drawn beside the replies."""

from hashlib import blake2b

import torch


def generator_for(purpose: str, seed: int) -> torch.Generator:
    """A CPU generator that shares nothing with those of the replies, whose rows count on from seed.

    Its seed is a digest: PyTorch's CPU generator keeps the lowest 32 bits of what it is given, so a
    large number added to ``seed`` gives the very draws of ``seed``.
    """
    digest = blake2b(f"{purpose}/{seed}".encode(), digest_size=4).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))
