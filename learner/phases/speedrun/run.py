"""Base, pretraining, fine-tuning, reward model, PPO, live: each phase on what the one before made.

The phases are run as ``twofold train`` runs them and know nothing of each other; what passes
between them are versions of one data folder and the reward model's folder.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from learner.config import EngineConfig
from learner.model_folder import ModelFolder
from learner.phases.command import TrainRequest, begins_at_base, open_folder, place_of, train
from learner.phases.protocol import PhaseError, Watcher
from learner.phases.run_record import PhaseOutcome
from learner.phases.settings import merged
from learner.phases.speedrun.material import Material, prepare, read_rows
from learner.phases.speedrun.measure import measured_once
from learner.phases.speedrun.plan import Plan
from learner.phases.speedrun.rater import WordRater
from learner.phases.world import World
from storage.folder import DataFolder
from storage.records import BASE_VERSION, PolicyVersionId

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedrunResult:
    plan: str
    model: str
    outcomes: Mapping[str, PhaseOutcome]
    figures: Mapping[str, dict[str, Any]]
    """Of the base and of the version each phase made."""
    rater: Mapping[str, Any]
    """The rater's own accuracy, and whom it prefers."""


def speedrun(
    plan: Plan,
    *,
    shared: Path,
    data: Path,
    model: ModelFolder,
    engine: EngineConfig,
    watchers: Sequence[Watcher],
    say: Say,
) -> SpeedrunResult:
    """Run all phases, or go on with them, and measure what each made. Raises LearnerError."""
    folder = DataFolder(data)
    material = prepare(shared, data / "speedrun")
    request = TrainRequest(kind="", given={}, data=data, model=model, engine=engine)
    outcomes: dict[str, PhaseOutcome] = {}

    def run(kind: str, given: Mapping[str, Any]) -> PhaseOutcome:
        say(f"--- {kind} ---")
        settings = merged(given, plan.phases[kind])
        parent = BASE_VERSION if begins_at_base(kind, settings) else _newest(outcomes)
        outcome = train(replace(request, kind=kind, given=settings, parent=parent), watchers)
        if not outcome.accepted:
            raise PhaseError(f"The speedrun ends with {kind}: {outcome.reason}.")
        outcomes[kind] = outcome
        return outcome

    run("pretrain", {"files": [str(material.texts)], "make_live": True})
    run("sft", {"files": [str(material.dialogues)], "stored": False, "make_live": True})
    reward = run("reward", {"files": [str(material.pairs)], "stored": False})
    run(
        "ppo",
        {
            "reward": [str(reward.folder)],
            "prompts": [str(material.prompts)],
            "demonstrations": [str(material.dialogues)],
            "stored": False,
            "make_live": True,
        },
    )
    figures = _measure(plan, folder, material, request, outcomes, say)
    return SpeedrunResult(
        plan=plan.name,
        model=model.name,
        outcomes=outcomes,
        figures=figures,
        rater=_rated(material, figures),
    )


def _newest(outcomes: Mapping[str, PhaseOutcome]) -> PolicyVersionId:
    """The version the last phase made; named, so that a finished phase is found by its key."""
    made = [one.version for one in outcomes.values() if one.version is not None]
    return made[-1] if made else BASE_VERSION


def _measure(
    plan: Plan,
    folder: DataFolder,
    material: Material,
    request: TrainRequest,
    outcomes: Mapping[str, PhaseOutcome],
    say: Say,
) -> dict[str, dict[str, Any]]:
    world = World()
    figures: dict[str, dict[str, Any]] = {}
    made = {kind: one.version for kind, one in outcomes.items() if one.version is not None}
    with open_folder(folder, world) as store:
        place = place_of(folder, store, request.model, engine=request.engine, world=world)
        for name, version in {"base": BASE_VERSION, **made}.items():
            say(f"--- measuring {name} (version {version}) ---")
            path = folder.root / "speedrun" / f"measured-{plan.name}-{version}.json"
            figures[name] = measured_once(
                path, place.engine, place.policies.get(version), material, plan.measure
            )
    return figures


def _rated(material: Material, figures: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Neighbouring versions compared by a rater that is no reward model."""
    rater = WordRater(_pairs(material.rater_pairs))
    unseen = _pairs(material.pairs)
    matched = [p for p in unseen if 1 / 1.1 <= max(1, len(p[0])) / max(1, len(p[1])) <= 1.1]
    said: dict[str, Any] = {
        "accuracy": rater.accuracy(unseen),
        "pairs": len(unseen),
        "length_matched_accuracy": rater.accuracy(matched) if matched else None,
        "length_matched_pairs": len(matched),
        "wins": {},
    }
    for newer, older in (("pretrain", "base"), ("sft", "base"), ("ppo", "sft")):
        if newer in figures and older in figures:
            texts = [[row["reply"] for row in figures[name]["replies"]] for name in (newer, older)]
            share, low, high = rater.win_rate(*texts)
            said["wins"][f"{newer} over {older}"] = {
                "share": share,
                "low": low,
                "high": high,
                "prompts": len(texts[0]),
            }
    return said


def _pairs(path: Path) -> list[tuple[str, str]]:
    """Chosen and rejected replies; defective rows are left out."""
    sides = [(row["chosen"].strip(), row["rejected"].strip()) for row in read_rows(path)]
    return [(a, b) for a, b in sides if a and b and a != b]
