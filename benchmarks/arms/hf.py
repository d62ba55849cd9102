"""Hugging Face transformers and PEFT as a person would call them, at their best settings."""

import json
import time
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, LogitsProcessor, LogitsProcessorList
from transformers.utils import logging as transformers_logging


class Generate:
    """``generate``: called K times, or once with ``num_return_sequences=K``."""

    def __init__(
        self,
        model: str,
        prompts: str,
        new_tokens: int,
        dtype: str,
        lora: str | None = None,
        ks: tuple[int, ...] = (2,),
        batched: bool = True,
    ) -> None:
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        self.model = load(model, dtype, lora)
        self._prompts = json.loads(Path(prompts).read_text(encoding="utf-8"))
        self._new_tokens, self._ks, self._batched = new_tokens, tuple(ks), batched

    def round(self, number: int) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for place, k in enumerate(self._ks):
            prompt = self._prompts[(number * len(self._ks) + place) % len(self._prompts)]
            torch.manual_seed(number)
            wall, first = self._reply(torch.tensor([prompt["ids"]]), k)
            metrics |= {f"wall_k{k}_s": wall, f"ttft_k{k}_s": first}
        if 2 in self._ks:
            metrics |= {"wall_s": metrics["wall_k2_s"], "ttft_s": metrics["ttft_k2_s"]}
        return metrics

    @torch.inference_mode()
    def _reply(self, ids: torch.Tensor, k: int) -> tuple[float, float]:
        stopwatch = Stopwatch()
        for _ in range(1 if self._batched else k):
            found = self.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                temperature=0.8,
                top_k=50,
                top_p=0.95,
                min_new_tokens=self._new_tokens,
                max_new_tokens=self._new_tokens,
                num_return_sequences=k if self._batched else 1,
                logits_processor=LogitsProcessorList([stopwatch]),
            )
            if found.shape[1] != ids.shape[1] + self._new_tokens:
                raise RuntimeError(f"a reply of {found.shape[1] - ids.shape[1]} tokens")
        return time.perf_counter() - stopwatch.began, stopwatch.first


class Stopwatch(LogitsProcessor):
    """Notes when the first logits were there."""

    def __init__(self) -> None:
        self.began, self.first = time.perf_counter(), 0.0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        self.first = self.first or time.perf_counter() - self.began
        return scores


def load(model: str, dtype: str, lora: str | None) -> torch.nn.Module:
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).eval()
    if lora is None:
        return loaded
    return PeftModel.from_pretrained(loaded, lora, autocast_adapter_dtype=False).eval()
