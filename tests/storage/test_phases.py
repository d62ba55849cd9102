"""Runs of training phases in the database, and versions that do not go live by themselves."""

import json
from pathlib import Path

import pytest

from storage import rounds
from storage.errors import InvariantError
from storage.manifest import seal_of
from storage.phases import PhaseEnd, PhaseLog, PhaseStart, PhaseStatus
from storage.records import BASE_VERSION, PreferenceId, RoundReport, RoundStatus
from tests.storage.builders import BASE_SHA256, World

START = PhaseStart(
    run_key="a" * 64,
    kind="sft",
    parent=BASE_VERSION,
    base_sha256=BASE_SHA256,
    data_sha256="c" * 64,
    config={"seed": 3, "loop": {"patience": 2}},
    seed=3,
)
DONE = PhaseEnd(status=PhaseStatus.FINISHED, product="/somewhere", reason="well", seconds=1.5)


@pytest.fixture
def phases(world: World) -> PhaseLog:
    return PhaseLog(world.store)


def test_a_run_is_found_by_its_key_until_it_is_abandoned(phases: PhaseLog) -> None:
    run = phases.begin(START)
    found = phases.find(START.run_key)
    assert found is not None
    assert (found.id, found.start, found.status, found.end) == (run, START, "open", None)
    assert phases.find("b" * 64) is None
    phases.end(run, PhaseEnd(status=PhaseStatus.ABANDONED, reason="begun afresh", seconds=0.0))
    assert phases.find(START.run_key) is None
    again = phases.begin(START)
    phases.end(again, DONE)
    found = phases.find(START.run_key)
    assert found is not None and (found.id, found.end) == (again, DONE)
    assert [one.id for one in phases.runs()] == [run, again]


def test_a_run_ends_once_and_never_as_open(phases: PhaseLog) -> None:
    run = phases.begin(START)
    with pytest.raises(ValueError, match="finished or abandoned"):
        phases.end(run, PhaseEnd(status=PhaseStatus.OPEN, reason="", seconds=0.0))
    phases.end(run, DONE)
    with pytest.raises(InvariantError):
        phases.end(run, DONE)


def test_a_step_taken_again_replaces_its_metrics(phases: PhaseLog) -> None:
    run, other = phases.begin(START), phases.begin(START)
    phases.record(run, {1: {"loss": 2.0, "norm": 0.5}, 2: {"loss": 1.0}})
    phases.record(run, {2: {"loss": 1.5}, 3: {"loss": 1.25}})
    assert phases.metrics(run) == {"loss": [(1, 2.0), (2, 1.5), (3, 1.25)], "norm": [(1, 0.5)]}
    assert phases.metrics(other) == {}


def fill(folder: Path) -> None:
    (folder / "weights").write_bytes(b"w")


def leave(world: World, *, goes_live: bool, run_id: int = 1) -> RoundReport:
    report = RoundReport(
        number=world.policies.next_round(),
        parent=world.policies.current().id,
        status=RoundStatus.ACCEPTED,
        preference_ids=(),
        attempted_through=PreferenceId(0),
        update_rule="sft",
        seed=0,
        reason="all checks held",
        metrics={},
        seconds=0.0,
        goes_live=goes_live,
    )
    rounds.leave(
        world.folder.rounds,
        report,
        base_sha256=BASE_SHA256,
        config_json=json.dumps({"run_key": "a" * 64, "run_id": run_id}),
        forgotten=0,
        write_adapter=fill,
    )
    return report


def test_a_candidate_waits_until_a_person_chooses_it(world: World) -> None:
    report = leave(world, goes_live=False)
    assert [one.number for one in rounds.collect(world.policies)] == [1]
    assert world.policies.current().id == BASE_VERSION
    assert world.policies.servable() == [0, 1]
    world.policies.activate(report.version, reason="chosen")
    assert world.policies.current().id == 1


def test_the_version_of_a_run_is_found_again(world: World) -> None:
    assert world.policies.version_of_run(1) is None
    for run_id, goes_live in ((1, True), (2, False), (3, False)):
        leave(world, goes_live=goes_live, run_id=run_id)
        rounds.collect(world.policies)
    assert world.policies.version_of_run(2) == 2
    assert world.policies.current().id == 1


def test_a_folder_from_before_candidates_goes_live(world: World) -> None:
    leave(world, goes_live=True)
    path = world.folder.rounds / "r000001" / "report.json"
    said = json.loads(path.read_text())
    del said["goes_live"]
    path.write_text(json.dumps(said, indent=1))
    manifest = path.with_name("MANIFEST.json")
    sealed = json.loads(manifest.read_text())
    seal = seal_of(path)
    sealed["files"]["report.json"] = {"size": seal.size, "sha256": seal.sha256}
    manifest.write_text(json.dumps(sealed, indent=1))
    [report] = rounds.collect(world.policies)
    assert report.status is RoundStatus.ACCEPTED and report.goes_live
    assert world.policies.current().id == 1
