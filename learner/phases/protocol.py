"""What the runner and a phase know of each other; the package's docstring has the rules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from learner.errors import LearnerError
from storage.records import PolicyVersionId


class PhaseError(LearnerError):
    """A phase cannot be run as asked; the text is one sentence that says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """The runner's own settings; every phase's settings have them as ``loop``."""

    evaluate_every: int = 50
    """Steps between two measurements on held-out data; 0 measures before and after only."""
    checkpoint_every: int = 50
    """Steps between two checkpoints, which is how many a kill can cost."""
    patience: int = 3
    """Measurements in a row without improvement after which the run stops; 0 never stops."""

    def __post_init__(self) -> None:
        for name in ("evaluate_every", "patience"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.checkpoint_every < 1:
            raise ValueError(f"checkpoint_every must be positive, got {self.checkpoint_every}")


MAX_SEED = 2**32 - 1
"""Seeds of single steps are a million times as large, and generators take 64 bits."""


def check_seed(seed: int) -> None:
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed must lie between 0 and {MAX_SEED}, got {seed}")


def check_extent(epochs: float, max_steps: int | None) -> None:
    if epochs <= 0:
        raise ValueError(f"epochs must be positive, got {epochs}")
    if max_steps is not None and max_steps < 0:
        raise ValueError(f"max_steps must not be negative, got {max_steps}")


@runtime_checkable
class PhaseConfig(Protocol):
    """A frozen dataclass of plain values; nested ones too (``settings.py`` reads them)."""

    @property
    def seed(self) -> int: ...
    @property
    def loop(self) -> LoopConfig: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseState:
    """All that a phase's next step depends on. ``values`` are plain enough for JSON."""

    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """A measurement that says whether a run still gets better."""

    metric: str
    higher_is_better: bool = False
    slack: float | None = None
    """How far this may be from its best where another aim chooses the weights that are kept; None:
    this aim chooses them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What publishing came to. Not accepted: nothing was kept but the checkpoint."""

    accepted: bool
    reason: str
    version: PolicyVersionId | None = None
    folder: Path | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What a phase is told of its run when it publishes."""

    run_id: int
    """Of this very run; one of the same key that was begun afresh has another."""
    run_key: str
    config_json: str
    """For ``rounds.config_json``: kind, run, run key, settings, and the gate's under ``gate``."""
    seconds: float
    """Spent training, interruptions left out."""
    metrics: Mapping[str, float]
    """The last of each, and ``before.NAME`` of each measurement before the first step."""


@runtime_checkable
class Phase(Protocol):
    kind: str
    """pretrain, sft, reward or ppo: what the version's ``update_rule`` will say."""
    config: PhaseConfig
    data_sha256: str
    """Of everything it trains and measures on."""
    steps: int
    """At most so many; 0 is allowed and publishes what there is."""
    aims: Sequence[Aim]
    """What early stopping watches; none: all steps are taken and the last weights kept."""
    notes: Sequence[str]
    """What a person should know of the data before the first step: what was left out, and why."""

    def step(self, number: int) -> dict[str, float]:
        """Take optimiser step ``number``, counted from 0; returns finite metrics."""
        ...

    def measure(self) -> dict[str, float]:
        """Measure on held-out data; the aims' metrics must be among what is returned."""
        ...

    def state(self) -> PhaseState: ...
    def restore(self, state: PhaseState) -> None: ...

    def publish(self, run: RunFacts) -> Product:
        """Turn the weights as they are now into a version or a folder, once per run key."""
        ...

    def close(self) -> None:
        """Give back what was held on the engine."""
        ...


@runtime_checkable
class Watcher(Protocol):
    """Is told how a run goes: a progress bar, TensorBoard. Never decides anything."""

    def began(self, kind: str, step: int, steps: int) -> None: ...
    def noted(self, line: str) -> None: ...
    def stepped(self, step: int, metrics: Mapping[str, float]) -> None: ...
    def measured(self, step: int, metrics: Mapping[str, float]) -> None: ...
    def ended(self, line: str) -> None: ...
    def close(self) -> None:
        """However the run ended: nothing is left on the screen, or open."""
        ...
