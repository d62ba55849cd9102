"""Weights that came out of a block-quantised file, packed again without losing a bit.

The built-in model travels as GGUF: thirty-two weights of a row share a scale and a minimum (Q4_1)
or a scale (Q8_0). Unpacked to float32 they take eight times the memory, and a decoding step is as
fast as memory brings the weights. So blocks are looked for in the unpacked weights; where every
single value can be had back exactly they are packed, and nothing about the model changes. Where one
cannot, or the model was never quantised, the step reads the plain matrices.
"""

import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from storage.files import sync

log = logging.getLogger(__name__)

BLOCK = 32
_BYTES_4, _BYTES_8 = 24, 36
"""Stored size of a block: sixteen bytes, scale and minimum; thirty-two bytes and a scale."""

_MODULES = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}
_HEADS = ("lm_head.weight", "model.embed_tokens.weight")  # the second where the two are tied


@dataclass(frozen=True, slots=True)
class PackedLlama:
    """The matrices of a Llama as bytes (rows, blocks a row, bytes a block), by layer and module."""

    layers: tuple[Mapping[str, Tensor], ...]
    head: Tensor


def packed_llama(folder: Path, layers: int, cache: Path) -> PackedLlama | None:
    """All matrices of the model in ``folder``, or None where one is not made of blocks.

    ``cache`` is the file that keeps them from one start to the next, and that two processes share
    in memory; looking takes seconds. Where nothing can be kept, each start looks.
    """
    names = {
        (layer, short): f"model.layers.{layer}.{module}.weight"
        for layer in range(layers)
        for short, module in _MODULES.items()
    }
    found = _kept(cache)
    if found is None:
        packed = _pack_all(folder, set(names.values()))
        _keep(packed, cache)
        found = _kept(cache) or packed
    if not found:
        return None
    return PackedLlama(
        layers=tuple(
            {short: found[names[layer, short]] for short in _MODULES} for layer in range(layers)
        ),
        head=found["head"],
    )


def _kept(cache: Path) -> dict[str, Tensor] | None:
    """None where there are none yet, or no whole ones."""
    try:
        return load_file(cache)
    except (OSError, SafetensorError):
        return None


def _keep(packed: Mapping[str, Tensor], cache: Path) -> None:
    partial = cache.with_suffix(f".{os.getpid()}.part")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        save_file(dict(packed), partial)  # none at all says: looked for, none there
        sync(partial)  # or after a crash the name could stand for an empty file
        partial.replace(cache)
    except (OSError, SafetensorError) as error:
        log.warning("the packed weights can't be kept in %s: %s", cache.parent, error)
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _pack_all(folder: Path, names: set[str]) -> dict[str, Tensor]:
    """Everything packed, or nothing."""
    packed: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            present = set(tensors.keys())
            for name in sorted(names & present):
                blocks = pack4(tensors.get_tensor(name))
                if blocks is None:
                    log.info("%s is not made of blocks; decoding with plain weights", name)
                    return {}
                packed[name] = blocks
            for name in _HEADS:
                if name in present and "head" not in packed:
                    head = pack8(tensors.get_tensor(name))
                    if head is None:
                        return {}
                    packed["head"] = head
    return packed if packed.keys() == {*names, "head"} else {}


def pack4(weight: Float[Tensor, "N D"]) -> Tensor | None:
    """``minimum + scale * q`` with q of 0 to 15 and float16 scale and minimum (GGUF Q4_1)."""
    blocks = _as_blocks(weight)
    if blocks is None:
        return None
    low = blocks.min(dim=2, keepdim=True).values
    span = blocks.max(dim=2, keepdim=True).values - low
    best_q = torch.zeros_like(blocks, dtype=torch.uint8)
    best_scale = torch.zeros_like(span)
    open_ = torch.ones_like(span, dtype=torch.bool)
    for steps in range(15, 0, -1):  # the largest q of a block is nearly always 15
        scale = (span / steps).half().float()
        q = ((blocks - low) / scale.clamp(min=1e-30)).round().clamp(0, 15)
        exact = (torch.addcmul(low, q, scale) == blocks).all(dim=2, keepdim=True) & open_
        best_q = torch.where(exact, q.to(torch.uint8), best_q)
        best_scale = torch.where(exact, scale, best_scale)
        open_ &= ~exact
        if not open_.any():
            break
    if open_.any():
        return None
    nibbles = best_q[..., 0::2] | (best_q[..., 1::2] << 4)
    return _joined(nibbles, best_scale, low)


def pack8(weight: Float[Tensor, "N D"]) -> Tensor | None:
    """``scale * q`` with q of -127 to 127 and a float16 scale (GGUF Q8_0)."""
    blocks = _as_blocks(weight)
    if blocks is None:
        return None
    scale = (blocks.abs().amax(dim=2, keepdim=True) / 127).half().float()
    q = (blocks / scale.clamp(min=1e-30)).round().clamp(-127, 127)
    if not torch.equal(q * scale, blocks):
        return None
    even_odd = torch.cat([q[..., 0::2], q[..., 1::2]], dim=2).to(torch.int8)
    return _joined(even_odd.view(torch.uint8), scale)


def _as_blocks(weight: Float[Tensor, "N D"]) -> Float[Tensor, "N B 32"] | None:
    if weight.dtype != torch.float32 or weight.dim() != 2 or weight.shape[1] % BLOCK:
        return None
    return weight.view(weight.shape[0], -1, BLOCK)


def _joined(data: Tensor, *scales: Tensor) -> Tensor:
    """Bytes of each block, then its float32 scales."""
    as_bytes = [s.contiguous().view(torch.uint8) for s in scales]
    return torch.cat([data, *as_bytes], dim=2).contiguous()


def unpack4(packed: Tensor) -> Float[Tensor, "N D"]:
    """The weights again."""
    N, blocks, _ = packed.shape
    nibbles = packed[..., :16]
    scales = packed[..., 16:_BYTES_4].contiguous().view(torch.float32)
    q = torch.stack([nibbles & 15, nibbles >> 4], dim=3).view(N, blocks, BLOCK).float()
    return torch.addcmul(scales[..., 1:], q, scales[..., :1]).view(N, -1)


def unpack8(packed: Tensor) -> Float[Tensor, "N D"]:
    """The weights again."""
    N, blocks, _ = packed.shape
    scale = packed[..., 32:_BYTES_8].contiguous().view(torch.float32)
    even, odd = packed[..., :32].contiguous().view(torch.int8).float().split(16, dim=2)
    return (torch.stack([even, odd], dim=3).view(N, blocks, BLOCK) * scale).view(N, -1)
