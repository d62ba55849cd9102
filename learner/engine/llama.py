"""Llama-family models as plain matrices: what the lean engine decodes, and its prefill.

The weights are the tensors of the loaded transformers model, not copies. A prompt's many tokens
are run here, by PyTorch's own products; single steps of a few rows go to ``native``. The residual
stream stays in float32, products take the model's type.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from learner.engine.kv import KvCache
from learner.engine.lora import LoraMatrix, LoraWeights

_PROJECTIONS = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}
_MOVING = ("dynamic", "longrope")
"""Scalings of positions that differ between short texts and long ones: no one table holds them."""


class NotLlamaError(Exception):
    """The model is built otherwise; the text says how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One layer: its seven matrices by short name, and its two norms."""

    matrices: Mapping[str, Float[Tensor, "outputs inputs"]]
    attention_norm: Float[Tensor, " d"]
    mlp_norm: Float[Tensor, " d"]


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens to append to ``own``, which may itself go on from ``past``, shared and not changed."""

    token_ids: list[int]
    own: KvCache
    past: KvCache | None = None

    @property
    def before(self) -> int:
        """Tokens that all of these may see."""
        return self.own.length + (self.past.length if self.past else 0)

    def positions(self) -> Int[Tensor, " T"]:
        return torch.arange(self.before, self.before + len(self.token_ids))

    def mask(self) -> Bool[Tensor, "T S"] | None:
        """Token t sees everything before and the new ones up to itself; None: plainly causal."""
        T = len(self.token_ids)
        if self.before == 0:
            return None
        return torch.ones(T, self.before + T, dtype=torch.bool).tril(diagonal=self.before)

    def attend(
        self,
        layer: int,
        q: Float[Tensor, "H T D"],
        k: Float[Tensor, "G T D"],
        v: Float[Tensor, "G T D"],
        mask: Bool[Tensor, "T S"] | None,
    ) -> Float[Tensor, "H T D"]:
        """Write keys and values into ``own`` and look at all there is."""
        self.own.write(layer, self.own.length, k, v)
        keys, values = self.own.read(layer, self.own.length + k.shape[1])
        if self.past:
            past_keys, past_values = self.past.read(layer, self.past.length)
            keys, values = torch.cat([past_keys, keys], 1), torch.cat([past_values, values], 1)
        return F.scaled_dot_product_attention(
            q[None],
            keys[None],
            values[None],
            attn_mask=mask,
            is_causal=mask is None,
            enable_gqa=True,
        )[0]


class LlamaWeights:
    """Views of a transformers Llama and what its configuration says. CPU only."""

    def __init__(self, model: PreTrainedModel, positions: int) -> None:
        """``positions`` bounds prompt and reply together. Raises NotLlamaError."""
        config = model.config
        if config.model_type != "llama":
            raise NotLlamaError(f"it is a {config.model_type} model")
        if config.hidden_act != "silu" or config.attention_bias or config.mlp_bias:
            raise NotLlamaError("it has biases or another activation than SiLU")
        scaling: str = config.rope_parameters["rope_type"]
        if scaling in _MOVING:
            raise NotLlamaError(f"its positions turn with the length of the text ({scaling})")
        decoder = model.get_decoder()
        self.dtype = model.dtype
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.head_dim: int = config.head_dim or config.hidden_size // self.heads
        self.norm_eps: float = config.rms_norm_eps
        self.embedding = decoder.embed_tokens.weight
        self.head = model.get_output_embeddings().weight
        self.final_norm = _gain(decoder.norm)
        self.blocks = tuple(_block(layer) for layer in decoder.layers)
        self.cosines, self.sines = self._rotations(decoder.rotary_emb, positions)

    def _rotations(
        self, rotary: nn.Module, positions: int
    ) -> tuple[Float[Tensor, "P half"], Float[Tensor, "P half"]]:
        """Whatever scaling the model was made with, as one table."""
        x = torch.zeros(1, dtype=torch.float32)
        cosines, sines = rotary(x, torch.arange(positions)[None])
        half = self.head_dim // 2
        return cosines[0, :, :half].contiguous(), sines[0, :, :half].contiguous()

    @property
    def width(self) -> int:
        return self.embedding.shape[1]

    @property
    def ffn(self) -> int:
        return self.blocks[0].matrices["gate"].shape[0]

    def new_cache(self, capacity: int, layers: int | None = None) -> KvCache:
        """An empty cache, of all layers or the first ``layers``."""
        count = layers or len(self.blocks)
        return KvCache(count, self.kv_heads, self.head_dim, capacity, self.dtype)

    @torch.inference_mode()
    def prefill(
        self, token_ids: list[int], cache: KvCache, lora: LoraWeights | None
    ) -> Float[Tensor, "T d"]:
        """Append ``token_ids`` to ``cache``; what the language-model head would see of them."""
        residual = self.forward([Segment(token_ids, cache)], lora)
        return self._normalised(residual, self.final_norm)

    @torch.inference_mode()
    def forward(
        self, segments: Sequence[Segment], lora: LoraWeights | None, layers: int | None = None
    ) -> Float[Tensor, "T d"]:
        """The residual stream after ``layers`` (None: all), one segment after the other.

        Appends each segment's tokens to its own cache. All segments share every product, without
        padding; only attention is each segment's own.
        """
        ids = [token for segment in segments for token in segment.token_ids]
        where = torch.cat([segment.positions() for segment in segments])
        cosines, sines = self.cosines[where], self.sines[where]
        sizes = [len(segment.token_ids) for segment in segments]
        masks = [segment.mask() for segment in segments]
        x = F.embedding(torch.tensor(ids), self.embedding).float()
        for i, block in enumerate(self.blocks[:layers]):
            adapter = lora.layers[i] if lora else {}
            h = self._normalised(x, block.attention_norm)
            q, k, v = (self._heads(_linear(h, block, adapter, name)) for name in "qkv")
            q, k = _rotated(q, cosines, sines), _rotated(k, cosines, sines)
            parts = zip(*(each.split(sizes, dim=1) for each in (q, k, v)), strict=True)
            attended = torch.cat(
                [
                    segment.attend(i, *part, mask)
                    for segment, part, mask in zip(segments, parts, masks, strict=True)
                ],
                dim=1,
            )
            attended = attended.transpose(0, 1).reshape(len(ids), -1)
            x = x + _linear(attended, block, adapter, "o").float()
            h = self._normalised(x, block.mlp_norm)
            gate, up = (_linear(h, block, adapter, name) for name in ("gate", "up"))
            x = x + _linear(F.silu(gate) * up, block, adapter, "down").float()
        for segment in segments:
            segment.own.token_ids += segment.token_ids
        return x

    def _heads(self, x: Float[Tensor, "T HD"]) -> Float[Tensor, "H T D"]:
        return x.view(x.shape[0], -1, self.head_dim).transpose(0, 1)

    def _normalised(
        self, x: Float[Tensor, "*T d"], gain: Float[Tensor, " d"]
    ) -> Float[Tensor, "*T d"]:
        scale = torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + self.norm_eps)
        return (x * scale * gain).to(self.dtype)


def _gain(norm: nn.Module) -> Float[Tensor, " d"]:
    return norm.weight.detach().float().contiguous()


def _block(layer: nn.Module) -> Block:
    matrices: dict[str, Tensor] = {}
    for name, path in _PROJECTIONS.items():
        linear = layer.get_submodule(path)
        linear = getattr(linear, "base_layer", linear)  # the backbone puts adapters over it
        matrices[name] = linear.weight.detach().contiguous()
    return Block(
        matrices=matrices,
        attention_norm=_gain(layer.input_layernorm),
        mlp_norm=_gain(layer.post_attention_layernorm),
    )


def _linear(
    x: Float[Tensor, "T inputs"], block: Block, adapter: Mapping[str, LoraMatrix], name: str
) -> Float[Tensor, "T outputs"]:
    y = F.linear(x, block.matrices[name])
    if name in adapter:
        lora = adapter[name]
        y = torch.addmm(y, F.linear(x, lora.a), lora.b)
    return y


def _rotated(
    x: Float[Tensor, "H T D"], cosines: Float[Tensor, "T half"], sines: Float[Tensor, "T half"]
) -> Float[Tensor, "H T D"]:
    """Rotary position embedding, arXiv 2104.09864, in the half-split layout of Llama."""
    a, b = x.float().chunk(2, dim=-1)
    turned = torch.cat([a * cosines - b * sines, b * cosines + a * sines], dim=-1)
    return turned.to(x.dtype)
