"""The C structs of ``decode.cpp`` and the call; nothing else knows their layout."""

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, Structure, c_float, c_int32, c_void_p
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from learner.engine.kv import KvCache
from learner.engine.llama import LlamaWeights
from learner.engine.lora import MODULES, LoraWeights
from learner.engine.native.blocks import PackedLlama
from learner.engine.native.build import NativeUnavailableError, load_library

WIDTH_STEP, HEAD_STEP = 32, 16
"""Products walk over their inputs, and attention over a head, in such steps."""


class _LayerWeights(Structure):
    _fields_ = [(name, c_void_p) for name in (*MODULES, "attention_norm", "mlp_norm")]


class _LoraMatrix(Structure):
    _fields_ = [(name, c_void_p) for name in "ab"]


class _LoraLayer(Structure):
    _fields_ = [(name, _LoraMatrix) for name in MODULES]


_SIZES = (
    "layers",
    "width",
    "ffn",
    "heads",
    "kv_heads",
    "head_dim",
    "vocabulary",
    "bfloat",
    "blocks",
)
_TABLES = ("embedding", "head", "final_norm", "cosines", "sines")


class _Model(Structure):
    _fields_ = [
        *((name, c_int32) for name in _SIZES),
        ("norm_eps", c_float),
        ("layer", POINTER(_LayerWeights)),
        *((name, c_void_p) for name in _TABLES),
    ]


_CACHES = ("prefix_keys", "prefix_values", "own_keys", "own_values")
_PLACES = (
    "prefix_length",
    "prefix_capacity",
    "own_length",
    "own_capacity",
    "token",
    "position",
)


class _Row(Structure):
    _fields_ = [
        *((name, c_void_p) for name in _CACHES),
        *((name, c_int32) for name in _PLACES),
    ]


class _Step(Structure):
    _fields_ = [
        ("lora", POINTER(_LoraLayer)),
        ("lora_rank", c_int32),
        ("rows", c_int32),
        ("row", POINTER(_Row)),
        ("top_k", c_int32),
        *((name, c_void_p) for name in ("top_values", "top_tokens", "logsumexp", "logits")),
    ]


@dataclass(slots=True)
class DecodingRow:
    """What one candidate attends to: the prompt's cache, shared, and its own."""

    prefix: KvCache
    own: KvCache


@dataclass(frozen=True, slots=True, kw_only=True)
class TopTokens:
    """The most likely next tokens of each row, best first."""

    values: Float[Tensor, "N k"]
    """Logits."""
    tokens: Int[Tensor, "N k"]
    logsumexp: Float[Tensor, " N"]
    """Over the whole vocabulary."""

    def select(self, rows: Sequence[int]) -> "TopTokens":
        """Only these rows, in this order."""
        index = list(rows)
        return replace(
            self,
            values=self.values[index],
            tokens=self.tokens[index],
            logsumexp=self.logsumexp[index],
        )


class CompiledLora:
    """Pointers into one adapter's matrices; keeps them alive."""

    def __init__(self, weights: LoraWeights) -> None:
        self.rank = weights.rank
        self._weights = weights
        self.table = (_LoraLayer * len(weights.layers))()
        for entry, layer in zip(self.table, weights.layers, strict=True):
            for name, matrix in layer.items():
                setattr(entry, name, _LoraMatrix(matrix.a.data_ptr(), matrix.b.data_ptr()))


class NativeStep:
    """Decodes one token of several rows; belongs to one thread at a time."""

    def __init__(
        self, weights: LlamaWeights, threads: int, packed: PackedLlama | None = None
    ) -> None:
        """``packed`` stands for the matrices of ``weights`` where it is given.

        Raises NativeUnavailableError where the model or the machine does not fit.
        """
        group = weights.heads // weights.kv_heads * weights.head_dim
        widths = (weights.width, weights.ffn, group)
        if any(width % WIDTH_STEP for width in widths) or weights.head_dim % HEAD_STEP:
            raise NativeUnavailableError(
                f"its widths {widths} are no multiples of {WIDTH_STEP}, "
                f"or its heads ({weights.head_dim}) of {HEAD_STEP}"
            )
        if weights.dtype not in (torch.float32, torch.bfloat16):
            raise NativeUnavailableError(f"it knows float32 and bfloat16, not {weights.dtype}")
        if packed and weights.dtype != torch.bfloat16:
            raise NativeUnavailableError("blocks are laid out for bfloat16 caches and adapters")
        self._library = load_library()
        self._library.team_new.restype = c_void_p
        self._library.decode_step.argtypes = [c_void_p, c_void_p, c_void_p]
        self._team = self._library.team_new(c_int32(threads))
        self._weights, self._packed = weights, packed  # alive as long as pointers into them
        self._logits = torch.empty(0)
        self._model = self._describe(weights, packed)

    def _describe(self, w: LlamaWeights, packed: PackedLlama | None) -> _Model:
        self._layers = (_LayerWeights * len(w.blocks))()
        for i, (entry, block) in enumerate(zip(self._layers, w.blocks, strict=True)):
            matrices = packed.layers[i] if packed else block.matrices
            for name, matrix in matrices.items():
                setattr(entry, name, matrix.data_ptr())
            entry.attention_norm = block.attention_norm.data_ptr()
            entry.mlp_norm = block.mlp_norm.data_ptr()
        tables = {name: getattr(w, name).data_ptr() for name in _TABLES}
        if packed:
            tables["head"] = packed.head.data_ptr()
        return _Model(
            layers=len(w.blocks),
            width=w.width,
            ffn=w.ffn,
            heads=w.heads,
            kv_heads=w.kv_heads,
            head_dim=w.head_dim,
            vocabulary=w.head.shape[0],
            bfloat=w.dtype == torch.bfloat16,
            blocks=packed is not None,
            norm_eps=w.norm_eps,
            layer=self._layers,
            **tables,
        )

    def __call__(
        self,
        rows: Sequence[DecodingRow],
        tokens: Sequence[int],
        lora: CompiledLora | None,
        top_k: int,
    ) -> TopTokens:
        """Append ``tokens[i]`` to ``rows[i]`` and predict what follows.

        Raises FloatingPointError where a logit is not a number.
        """
        N, V = len(rows), self._model.vocabulary
        k = min(top_k, V)
        table = (_Row * N)(*(_row(r, t) for r, t in zip(rows, tokens, strict=True)))
        top = TopTokens(
            values=torch.empty(N, k),
            tokens=torch.empty(N, k, dtype=torch.int64),
            logsumexp=torch.empty(N),
        )
        if len(self._logits) < N * V:  # room for the step's own use, kept from one to the next
            self._logits = torch.empty(N * V)
        step = _Step(
            lora=lora.table if lora else None,
            lora_rank=lora.rank if lora else 0,
            rows=N,
            row=table,
            top_k=k,
            top_values=top.values.data_ptr(),
            top_tokens=top.tokens.data_ptr(),
            logsumexp=top.logsumexp.data_ptr(),
            logits=self._logits.data_ptr(),
        )
        self._library.decode_step(self._team, ctypes.byref(self._model), ctypes.byref(step))
        if not top.logsumexp.isfinite().all():
            raise FloatingPointError("the model computed a value that is not a number")
        for row, token in zip(rows, tokens, strict=True):
            row.own.token_ids.append(token)
        return top


def _row(row: DecodingRow, token: int) -> _Row:
    prefix, own = row.prefix, row.own
    if own.length >= own.capacity:
        raise ValueError(f"the cache of a row is full at {own.capacity} tokens")
    return _Row(
        prefix.keys.data_ptr(),
        prefix.values.data_ptr(),
        own.keys.data_ptr(),
        own.values.data_ptr(),
        prefix.length,
        prefix.capacity,
        own.length,
        own.capacity,
        token,
        prefix.length + own.length,
    )
