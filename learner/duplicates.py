"""Which replies say so nearly the same that no question about them is worth asking."""

import difflib
from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor


def near_duplicates(one: str, other: str, ratio: float) -> bool:
    """Equal, at least ``ratio`` equal, or one of them empty; case and white space are no matter."""
    a, b = (" ".join(text.split()).lower() for text in (one, other))
    if not a or not b:
        return True
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    return matcher.quick_ratio() >= ratio and matcher.ratio() >= ratio


def different_pairs(texts: Sequence[str], ratio: float) -> Bool[Tensor, "N N"]:
    """Pairs that differ enough to be worth a person's look."""
    N = len(texts)
    different = torch.zeros((N, N), dtype=torch.bool)
    for i in range(N):
        for j in range(i + 1, N):
            different[i, j] = different[j, i] = not near_duplicates(texts[i], texts[j], ratio)
    return different
