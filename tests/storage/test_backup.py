"""A backup is whole or it is not there, and why not is a sentence."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier, Event, Thread

import pytest

from storage import backup
from storage.backup import back_up
from storage.database import Store
from storage.errors import DataFolderError, DiskError, DiskFullError
from storage.pick_list import PickFilter, PickReader
from storage.records import Completion
from tests.storage.builders import World, completion


@pytest.fixture
def big(world: World) -> World:
    """Some megabytes, so that a copy takes more than one portion."""
    turn = world.prompt()
    for number in range(10):
        world.log.reply(turn.id, _long(number))
    world.pick()
    return world


def _long(number: int) -> Completion:
    return completion(f"{number}" + "y" * 500_000)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file of this process may grow beyond ``size``."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_gives_up_is_a_sentence_and_nothing_is_left(big: World) -> None:
    with files_of_at_most(1_000_000), pytest.raises(DiskError, match="refused to read or write"):
        back_up(big.store.path, big.folder.backups)
    assert list(big.folder.backups.iterdir()) == []


def test_a_full_disk_is_a_sentence_and_nothing_is_left(
    big: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = backup.sqlite3.connect

    def on_a_full_disk(path, *args, **options):
        made = connect(path, *args, **options)
        if str(path).endswith(".part"):
            made.execute("PRAGMA max_page_count = 100")
        return made

    monkeypatch.setattr(backup.sqlite3, "connect", on_a_full_disk)
    with pytest.raises(DiskFullError, match="free some space"):
        back_up(big.store.path, big.folder.backups)
    assert list(big.folder.backups.iterdir()) == []


def test_a_backup_ends_while_the_app_writes_on(big: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each commit begins a copy in portions anew."""
    monkeypatch.setattr(backup, "PAGES_AT_ONCE", 10)
    done = Event()

    def write_on() -> None:
        while not done.is_set():
            world_writes()

    def world_writes() -> None:
        with big.store.write() as db:
            db.execute("UPDATE conversations SET title = title || '.'")

    writer = Thread(target=write_on)
    writer.start()
    try:
        made = back_up(big.store.path, big.folder.backups)
    finally:
        done.set()
        writer.join()
    assert made.is_file()


def test_two_backups_in_one_second_are_both_whole(
    big: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "PAGES_AT_ONCE", 50)
    together, now = Barrier(2), datetime(2026, 11, 22, tzinfo=UTC)
    made: list[Path] = []

    def run() -> None:
        together.wait()
        made.append(back_up(big.store.path, big.folder.backups, now=now))

    threads = [Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 2
    assert [path.name for path in big.folder.backups.iterdir()] == ["twofold-20261122-000000.db"]
    with Store(made[0]) as copy:
        assert PickReader(copy).count(PickFilter()) == 1


@pytest.mark.parametrize("name", ["file", "file/in", "n" * 300])
def test_a_place_that_cannot_be_is_a_sentence(world: World, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataFolderError, match="cannot be written"):
        back_up(world.store.path, tmp_path / name)
