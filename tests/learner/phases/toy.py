"""A phase small enough to see through: a line fitted by noisy gradient steps."""

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from learner.config import EngineConfig
from learner.engine.backbone import Backbone
from learner.engine.hf import HfEngine
from learner.model_folder import ModelFolder
from learner.phases.optimiser import Optimiser, OptimiserConfig
from learner.phases.order import batch
from learner.phases.place import Place
from learner.phases.protocol import Aim, LoopConfig, PhaseState, Product, RunFacts
from learner.phases.run import PhaseRun
from learner.phases.run_record import PhaseOutcome
from learner.phases.world import World
from learner.prefixes import under
from storage.database import Store
from storage.folder import DataFolder
from storage.phases import PhaseLog
from storage.policy_registry import PolicyRegistry

CPU = EngineConfig(dtype="float32", device="cpu", max_prompt_tokens=256)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyConfig:
    seed: int = 0
    steps: int = 12
    optimiser: OptimiserConfig = field(
        default_factory=lambda: OptimiserConfig(learning_rate=0.1, weight_decay=0.01)
    )
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(evaluate_every=3, checkpoint_every=2)
    )


class ToyPhase:
    """``die_at`` kills this process before that step, or in ``publish`` at -1."""

    kind = "toy"
    data_sha256 = "d" * 64
    notes = ("two of three are left out",)

    def __init__(self, place: Place, config: ToyConfig, *, die_at: int | None = None) -> None:
        self.config = config
        self.steps = config.steps
        self.aims = (Aim(metric="error"),)
        self._place = place
        self._die_at = die_at
        self._weights = nn.Parameter(torch.zeros(1, 3))
        self._noise = torch.Generator().manual_seed(config.seed)
        self._optimiser = Optimiser([self._weights], config.optimiser, config.steps, place.world)
        self._x = torch.randn(20, 3, generator=torch.Generator().manual_seed(9))
        self._y = self._x @ torch.tensor([1.0, -2.0, 0.5])

    def step(self, number: int) -> dict[str, float]:
        if number == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        places = batch(number, count=20, size=6, seed=self.config.seed)
        jitter = torch.randn(6, generator=self._noise) + torch.rand(6)  # own and global
        loss = ((self._x[places] @ self._weights[0] - self._y[places] - 0.1 * jitter) ** 2).mean()
        loss.backward()
        return {"loss": loss.item()} | self._optimiser.step(number)

    def measure(self) -> dict[str, float]:
        with torch.no_grad():
            return {"error": float(((self._x @ self._weights[0] - self._y) ** 2).mean())}

    def state(self) -> PhaseState:
        moments = {f"adam.{name}": t for name, t in self._optimiser.tensors().items()}
        tensors = {"weights": self._weights.detach(), "noise": self._noise.get_state()}
        return PhaseState(tensors=tensors | moments, values=self._optimiser.values())

    def restore(self, state: PhaseState) -> None:
        with torch.no_grad():
            self._weights.copy_(state.tensors["weights"])
        self._noise.set_state(state.tensors["noise"])
        self._optimiser.restore(under("adam.", state.tensors), state.values)

    def publish(self, run: RunFacts) -> Product:
        folder = self._place.folder.root / f"line-{run.run_key[:8]}"
        folder.mkdir(exist_ok=True)
        (folder / "weights.txt").write_text(repr(self._weights.tolist()))
        if self._die_at == -1:
            os.kill(os.getpid(), signal.SIGKILL)
        return Product(accepted=True, reason="written", folder=folder)

    def close(self) -> None:
        pass


def open_place(root: Path, model: ModelFolder, config: EngineConfig = CPU) -> Place:
    folder = DataFolder(root)
    store = Store(folder.database)
    policies = PolicyRegistry(store, folder.rounds)
    return Place(
        folder=folder,
        store=store,
        policies=policies,
        phases=PhaseLog(store),
        model=model,
        engine=HfEngine(Backbone(model.path, config), config),
        parent=policies.current(),
        world=World(),
    )


def run_toy(root: Path, model: ModelFolder, config: ToyConfig, die_at: int | None) -> PhaseOutcome:
    place = open_place(root, model)
    with place.store:
        return PhaseRun(ToyPhase(place, config, die_at=die_at), place)()
