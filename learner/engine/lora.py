"""LoRA weights as the decoder wants them: matrices beside the base's, no modules.

A linear layer with an adapter is ``y = W x + (alpha / r) B A x`` (arXiv 2106.09685, equation 3).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from peft import PeftConfig
from safetensors.torch import load_file
from torch import Tensor

MODULES = ("q", "k", "v", "o", "gate", "up", "down")
"""The seven linear layers of a block, in the order of the forward pass."""

_NAME = re.compile(r"\.layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)_proj\.lora_([AB])\.weight$")


class UnknownLoraError(ValueError):
    """An adapter of a kind that the decoder does not know; the text says which."""


@dataclass(frozen=True, slots=True)
class LoraMatrix:
    a: Float[Tensor, "r inputs"]
    b: Float[Tensor, "r outputs"]
    """B transposed, with alpha / r folded in."""


@dataclass(frozen=True, slots=True)
class LoraWeights:
    """One adapter: for each layer the modules that it changes."""

    rank: int
    layers: tuple[Mapping[str, LoraMatrix], ...]


def load_lora(folder: Path, layers: int, dtype: torch.dtype) -> LoraWeights:
    """Read a PEFT folder. Raises UnknownLoraError, OSError and SafetensorError."""
    config = PeftConfig.from_pretrained(folder)
    kinds = ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "layer_replication")
    used = [kind for kind in kinds if getattr(config, kind, None)]
    if used or getattr(config, "bias", "none") != "none":
        raise UnknownLoraError(f"only plain LoRA can be served here, not {', '.join(used)}")
    tensors = load_file(folder / "adapter_model.safetensors")
    return arrange(tensors, config.r, float(config.lora_alpha), layers, dtype)


def arrange(
    tensors: Mapping[str, Tensor], rank: int, alpha: float, layers: int, dtype: torch.dtype
) -> LoraWeights:
    """Sort tensors under PEFT's saved names into layers. Raises UnknownLoraError."""
    halves: dict[tuple[int, str], dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        found = _NAME.search(name)
        if found is None or found[2] not in MODULES or int(found[1]) >= layers:
            raise UnknownLoraError(f"it changes {name}, which this model does not have")
        halves.setdefault((int(found[1]), found[2]), {})[found[3]] = tensor
    scale = alpha / rank
    arranged: list[dict[str, LoraMatrix]] = [{} for _ in range(layers)]
    for (layer, module), half in halves.items():
        if half.keys() != {"A", "B"}:
            raise UnknownLoraError(f"{module} of layer {layer} has only one of A and B")
        arranged[layer][module] = LoraMatrix(
            half["A"].detach().to(dtype).contiguous(),
            (half["B"].detach() * scale).T.to(dtype).contiguous(),
        )
    return LoraWeights(rank=rank, layers=tuple(arranged))
