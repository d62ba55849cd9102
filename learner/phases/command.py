"""From settings to a finished run: what ``twofold train`` does, in one process or several."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from learner.build import load_engine
from learner.config import EngineConfig
from learner.engine.device import pick_device
from learner.model_folder import ModelFolder
from learner.phases.place import Place
from learner.phases.protocol import PhaseConfig, PhaseError, Watcher
from learner.phases.publish import delete_model_drafts
from learner.phases.registry import KINDS, PhaseKind
from learner.phases.run import PhaseRun
from learner.phases.run_record import PhaseOutcome
from learner.phases.settings import build
from learner.phases.world import World, join_world
from storage.base_models import settle
from storage.database import Store
from storage.folder import DataFolder
from storage.phases import PhaseLog
from storage.policy_registry import PolicyRegistry
from storage.records import BASE_VERSION, PolicyVersionId
from storage.rounds import sweep


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    kind: str
    given: Mapping[str, Any]
    """Settings as YAML and flags gave them."""
    data: Path
    model: ModelFolder
    engine: EngineConfig = field(default_factory=EngineConfig)
    parent: PolicyVersionId | None = None
    """The version to go on from; None: the one that speaks."""
    fresh: bool = False


def settings_of(kind: str, given: Mapping[str, Any]) -> PhaseConfig:
    """Raises PhaseError for a kind or a setting that there is not."""
    return build(kind_of(kind).config, given)


def begins_at_base(kind: str, given: Mapping[str, Any]) -> bool:
    """Whether a phase with these settings goes on from the base, whichever version speaks."""
    return kind_of(kind).from_base(settings_of(kind, given))


def kind_of(name: str) -> PhaseKind:
    if name not in KINDS:
        raise PhaseError(f"There is no phase {name}: choose one of {', '.join(KINDS)}.")
    return KINDS[name]


def train(request: TrainRequest, watchers: Sequence[Watcher] = ()) -> PhaseOutcome:
    """Run a phase, or go on with it. Raises LearnerError and StorageError.

    The main process holds the data folder as a server does; the others only read.
    """
    kind = kind_of(request.kind)
    config = build(kind.config, request.given)
    from_base = kind.from_base(config)
    if from_base and request.parent not in (None, BASE_VERSION):
        raise PhaseError(
            f"With these settings `twofold train {request.kind}` begins at the base's own weights: "
            f"leave --from {request.parent} out."
        )
    with ExitStack() as stack:
        folder = DataFolder(request.data)
        world = join_world(cpu=pick_device(request.engine.device).type == "cpu")
        store = stack.enter_context(open_folder(folder, world))
        settle(store, sha256=request.model.sha256, name=request.model.name)
        model = world_model(kind, config, request, folder, world)
        place = place_of(
            folder,
            store,
            model,
            engine=kind.engine(config, request.engine),
            world=world,
            parent=BASE_VERSION if from_base else request.parent,
        )
        phase = kind.build(place, config)
        return PhaseRun(phase, place, watchers=watchers, fresh=request.fresh)()


@contextmanager
def open_folder(folder: DataFolder, world: World) -> Generator[Store]:
    """Claim the folder, put it in order and open its database; other processes follow the main."""
    with ExitStack() as stack:
        if world.is_main:
            stack.enter_context(folder.claim())
            store = stack.enter_context(Store(folder.database))
            sweep(PolicyRegistry(store, folder.rounds))
            delete_model_drafts(folder)
            world.wait()
        else:
            world.wait()
            store = stack.enter_context(Store(folder.database))
        yield store


def world_model(
    kind: PhaseKind, config: PhaseConfig, request: TrainRequest, folder: DataFolder, world: World
) -> ModelFolder:
    """The model to begin with; where one is made, the main process makes it."""
    if world.is_main:
        kind.model(config, request.model, folder)
    world.wait()
    return kind.model(config, request.model, folder)


def place_of(
    folder: DataFolder,
    store: Store,
    model: ModelFolder,
    *,
    engine: EngineConfig,
    world: World,
    parent: PolicyVersionId | None = None,
) -> Place:
    """Everything a phase needs; ``parent`` None is the version that speaks."""
    policies = PolicyRegistry(store, folder.rounds)
    goes_on_from = policies.current() if parent is None else policies.get(parent)
    loaded = load_engine(model, engine)
    loaded.backbone.refer_to(policies.reference_of(goes_on_from))
    return Place(
        folder=folder,
        store=store,
        policies=policies,
        phases=PhaseLog(store),
        model=model,
        engine=loaded,
        parent=goes_on_from,
        world=world,
    )
