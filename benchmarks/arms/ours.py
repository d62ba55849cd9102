"""Our engine, chosen by ``EngineConfig`` and ``load_engine`` and by nothing else."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.material import DIGEST
from benchmarks.row import AbsentError
from learner.build import load_engine
from learner.config import EngineConfig
from learner.errors import LearnerError
from learner.model_folder import ModelFolder
from storage.records import (
    BASE_VERSION,
    Message,
    PolicyVersion,
    PolicyVersionId,
    Role,
    Sampling,
)

SAMPLING = {"temperature": 0.8, "top_k": 50, "top_p": 0.95}


def engine_of(model: str, engine: dict[str, object]):  # noqa: ANN201 - whatever load_engine builds
    """The engine for these settings of ``EngineConfig``; AbsentError where it has no such one."""
    folder = Path(model)
    kept = folder / DIGEST
    digest = kept.read_text() if kept.exists() else "0" * 64
    try:
        config = EngineConfig(**engine)
        return load_engine(ModelFolder(path=folder, name="bench", sha256=digest), config)
    except (LearnerError, ValueError, TypeError, AttributeError) as error:
        raise AbsentError(f"this engine has no {engine}: {error}") from error


def version_of(folder: str | None, number: int = 1) -> PolicyVersion:
    number = BASE_VERSION if folder is None else number
    return PolicyVersion(
        id=PolicyVersionId(number),
        parent=None if number == BASE_VERSION else BASE_VERSION,
        adapter_path=None if folder is None else Path(folder),
        created_at=datetime.now(UTC),
    )


def prompts_of(path: str) -> list[tuple[Message, ...]]:
    found = json.loads(Path(path).read_text(encoding="utf-8"))
    return [
        (
            Message(role=Role.SYSTEM, content=one["system"]),
            Message(role=Role.USER, content=one["text"]),
        )
        for one in found
    ]


class Reply:
    """K candidates of one prompt, all tokens of all of them, for each K."""

    def __init__(
        self,
        model: str,
        prompts: str,
        new_tokens: int,
        engine: dict[str, object] | None = None,
        lora: str | None = None,
        ks: tuple[int, ...] = (2,),
    ) -> None:
        self.engine = engine_of(model, engine or {})
        self.engine.load(version_of(lora))
        self._prompts = prompts_of(prompts)
        self._sampling = Sampling(max_new_tokens=new_tokens, **SAMPLING)
        self._ks = tuple(ks)

    def round(self, number: int) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for place, k in enumerate(self._ks):
            prompt = self._prompts[(number * len(self._ks) + place) % len(self._prompts)]
            wall, first = self.reply(prompt, k, seed=number)
            metrics |= {f"wall_k{k}_s": wall, f"ttft_k{k}_s": first}
            steps = self._sampling.max_new_tokens - 1
            metrics[f"steps_per_s_k{k}"] = steps / (wall - first)
        if 2 in self._ks:
            metrics |= {"wall_s": metrics["wall_k2_s"], "ttft_s": metrics["ttft_k2_s"]}
        return metrics

    def reply(self, prompt: tuple[Message, ...], k: int, seed: int) -> tuple[float, float]:
        """Seconds for the whole, and to the first token of all K."""
        began = time.perf_counter()
        batch = self.engine.start(prompt, k, self._sampling, seed)
        first = 0.0
        while batch.running:
            batch.step()
            first = first or time.perf_counter() - began
        completions = batch.completions()
        wall = time.perf_counter() - began
        lengths = [len(one.token_ids) for one in completions]
        if lengths != [self._sampling.max_new_tokens] * k:
            raise RuntimeError(f"replies of {lengths} tokens")
        return wall, first
