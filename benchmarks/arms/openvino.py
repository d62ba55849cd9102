"""OpenVINO GenAI: its pipeline reads the GGUF file and samples K sequences of one prompt itself.

Runs in the peers' environment. No adapter: its adapters are of its own kind of model only.
"""

import json
import time
from pathlib import Path

import numpy as np
import openvino
import openvino_genai

THREADS = 2


class Generate:
    def __init__(self, model: str, prompts: str, new_tokens: int, k: int = 2) -> None:
        self._pipe = openvino_genai.LLMPipeline(model, "CPU", INFERENCE_NUM_THREADS=THREADS)
        self._prompts = json.loads(Path(prompts).read_text(encoding="utf-8"))
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = config.min_new_tokens = new_tokens
        config.ignore_eos = config.do_sample = True
        config.temperature, config.top_k, config.top_p = 0.8, 50, 0.95
        config.num_return_sequences = k
        self._config = config

    def round(self, number: int) -> dict[str, float]:
        ids = self._prompts[number % len(self._prompts)]["ids"]
        prompt = openvino.Tensor(np.array([ids], dtype=np.int64))
        began = time.perf_counter()
        found = self._pipe.generate(prompt, self._config)
        wall = time.perf_counter() - began
        lengths = [len(one) for one in found.tokens]
        if lengths != [self._config.max_new_tokens] * self._config.num_return_sequences:
            raise RuntimeError(f"replies of {lengths} tokens")
        return {"wall_s": wall, "ttft_s": found.perf_metrics.get_ttft().mean / 1000}
