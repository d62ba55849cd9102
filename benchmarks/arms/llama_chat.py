"""R3 and R4 with llama.cpp: its prefix match over eight turns, and a new adapter by its C API."""

import time

import llama_cpp as api

from benchmarks.arms.llama import CONTEXT, THREADS, Sequences
from benchmarks.arms.words import user_text


class EightTurns:
    """One reply a turn by the high-level class, which goes on from what it has in its cache."""

    def __init__(
        self, model: str, new_tokens: int, lora: str | None = None, turns: int = 8
    ) -> None:
        self._llama = api.Llama(
            model, n_ctx=2 * CONTEXT, n_threads=THREADS, n_threads_batch=THREADS, lora_path=lora,
            verbose=False,
        )  # fmt: skip
        self._new_tokens, self._turns = new_tokens, turns

    def round(self, number: int) -> dict[str, float]:
        text, metrics, wall = "", {}, 0.0
        for turn in range(self._turns):
            text += (
                f"<|im_start|>user\n{user_text(number, turn)}<|im_end|>\n<|im_start|>assistant\n"
            )
            ids = self._llama.tokenize(text.encode(), add_bos=False, special=True)
            began, first, said = time.perf_counter(), 0.0, []
            tokens = self._llama.generate(ids, top_k=50, top_p=0.95, temp=0.8, repeat_penalty=1.0)
            for token in tokens:
                first = first or time.perf_counter() - began
                said.append(token)
                if len(said) == self._new_tokens:
                    break
            wall += time.perf_counter() - began
            metrics[f"ttft_turn{turn + 1}_s"] = first
            text += self._llama.detokenize(said).decode(errors="replace") + "<|im_end|>\n"
        return metrics | {"wall_s": wall}


class AdapterSwap:
    """A GGUF adapter read, set in place of the one before, which is freed."""

    def __init__(self, model: str, prompts: str, loras: list[str]) -> None:
        self._sequences = Sequences(model, prompts, 4, lora=loras[0])
        self._loras = loras

    def round(self, number: int) -> dict[str, float]:
        began = time.perf_counter()
        self._sequences.load_lora(self._loras[(number + 1) % len(self._loras)])
        return {"swap_ms": 1000 * (time.perf_counter() - began)}
