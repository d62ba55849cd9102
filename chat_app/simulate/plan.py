"""What is to be simulated, and how a run describes itself in its summary."""

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from chat_app.settings import Settings


class SimulatedAsk(StrEnum):
    """When the loop asks; a simulation that never asks would have nothing to learn from."""

    AUTO = "auto"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationPlan:
    rater: Path
    prompts: Path
    eval_prompts: Path | None
    """None takes prompts that come with twofold."""
    turns: int
    seed: int
    out: Path

    def __post_init__(self) -> None:
        if self.turns < 1:
            raise ValueError(f"turns must be positive, got {self.turns}")


def run_config(plan: SimulationPlan, settings: Settings, model_sha256: str) -> dict[str, Any]:
    """All that a run follows from, as plain JSON: two runs with equal configurations are equal.

    Files count by content, so the folder names where they lie leave no trace.
    """
    config = {
        "turns": plan.turns,
        "seed": plan.seed,
        "rater": _named(plan.rater),
        "prompts": _named(plan.prompts),
        "eval_prompts": _named(plan.eval_prompts) if plan.eval_prompts else "shipped",
        "model": {"spec": settings.model, "sha256": model_sha256},
        "learn": settings.learning.value,
        "ask": asdict(settings.ask),
        "engine": asdict(settings.engine),
        "online": asdict(settings.online),
    }
    return json.loads(json.dumps(config))  # tuples as the lists that they are read back as


def _named(path: Path) -> dict[str, str]:
    content = path.read_bytes() if path.is_file() else b""  # the reader of the file says what's up
    return {"name": path.name, "sha256": hashlib.sha256(content).hexdigest()}
