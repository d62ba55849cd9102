"""What a pass keeps for its backward pass: as little as it can do with."""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

_WORTH_HALVING = 1 << 16

RECOMPUTED_TOKENS = 640
"""Longer passes keep less for the backward pass and run every layer twice: of each token a layer of
the built-in model keeps 0.05 MB otherwise, and a long conversation has thousands."""


def sparing(decoder: nn.Module, dtype: torch.dtype, tokens: int) -> AbstractContextManager[object]:
    """How a pass over so many tokens keeps activations: anew, or in the type that products have."""
    if not torch.is_grad_enabled():
        return nullcontext()
    if tokens > RECOMPUTED_TOKENS:
        return _recomputing(decoder)
    if dtype != torch.bfloat16:
        return nullcontext()
    return torch.autograd.graph.saved_tensors_hooks(_halved, _widened)


@contextmanager
def _recomputing(decoder: nn.Module) -> Generator[None]:
    """Within it only each layer's input is kept for the backward pass, which runs it again."""
    layers = [m for m in decoder.modules() if isinstance(m, GradientCheckpointingLayer)]
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the class's own again


def _halved(kept: Tensor) -> Tensor | tuple[Tensor]:
    """Activations as bfloat16 until the backward pass; a tuple says that they were float32.

    Not those of attention (four axes): its backward pass makes the softmax again from queries and
    keys, and they must be the ones that its normaliser was made from.
    """
    large = kept.dtype == torch.float32 and kept.dim() < 4 and kept.numel() > _WORTH_HALVING
    return (kept.bfloat16(),) if large and not isinstance(kept, nn.Parameter) else kept


def _widened(kept: Tensor | tuple[Tensor]) -> Tensor:
    return kept[0].float() if isinstance(kept, tuple) else kept
