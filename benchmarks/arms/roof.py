"""R0: what this machine can do at all: a read-only stream, and products of few rows with weights.

Weights are laid out in copies larger than the last cache, as the layers of a model are. The limit
of a decoding step is the larger of its bytes over the stream and its operations over the best
few-row rate at its precision, docs/benchmarks.md.
"""

import ctypes
import time
from collections.abc import Callable

import torch

SHAPES = ((960, 576), (3072, 576), (576, 1536), (49152, 576))
"""Rows and columns of the default model's fused qkv, gate-up, down and head."""
FEW = (1, 2, 4, 8)
MANY = (256, 512)
COPIES_BYTES = 160e6
STREAM_BYTES = 2**30

# The default model, docs/benchmarks.md "limit": parameters, and values of the cache a token.
BODY, HEAD = 106_168_320, 28_311_552
KV_VALUES, LAYERS, WIDTH = 11_520, 30, 576
LORA = 4_884_480
WEIGHT_BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}
LIMIT_BYTES = {
    "float32": (4, 4, 4),
    "bfloat16": (2, 2, 2),
    "int8": (1, 1, 2),
    "blocks": (24 / 32, 36 / 32, 2),
}
"""Of a weight of the body, of the head, and of a value of LoRA and cache beside them. Blocks are
the built-in model's own, as our engine keeps them: 32 weights with scale and minimum in 24 bytes,
the head's with a scale in 36."""


class Roof:
    """Each round measures all; ``light`` leaves out what the limit does not need."""

    def __init__(
        self,
        prompt_tokens: int,
        new_tokens: int,
        light: bool = True,
        tiny: bool = False,
        reader: str | None = None,
    ) -> None:
        self._prompt, self._new, self._light, self._tiny = prompt_tokens, new_tokens, light, tiny
        words = STREAM_BYTES // (256 if tiny else 1) // 8
        self._words = torch.ones(words, dtype=torch.int64)
        self._read = reading(self._words, reader)

    @torch.inference_mode()
    def round(self, number: int) -> dict[str, float]:
        torch.manual_seed(number)
        metrics = {"read_gb_s": self._words.nbytes / best(self._read) / 1e9}
        rate = dict.fromkeys(WEIGHT_BYTES, 0.0)
        shapes, few = (SHAPES[1::2], FEW[1::2]) if self._light else (SHAPES, FEW)
        for rows, columns in SHAPES[:1] if self._tiny else shapes:
            for dtype, kernels in KERNELS.items():
                for name, make in kernels.items():
                    if self._light and name in ("float32", "bfloat16"):
                        continue  # never the best
                    for m in few:
                        gflops = few_rows(make, m, rows, columns, WEIGHT_BYTES[dtype], self._tiny)
                        rate[dtype] = max(rate[dtype], gflops)
                        key = f"{name}_{rows}x{columns}_m{m}"
                        metrics[f"{key}_gflop_s"] = gflops
                        metrics[f"{key}_gb_s"] = gflops * WEIGHT_BYTES[dtype] / 2 / m
        prefill = self._prefill_rates()
        rate["blocks"], prefill["blocks"] = max(rate.values()), prefill["bfloat16"]
        metrics |= {f"rate_{dtype}_gflop_s": one for dtype, one in rate.items()}
        metrics |= {f"prefill_{dtype}_gflop_s": one for dtype, one in prefill.items()}
        # A product that reads its weights faster than the plain loop is the better witness.
        metrics["stream_gb_s"] = max(one for name, one in metrics.items() if name.endswith("_gb_s"))
        stream = metrics["stream_gb_s"] * 1e9
        for dtype, one in rate.items():
            for k in FEW:
                step = step_limit(dtype, k, self._prompt, self._new, stream, one * 1e9)
                metrics[f"step_{dtype}_k{k}_ms"] = 1e3 * step
                whole = prefill_ops(self._prompt) / (prefill[dtype] * 1e9)
                metrics[f"limit_{dtype}_k{k}_s"] = whole + (self._new - 1) * step
            metrics[f"limit_{dtype}_s"] = metrics[f"limit_{dtype}_k2_s"]
        metrics["limit_best_s"] = min(metrics[f"limit_{dtype}_s"] for dtype in rate)
        return metrics

    def _prefill_rates(self) -> dict[str, float]:
        rates = {}
        for dtype, kernels in KERNELS.items():
            rates[dtype] = max(
                few_rows(make, m, 3072, 576, WEIGHT_BYTES[dtype], self._tiny)
                for name, make in kernels.items()
                if name != "int8_weight_only"  # made for few rows
                for m in (MANY[:1] if self._light else MANY)
            )
        # Weights in 8 bits may be widened for a prefill: the faster way counts.
        rates["int8"] = max(rates["int8"], rates["bfloat16"])
        return rates


def step_limit(dtype: str, k: int, prompt: int, new: int, stream: float, rate: float) -> float:
    """Seconds of one step of K rows: prefix read once, own tails half grown on average."""
    body, head, side = LIMIT_BYTES[dtype]
    cached = prompt + k * new / 2
    bytes_ = BODY * body + HEAD * head + (LORA + KV_VALUES * cached) * side
    attention = 4 * LAYERS * WIDTH * (prompt + new / 2)
    ops = k * (2 * (BODY + HEAD + LORA) + attention)
    return max(bytes_ / stream, ops / rate)


def prefill_ops(prompt: int) -> float:
    attention = 4 * LAYERS * WIDTH * prompt / 2  # causal: half of the square
    return prompt * (2 * (BODY + LORA) + attention) + 2 * HEAD


def few_rows(
    make: Callable[[torch.Tensor, int], Callable[[torch.Tensor], torch.Tensor]],
    m: int,
    rows: int,
    columns: int,
    bytes_each: int,
    tiny: bool,
) -> float:
    """GFLOP/s of M rows against weights that no cache holds; 0 where the kernel is not there."""
    copies = 2 if tiny else max(2, round(COPIES_BYTES / (rows * columns * bytes_each)))
    weight = torch.randn(rows, columns)
    try:
        products = [make(weight, m) for _ in range(copies)]
        x = torch.randn(m, columns)
        seconds = best(lambda: [product(x) for product in products])
    except (RuntimeError, AttributeError):
        return 0.0
    return 2 * m * rows * columns * copies / seconds / 1e9


def best(work: Callable[[], object], times: int = 3) -> float:
    work()
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)


def reading(words: torch.Tensor, reader: str | None) -> Callable[[], object]:
    """The compiled loop of stream.cpp; torch's sum where there is no compiler."""
    if reader is None:
        return words.sum
    library = ctypes.CDLL(reader)
    library.read_all.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return lambda: library.read_all(words.data_ptr(), words.numel())


def _plain(dtype: torch.dtype):  # noqa: ANN202
    def make(weight: torch.Tensor, m: int):  # noqa: ANN202, ARG001
        own = weight.to(dtype, copy=True)
        return lambda x: torch.nn.functional.linear(x.to(dtype), own)

    return make


def _packed(dtype: torch.dtype):  # noqa: ANN202
    def make(weight: torch.Tensor, m: int):  # noqa: ANN202
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.to(dtype), m)
        run = torch.ops.mkldnn._linear_pointwise
        return lambda x: run(x.to(dtype), packed, None, "none", [], "")

    return make


def _int8_weight_only(weight: torch.Tensor, m: int):  # noqa: ANN202, ARG001
    scale = weight.abs().amax(1) / 127
    own = (weight / scale[:, None]).round().to(torch.int8)
    scale = scale.bfloat16()
    return lambda x: torch._weight_int8pack_mm(x.bfloat16(), own, scale)


def _int8_dynamic(weight: torch.Tensor, m: int):  # noqa: ANN202
    """Activations in 8 bits as well: what the VNNI instructions multiply."""
    scale = weight.abs().amax(1) / 127
    own = (weight / scale[:, None]).round().to(torch.int8)
    packed = torch.ops.onednn.qlinear_prepack(own, [m, weight.shape[1]])
    zero = torch.zeros(len(scale), dtype=torch.int64)

    def product(x: torch.Tensor) -> torch.Tensor:
        x8 = (x * 30).to(torch.int8).view(torch.uint8)
        return torch.ops.onednn.qlinear_pointwise(
            x8, 1 / 30, 128, packed, scale, zero, None, 1.0, 0, torch.float32, "none", [], ""
        )

    return product


KERNELS = {
    "float32": {"float32": _plain(torch.float32), "float32_packed": _packed(torch.float32)},
    "bfloat16": {"bfloat16": _plain(torch.bfloat16), "bfloat16_packed": _packed(torch.bfloat16)},
    "int8": {"int8_weight_only": _int8_weight_only, "int8_dynamic": _int8_dynamic},
}
