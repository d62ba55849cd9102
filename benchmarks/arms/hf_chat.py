"""R3 and R4 with transformers and PEFT: a chat with and without its cache, and a new adapter."""

import time

import torch
from peft.utils.hotswap import hotswap_adapter
from transformers import AutoTokenizer, DynamicCache
from transformers.utils import logging as transformers_logging

from benchmarks.arms.hf import Stopwatch, load
from benchmarks.arms.words import user_text


class EightTurns:
    """One reply a turn; ``cached`` keeps the keys and values of what both said so far."""

    def __init__(
        self,
        model: str,
        loras: list[str],
        new_tokens: int,
        dtype: str,
        turns: int = 8,
        cached: bool = False,
    ) -> None:
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        self._model = load(model, dtype, loras[0])
        self._tokenizer = AutoTokenizer.from_pretrained(model)
        self._new_tokens, self._turns, self._cached = new_tokens, turns, cached

    @torch.inference_mode()
    def round(self, number: int) -> dict[str, float]:
        torch.manual_seed(number)
        chat: list[dict[str, str]] = []
        cache, metrics, wall = DynamicCache(), {}, 0.0
        known: list[int] = []
        for turn in range(self._turns):
            chat.append({"role": "user", "content": user_text(number, turn)})
            ids = self._tokenizer.apply_chat_template(
                chat, add_generation_prompt=True, return_dict=True
            )["input_ids"]
            stopwatch = Stopwatch()
            options = {}
            if self._cached:
                same = next(
                    (i for i, (a, b) in enumerate(zip(known, ids, strict=False)) if a != b),
                    min(len(known), len(ids) - 1),
                )
                if cache.get_seq_length() > same:
                    cache.crop(same - cache.get_seq_length())
                options = {"past_key_values": cache}
            found = self._model.generate(
                input_ids=torch.tensor([ids]),
                attention_mask=torch.ones((1, len(ids)), dtype=torch.long),
                do_sample=True,
                temperature=0.8,
                top_k=50,
                top_p=0.95,
                min_new_tokens=self._new_tokens,
                max_new_tokens=self._new_tokens,
                logits_processor=[stopwatch],
                **options,
            )
            wall += time.perf_counter() - stopwatch.began
            metrics[f"ttft_turn{turn + 1}_s"] = stopwatch.first
            known = found[0].tolist()[:-1]  # the last token was never fed back
            text = self._tokenizer.decode(found[0, len(ids) :], skip_special_tokens=True)
            chat.append({"role": "assistant", "content": text})
        return metrics | {"wall_s": wall}


class Hotswap:
    """PEFT's own way: the new tensors copied into the adapter that is there."""

    def __init__(self, model: str, loras: list[str], dtype: str) -> None:
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        self._model = load(model, dtype, loras[0])
        self._loras = loras

    def round(self, number: int) -> dict[str, float]:
        folder = self._loras[(number + 1) % len(self._loras)]
        began = time.perf_counter()
        hotswap_adapter(self._model, folder, "default")
        return {"swap_ms": 1000 * (time.perf_counter() - began)}
