"""Files first, rows second: how finished folders become rows, and what a crash leaves behind."""

import errno
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from storage import manifest, rounds
from storage.errors import AdapterError, UnreadableError
from storage.manifest import FileSeal
from storage.records import BASE_VERSION, PolicyVersionId, RoundStatus
from tests.storage.builders import BASE_SHA256, World, leave, write_adapter
from tests.storage.faults import FAULTS, READABLE, UNREADABLE, WEIGHTS, flip


def test_finished_folders_become_rows_in_order_and_once(world: World) -> None:
    picks = [world.pick(), world.pick()]
    reports = [
        world.report(picks[:1], number=1),
        world.report(picks[1:], number=2, parent=1),
        world.report(number=3, parent=2, status=RoundStatus.REFUSED),
    ]
    for report in reversed(reports):
        world.leave(report)
    assert rounds.collect(world.policies) == reports
    assert rounds.collect(world.policies) == []
    assert world.policies.rounds_log() == reports
    assert world.policies.current().id == 2


@pytest.mark.parametrize("fault", READABLE)
def test_an_accepted_round_with_a_broken_adapter_is_recorded_as_failed(
    world: World, fault: str
) -> None:
    pick = world.pick()
    READABLE[fault](world.leave(world.report([pick])))
    [report] = rounds.collect(world.policies)
    assert (report.status, report.preference_ids) == (RoundStatus.FAILED, ())
    assert "r000001" in report.reason
    assert world.policies.rounds_log() == [report]
    assert world.policies.current().id == BASE_VERSION
    assert world.policies.attempted_through() == 0
    assert [one.id for one in world.feedback.unlearned()] == [pick]
    world.learn([pick])
    assert world.policies.current().id == 2


@pytest.mark.parametrize("fault", UNREADABLE)
def test_a_folder_that_cannot_be_believed_goes_to_the_trash(world: World, fault: str) -> None:
    pick = world.pick()
    UNREADABLE[fault](world.leave(world.report([pick])))
    assert rounds.collect(world.policies) == []
    assert not os.path.lexists(world.folder.rounds / "r000001")
    assert len(list((world.folder.rounds / "trash").iterdir())) == 1
    assert world.policies.rounds_log() == []
    assert world.policies.attempted_through() == 0
    world.learn([pick])
    assert world.policies.current().id == 1


def test_a_report_that_contradicts_the_rows_is_recorded_as_failed(world: World) -> None:
    learned, held_out = world.pick(), world.answer(world.ask(world.prompt(held_out=True)))
    world.learn([learned])
    for wrong in (learned, held_out.preference_id, 999):
        world.leave(world.report([wrong]))
        [report] = rounds.collect(world.policies)
        assert report.status is RoundStatus.FAILED
        assert world.policies.current().id == 1


def test_a_round_on_a_version_that_never_was_goes_to_the_trash(world: World) -> None:
    world.leave(world.report(number=9, parent=8))
    assert rounds.collect(world.policies) == []
    assert world.policies.next_round() == 1


def test_the_rounds_of_a_database_that_was_removed_are_not_taken_for_ours(world: World) -> None:
    pick = world.pick()
    folder = rounds.leave(
        world.folder.rounds,
        world.report([pick]),
        base_sha256=BASE_SHA256,
        config_json="{}",
        forgotten=0,
        write_adapter=write_adapter,
        clock=lambda: world.policies.get(BASE_VERSION).created_at.timestamp() - 1,
    )
    assert rounds.collect(world.policies) == []
    assert not folder.exists()
    assert world.policies.current().id == BASE_VERSION


def test_two_collectors_do_not_take_one_folder_for_a_clash(world: World) -> None:
    for number in range(1, 6):
        world.leave(world.report([world.pick()], number=number, parent=number - 1))
        with ThreadPoolExecutor(2) as pool:
            found = [*pool.map(rounds.collect, [world.policies] * 2)]
        assert sum(map(len, found)) == 1
        assert world.policies.current().id == number
        rounds.verify(world.folder.rounds / f"r{number:06d}")


def test_sweeping_clears_what_was_never_finished_and_collects_the_rest(world: World) -> None:
    pick = world.pick()
    finished = world.leave(world.report([pick]))
    for name in (".tmp-r000002-abc", ".tmp-r000002-def"):
        shutil.copytree(finished, world.folder.rounds / name)
    (world.folder.rounds / "r000002").mkdir()
    (world.folder.rounds / "r000002" / "report.json").write_text("{}")

    rounds.sweep(world.policies)

    assert world.policies.current().id == 1
    left = {path.name for path in world.folder.rounds.iterdir()} - {".collecting"}
    assert left == {"r000001", "trash"}
    assert len(list((world.folder.rounds / "trash").iterdir())) == 1, "drafts are no folders"
    rounds.sweep(world.policies)
    assert not (world.folder.rounds / "trash").exists()
    assert world.policies.current().id == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_serving_version_whose_folder_broke_is_replaced_at_the_next_start(
    world: World, fault: str
) -> None:
    picks = [world.pick(), world.pick()]
    world.learn(picks[:1])
    world.learn(picks[1:])
    FAULTS[fault](world.folder.rounds / "r000002")
    rounds.sweep(world.policies)
    assert world.policies.current().id == 1
    assert world.policies.servable() == [0, 1]
    assert [one.id for one in world.feedback.unlearned()] == picks[1:]


def test_a_sweep_goes_back_until_a_version_is_sound(world: World) -> None:
    for _ in range(4):
        world.learn([world.pick()])
    for number in (2, 3, 4):
        flip(world.folder.rounds / f"r00000{number}" / WEIGHTS)
    rounds.sweep(world.policies)
    assert world.policies.current().id == 1
    shutil.rmtree(world.folder.rounds / "r000001")
    rounds.sweep(world.policies)
    assert world.policies.current().id == BASE_VERSION


def test_a_sweep_taints_what_lacks_bytes_though_it_does_not_serve(world: World) -> None:
    for _ in range(3):
        world.learn([world.pick()])
    (world.folder.rounds / "r000001" / WEIGHTS).unlink()
    (world.folder.rounds / "r000002" / WEIGHTS).write_bytes(b"cut off")
    rounds.sweep(world.policies)
    assert world.policies.current().id == 3
    assert world.policies.servable() == [0, 3]
    rounds.sweep(world.policies)  # and leaves what is broken to the person
    assert (world.folder.rounds / "r000002" / WEIGHTS).exists()


def test_an_exchanged_folder_is_not_the_one_recorded(world: World) -> None:
    """Whole and valid in itself, but other weights than those that were judged."""
    world.learn([world.pick()])
    folder = world.folder.rounds / "r000001"
    report = rounds.read(folder)[0]
    shutil.rmtree(folder)
    leave(world.folder.rounds, report, lambda adapter: (adapter / "x.safetensors").write_text("x"))
    rounds.verify(folder)
    with pytest.raises(AdapterError, match="exchanged"):
        world.policies.verify(PolicyVersionId(1))
    rounds.sweep(world.policies)
    assert world.policies.current().id == BASE_VERSION


def cannot_be_read(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As a disk error or lost permissions have it; the tests' own user may read everything."""
    real = manifest.seal_of

    def refused(path: Path) -> FileSeal:
        if path.name == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path)

    monkeypatch.setattr(manifest, "seal_of", refused)


def test_a_version_that_cannot_be_read_now_is_left_and_may_come_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        world.learn([world.pick()])
    (world.folder.rounds / "r000002" / "adapter" / "lost").write_text("")  # damaged for good
    world.policies.activate(PolicyVersionId(1), reason="chosen")
    with monkeypatch.context() as disk:
        cannot_be_read(disk, "adapter_model.safetensors")
        rounds.sweep(world.policies)
        assert world.policies.current().id == BASE_VERSION
        with pytest.raises(UnreadableError, match="check the disk and the permissions"):
            world.policies.activate(PolicyVersionId(1), reason="chosen")
    assert world.policies.servable() == [0, 1], "what is damaged is put away, what is not is kept"
    world.policies.activate(PolicyVersionId(1), reason="chosen again")
    assert world.policies.current().id == 1


def test_where_no_version_can_be_read_the_base_speaks_and_all_may_come_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        world.learn([world.pick()])
    with monkeypatch.context() as disk:
        cannot_be_read(disk, "adapter_model.safetensors")
        rounds.sweep(world.policies)
    assert world.policies.current().id == BASE_VERSION
    assert world.policies.servable() == [0, 1, 2, 3]


def test_folders_that_are_away_at_one_start_may_come_back(world: World) -> None:
    """As where a backup is put back before the folders, or their disk is not mounted."""
    for _ in range(3):
        world.learn([world.pick()])
    world.policies.reject(PolicyVersionId(2), reason="rude")
    away = world.folder.root / "away"
    world.folder.rounds.rename(away)
    world.folder.rounds.mkdir()
    rounds.sweep(world.policies)
    assert world.policies.current().id == BASE_VERSION
    with pytest.raises(UnreadableError, match="put it back"):
        world.policies.activate(PolicyVersionId(3), reason="chosen")
    shutil.rmtree(world.folder.rounds)
    away.rename(world.folder.rounds)
    world.policies.activate(PolicyVersionId(3), reason="chosen again")
    rounds.sweep(world.policies)
    assert world.policies.current().id == 3
    assert world.policies.servable() == [0, 1, 3], "what was rejected stays so"


def test_where_the_rounds_refuse_a_look_no_folder_is_called_damaged(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.learn([world.pick()])

    def refused(path: Path) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "is_symlink", refused)
    with pytest.raises(UnreadableError):
        world.policies.verify(PolicyVersionId(1))


def test_a_folder_without_permission_is_not_taken_for_an_empty_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.learn([world.pick()])
    real = Path.iterdir

    def refused(path: Path):
        if path.name == "adapter":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path)

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(UnreadableError):
        rounds.verify(world.folder.rounds / "r000001")


def test_a_round_that_cannot_be_read_now_waits_and_is_spoken_of_once(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.leave(world.report([world.pick()]))
    with monkeypatch.context() as disk:
        cannot_be_read(disk, "adapter_model.safetensors")
        for _ in range(3):
            assert rounds.collect(world.policies) == []
    assert [one.getMessage() for one in caplog.records if "waits" in one.getMessage()] == [
        f"A round waits: {world.folder.rounds / 'r000001'} cannot be read (Permission denied): "
        "check the disk and the permissions."
    ]
    assert [one.number for one in rounds.collect(world.policies)] == [1]
    assert world.policies.current().id == 1


def test_a_round_of_another_database_goes_to_the_trash_whatever_the_time(world: World) -> None:
    leave(world.folder.rounds, world.report(), write_adapter, database="of another one")
    assert rounds.collect(world.policies) == []
    assert len(list((world.folder.rounds / "trash").iterdir())) == 1


def test_a_clock_that_was_ahead_when_the_folder_was_made_costs_no_round(tmp_path: Path) -> None:
    with made_in_the_future(tmp_path, days=1) as world:
        assert world.policies.get(BASE_VERSION).created_at > datetime.now(UTC)
        world.learn([world.pick()])
        assert world.policies.current().id == 1


@contextmanager
def made_in_the_future(root: Path, *, days: int) -> Iterator[World]:
    """A world whose database was made so many days from now."""
    with (world := World.open(root)).store, world.store.write() as db:
        trigger = "policy_versions_no_update"
        [(sql,)] = db.execute("SELECT sql FROM sqlite_schema WHERE name = ?", [trigger])
        db.execute(f"DROP TRIGGER {trigger}")
        db.execute("UPDATE policy_versions SET created_ms = created_ms + ?", [days * 86_400_000])
        db.execute(sql)
    with (world := World.open(root)).store:
        yield world
