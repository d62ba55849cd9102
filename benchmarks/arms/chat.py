"""R3 and R4, our side: a chat of eight turns, and a new version in the middle of things."""

import time
from threading import Event

from benchmarks.arms.ours import SAMPLING, engine_of, prompts_of, version_of
from benchmarks.arms.words import user_text
from storage.records import Message, Role, Sampling


class EightTurns:
    """Time to the first token of both candidates, turn by turn; its own replies go on the record.

    With ``swap`` a version never seen before is loaded ahead of every turn: inside the time, or, as
    the app does it, while the person still reads the reply before (``prepared``).
    """

    def __init__(
        self,
        model: str,
        loras: list[str],
        new_tokens: int,
        turns: int = 8,
        swap: bool = False,
        prepared: bool = False,
        engine: dict[str, object] | None = None,
    ) -> None:
        self._engine = engine_of(model, engine or {})
        self._loras, self._swap, self._turns = loras, swap, turns
        self._prepared = prepared
        self._sampling = Sampling(max_new_tokens=new_tokens, **SAMPLING)
        self._versions = 1
        self._engine.load(version_of(loras[0]))

    def round(self, number: int) -> dict[str, float]:
        prompt: list[Message] = []
        metrics: dict[str, float] = {}
        for turn in range(self._turns):
            if self._swap and self._prepared:
                began = time.perf_counter()
                self._next_version()
                if prompt:
                    self._engine.warm(prompt, self._sampling, Event())
                metrics[f"prepare_turn{turn + 1}_s"] = time.perf_counter() - began
            prompt.append(Message(role=Role.USER, content=user_text(number, turn)))
            began = time.perf_counter()
            if self._swap and not self._prepared:
                self._next_version()
            batch = self._engine.start(prompt, 2, self._sampling, number)
            batch.step()
            metrics[f"ttft_turn{turn + 1}_s"] = time.perf_counter() - began
            while batch.running:
                batch.step()
            prompt.append(Message(role=Role.ASSISTANT, content=batch.completions()[0].text))
        metrics["wall_s"] = sum(s for name, s in metrics.items() if name.startswith("ttft"))
        return metrics

    def _next_version(self) -> None:
        self._versions += 1
        lora = self._loras[self._versions % len(self._loras)]
        self._engine.load(version_of(lora, self._versions))


class Swap:
    """A new version: how long until it speaks, and what it does to the reply in flight."""

    def __init__(
        self,
        model: str,
        prompts: str,
        loras: list[str],
        new_tokens: int,
        engine: dict[str, object] | None = None,
    ) -> None:
        self._engine = engine_of(model, engine or {})
        self._loras, self._prompts = loras, prompts_of(prompts)
        self._sampling = Sampling(max_new_tokens=new_tokens, **SAMPLING)
        self._versions = 1
        self._engine.load(version_of(loras[0]))

    def round(self, number: int) -> dict[str, float]:
        prompt = self._prompts[number % len(self._prompts)]
        alone = self._tokens(self._engine.start(prompt, 2, self._sampling, number))
        steady = self._first_token(number + 1)
        flying = self._engine.start(prompt, 2, self._sampling, number)
        for _ in range(4):
            flying.step()
        began = time.perf_counter()
        self._versions += 1
        lora = self._loras[self._versions % len(self._loras)]
        self._engine.load(version_of(lora, self._versions))
        loaded = time.perf_counter() - began
        first = self._first_token(number + 2)
        other = self._engine.start(self._prompts[(number + 3) % 8], 2, self._sampling, number)
        while flying.running:  # two versions speak in turn
            flying.step()
            if other.running:
                other.step()
        kept = self._tokens(flying)
        rows = zip(alone, kept, strict=True)
        dropped = sum(a != b for x, y in rows for a, b in zip(x, y, strict=True))
        self._engine.load(version_of(self._loras[0]))
        return {
            "load_ms": 1000 * loaded,
            "swap_ms": 1000 * (loaded + max(0.0, first - steady)),
            "first_token_ms": 1000 * first,
            "changed_tokens": float(dropped),
        }

    def _first_token(self, number: int) -> float:
        prompt = self._prompts[number % len(self._prompts)]
        began = time.perf_counter()
        self._engine.start(prompt, 2, self._sampling, number).step()
        return time.perf_counter() - began

    def _tokens(self, batch) -> list[tuple[int, ...]]:  # noqa: ANN001
        while batch.running:
            batch.step()
        return [one.token_ids for one in batch.completions()]
