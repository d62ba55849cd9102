"""llama.cpp through llama-cpp-python, built for this machine: its high-level call, and its C API.

Runs in the peers' environment: nothing of ours, no torch. The high-level class keeps the last
prompt's cache by itself, so its second call pays no prefill. The C API prefills once and copies
the cache to K sequences that decode in one batch, which is llama.cpp at its best.
"""

import ctypes
import json
import sys
import time
from pathlib import Path
from typing import Any

import llama_cpp as api

THREADS = 2
CONTEXT = 2048
FORMATS = {
    "F32": api.LLAMA_FTYPE_ALL_F32,
    "BF16": api.LLAMA_FTYPE_MOSTLY_BF16,
    "Q8_0": api.LLAMA_FTYPE_MOSTLY_Q8_0,
    "Q4_0": api.LLAMA_FTYPE_MOSTLY_Q4_0,
}


def quantise(source: str, target: str, form: str) -> None:
    params = api.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize, params.nthread = FORMATS[form], True, THREADS
    failed = api.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params))
    if failed:
        raise RuntimeError(f"llama.cpp could not write {form} ({failed})")


class HighLevel:
    """``Llama.generate`` called K times, one after the other."""

    def __init__(
        self, model: str, prompts: str, new_tokens: int, k: int = 2, lora: str | None = None
    ) -> None:
        self._llama = api.Llama(
            model, n_ctx=CONTEXT, n_threads=THREADS, n_threads_batch=THREADS, lora_path=lora,
            verbose=False,
        )  # fmt: skip
        self._prompts = json.loads(Path(prompts).read_text(encoding="utf-8"))
        self._new_tokens, self._k = new_tokens, k

    def round(self, number: int) -> dict[str, float]:
        ids = self._prompts[number % len(self._prompts)]["ids"]
        began = time.perf_counter()
        first = 0.0
        for _ in range(self._k):
            tokens = self._llama.generate(ids, top_k=50, top_p=0.95, temp=0.8, repeat_penalty=1.0)
            for count, _ in enumerate(tokens, start=1):
                first = first or time.perf_counter() - began
                if count == self._new_tokens:
                    break
        wall = time.perf_counter() - began
        return {"wall_s": wall, "ttft_s": first}


class Sequences:
    """The C API: one prefill, K sequences in one batch, LoRA beside the weights."""

    def __init__(
        self,
        model: str,
        prompts: str,
        new_tokens: int,
        lora: str | None = None,
        ks: tuple[int, ...] = (2,),
    ) -> None:
        api.llama_backend_init()
        api.llama_log_set(_SILENT, ctypes.c_void_p(0))
        params = api.llama_model_default_params()
        self._model = api.llama_model_load_from_file(model.encode(), params)
        self._ks, self._new_tokens = tuple(ks), new_tokens
        self._prompts = json.loads(Path(prompts).read_text(encoding="utf-8"))
        self._vocab = api.llama_model_get_vocab(self._model)
        self._context = self._new_context(max(self._ks))
        self._memory = api.llama_get_memory(self._context)
        self._batch = api.llama_batch_init(CONTEXT, 0, 1)
        self._lora = None
        if lora is not None:
            self.load_lora(lora)

    def load_lora(self, path: str) -> None:
        lora = api.llama_adapter_lora_init(self._model, path.encode())
        if not lora:
            raise RuntimeError(f"llama.cpp refused the adapter {path}")
        adapters = (api.llama_adapter_lora_p_ctypes * 1)(lora)
        api.llama_set_adapters_lora(self._context, adapters, 1, (ctypes.c_float * 1)(1.0))
        if self._lora is not None:
            api.llama_adapter_lora_free(self._lora)
        self._lora = lora

    def round(self, number: int) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for place, k in enumerate(self._ks):
            prompt = self._prompts[(number * len(self._ks) + place) % len(self._prompts)]
            wall, first = self.reply(prompt["ids"], k)
            metrics |= {f"wall_k{k}_s": wall, f"ttft_k{k}_s": first}
            metrics[f"steps_per_s_k{k}"] = (self._new_tokens - 1) / (wall - first)
        if 2 in self._ks:
            metrics |= {"wall_s": metrics["wall_k2_s"], "ttft_s": metrics["ttft_k2_s"]}
        return metrics

    def reply(self, ids: list[int], k: int) -> tuple[float, float]:
        """Seconds for the whole, and to the first token of all K."""
        samplers = [sampler(seed) for seed in range(k)]
        api.llama_memory_clear(self._memory, True)
        began = time.perf_counter()
        self._decode([(token, place, 0) for place, token in enumerate(ids)], [len(ids) - 1])
        for sequence in range(1, k):
            api.llama_memory_seq_cp(self._memory, 0, sequence, -1, -1)
        last = len(ids) - 1
        tokens = [api.llama_sampler_sample(one, self._context, last) for one in samplers]
        first = time.perf_counter() - began
        for step in range(self._new_tokens - 1):
            place = len(ids) + step
            self._decode([(tokens[i], place, i) for i in range(k)], range(k))
            tokens = [
                api.llama_sampler_sample(one, self._context, i) for i, one in enumerate(samplers)
            ]
        wall = time.perf_counter() - began
        for one in samplers:
            api.llama_sampler_free(one)
        return wall, first

    def greedy(self, ids: list[int], count: int) -> list[int]:
        """For checking that file and adapter mean the same here as elsewhere."""
        api.llama_memory_clear(self._memory, True)
        self._decode([(token, place, 0) for place, token in enumerate(ids)], [len(ids) - 1])
        chooser, where, found = api.llama_sampler_init_greedy(), len(ids) - 1, []
        for step in range(count):
            found.append(api.llama_sampler_sample(chooser, self._context, where))
            self._decode([(found[-1], len(ids) + step, 0)], [0])
            where = 0
        api.llama_sampler_free(chooser)
        return found

    def _new_context(self, sequences: int) -> Any:  # noqa: ANN401 - a ctypes pointer
        params = api.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = CONTEXT, CONTEXT, 512
        params.n_seq_max, params.kv_unified = sequences, True
        params.n_threads = params.n_threads_batch = THREADS
        params.no_perf = True
        context = api.llama_init_from_model(self._model, params)
        if not context:
            raise RuntimeError("llama.cpp made no context")
        return context

    def _decode(self, tokens: list[tuple[int, int, int]], wanted: Any) -> None:  # noqa: ANN401
        """``tokens`` as (id, position, sequence); logits at the places ``wanted``."""
        batch = self._batch
        batch.n_tokens = len(tokens)
        for i, (token, position, sequence) in enumerate(tokens):
            batch.token[i], batch.pos[i] = token, position
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
            batch.logits[i] = 0
        for i in wanted:
            batch.logits[i] = 1
        failed = api.llama_decode(self._context, batch)
        if failed:
            raise RuntimeError(f"llama_decode failed ({failed})")


def sampler(seed: int) -> Any:  # noqa: ANN401 - a ctypes pointer
    chain = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())
    for one in (
        api.llama_sampler_init_top_k(50),
        api.llama_sampler_init_top_p(0.95, 1),
        api.llama_sampler_init_temp(0.8),
        api.llama_sampler_init_dist(seed),
    ):
        api.llama_sampler_chain_add(chain, one)
    return chain


_SILENT = api.llama_log_callback(lambda *_: None)

if __name__ == "__main__":
    quantise(*sys.argv[1:4])
