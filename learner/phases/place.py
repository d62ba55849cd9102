"""Where a phase runs: the data folder, the model, the version it goes on from, the processes."""

from dataclasses import dataclass

from learner.engine.local import LocalEngine
from learner.model_folder import ModelFolder
from learner.phases.world import World
from storage.database import Store
from storage.folder import DataFolder
from storage.manifest import MANIFEST, round_folder, seal_of
from storage.phases import PhaseLog
from storage.policy_registry import PolicyRegistry
from storage.records import BASE_VERSION, PolicyVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Held by one command, which has claimed the folder; every process has one of its own."""

    folder: DataFolder
    store: Store
    policies: PolicyRegistry
    phases: PhaseLog
    model: ModelFolder
    engine: LocalEngine
    """Its base is ``model``; what trains is left in training on its backbone."""
    parent: PolicyVersion
    """The version whose adapter the phase goes on from."""
    world: World

    @property
    def parent_sha256(self) -> str:
        """Of the parent's weights, by its manifest; the base's are the model's own."""
        if self.parent.id == BASE_VERSION:
            return self.model.sha256
        return seal_of(round_folder(self.folder.rounds, self.parent.id) / MANIFEST).sha256
