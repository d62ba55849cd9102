"""Llama-family models as plain matrices: what the lean engine decodes, and its prefill.

The weights are the tensors of the loaded transformers model, not copies. A prompt's many tokens
are run here, by PyTorch's own products; single steps of a few rows go to ``native``. The residual
stream stays in float32, products take the model's type.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
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


class NotLlamaError(Exception):
    """The model is built otherwise; the text says how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One layer: its seven matrices by short name, and its two norms."""

    matrices: Mapping[str, Float[Tensor, "outputs inputs"]]
    attention_norm: Float[Tensor, " d"]
    mlp_norm: Float[Tensor, " d"]


class LlamaWeights:
    """Views of a transformers Llama and what its configuration says. CPU only."""

    def __init__(self, model: PreTrainedModel, positions: int) -> None:
        """``positions`` bounds prompt and reply together. Raises NotLlamaError."""
        config = model.config
        if config.model_type != "llama":
            raise NotLlamaError(f"it is a {config.model_type} model")
        if config.hidden_act != "silu" or config.attention_bias or config.mlp_bias:
            raise NotLlamaError("it has biases or another activation than SiLU")
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

    def new_cache(self, capacity: int) -> KvCache:
        return KvCache(len(self.blocks), self.kv_heads, self.head_dim, capacity, self.dtype)

    @torch.inference_mode()
    def prefill(
        self, token_ids: list[int], cache: KvCache, lora: LoraWeights | None
    ) -> Float[Tensor, "T d"]:
        """Append ``token_ids`` to ``cache``; what the language-model head would see of them."""
        at, T = cache.length, len(token_ids)
        x = F.embedding(torch.tensor(token_ids), self.embedding).float()
        cosines, sines = self.cosines[at : at + T], self.sines[at : at + T]
        # Token t sees everything before the new ones and the new ones up to itself.
        mask = torch.ones(T, at + T, dtype=torch.bool).tril(diagonal=at) if at else None
        for i, block in enumerate(self.blocks):
            adapter = lora.layers[i] if lora else {}
            h = self._normalised(x, block.attention_norm)
            q, k, v = (_linear(h, block, adapter, name) for name in "qkv")
            q = _rotated(self._heads(q), cosines, sines)
            k = _rotated(self._heads(k), cosines, sines)
            cache.write(i, at, k, self._heads(v))
            keys, values = cache.read(i, at + T)
            attended = F.scaled_dot_product_attention(
                q[None],
                keys[None],
                values[None],
                attn_mask=mask,
                is_causal=mask is None,
                enable_gqa=True,
            )[0]
            attended = attended.transpose(0, 1).reshape(T, -1)
            x = x + _linear(attended, block, adapter, "o").float()
            h = self._normalised(x, block.mlp_norm)
            gate, up = (_linear(h, block, adapter, name) for name in ("gate", "up"))
            x = x + _linear(F.silu(gate) * up, block, adapter, "down").float()
        cache.token_ids += token_ids
        return self._normalised(x, self.final_norm)

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
        linear = getattr(linear, "base_layer", linear)  # PEFT wraps it while an adapter trains
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
