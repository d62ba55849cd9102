"""LoRA weights as the decoder wants them: matrices beside the base's, no modules.

A linear layer with an adapter is ``y = W x + (alpha / r) B A x`` (arXiv 2106.09685, equation 3).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"

TRANSPOSED = "fan_in_fan_out"
"""PEFT's word for layers whose matrices are stored transposed: GPT-2's."""

_EXTRAS = (
    "use_dora",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "layer_replication",
    "modules_to_save",
    TRANSPOSED,
)

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


class LoraTensors(NamedTuple):
    """An adapter as PEFT saves it, by parameter name."""

    tensors: dict[str, Tensor]
    rank: int
    alpha: float
    extras: tuple[str, ...] = ()
    """What it is beside plain LoRA, by the names of PEFT's settings."""


def read_adapter(folder: Path) -> LoraTensors:
    """Read a PEFT folder, refusing weights that would speak nonsense without a word.

    safetensors loads flipped bits and NaN silently, and a wrong rank turns into an adapter that
    does something else. Raises ValueError, OSError or SafetensorError.
    """
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if config.get("peft_type") != "LORA" or not rank or not alpha:
        raise ValueError(f"its {CONFIG_FILE} is not a LoRA of rank > 0 in {folder}")
    tensors = load_file(folder / WEIGHTS_FILE)
    if not tensors:
        raise ValueError(f"it holds no tensors in {folder}")
    for name, tensor in tensors.items():
        found = tensor.shape[0] if ".lora_A." in name else tensor.shape[1]
        if found != rank:
            raise ValueError(f"{name} has rank {found}, its config says {rank}")
    # One sum a tensor is not finite if any value is not, and quicker than a look at each.
    sums = torch.stack([tensor.sum(dtype=torch.float32) for tensor in tensors.values()])
    if not sums.isfinite().all():
        name = list(tensors)[int((~sums.isfinite()).nonzero()[0])]
        raise ValueError(f"{name} holds values that are not finite")
    extras = [kind for kind in _EXTRAS if config.get(kind)]
    if config.get("bias", "none") != "none":
        extras.append("bias")
    return LoraTensors(tensors, rank, float(alpha), tuple(extras))


def arrange(lora: LoraTensors, layers: int, dtype: torch.dtype) -> LoraWeights:
    """Sort tensors into layers. Raises UnknownLoraError."""
    if lora.extras:
        raise UnknownLoraError(f"only plain LoRA can be served, not {', '.join(lora.extras)}")
    halves: dict[tuple[int, str], dict[str, Tensor]] = {}
    for name, tensor in lora.tensors.items():
        found = _NAME.search(name)
        if found is None or found[2] not in MODULES or int(found[1]) >= layers:
            raise UnknownLoraError(f"it changes {name}, which this model does not have")
        halves.setdefault((int(found[1]), found[2]), {})[found[3]] = tensor
    scale = lora.alpha / lora.rank
    arranged: list[dict[str, LoraMatrix]] = [{} for _ in range(layers)]
    for (layer, module), half in halves.items():
        if half.keys() != {"A", "B"}:
            raise UnknownLoraError(f"{module} of layer {layer} has only one of A and B")
        arranged[layer][module] = LoraMatrix(
            half["A"].detach().to(dtype).contiguous(),
            (half["B"].detach() * scale).T.to(dtype).contiguous(),
        )
    return LoraWeights(rank=lora.rank, layers=tuple(arranged))
