"""Which SQLite library, which settings, which errors; and whose file this is."""

import threading
from pathlib import Path

import pytest

from storage import sqlite
from storage.database import Reader, Store
from storage.errors import (
    BusyError,
    DamagedDatabaseError,
    DataFolderError,
    DiskFullError,
    ForeignDatabaseError,
    InvariantError,
    NewerDatabaseError,
    UnfitSqliteError,
)
from storage.migrations import SCHEMA_VERSION
from storage.records import Receipt
from storage.sqlite import fetch, open_writer, wal_is_safe
from tests.storage.builders import World


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False),  # Debian 12
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 52, 0), False),
        ((3, 53, 0), True),
        ((4, 0, 0), True),
    ],
)
def test_wal_is_used_only_where_its_reset_bug_is_fixed(version, safe) -> None:
    assert wal_is_safe(version) is safe


def test_the_linked_library_is_the_one_that_is_asserted() -> None:
    linked = sqlite.sqlite3.connect(":memory:")
    try:
        assert linked.execute("SELECT sqlite_version()").fetchone()[0] == (
            sqlite.sqlite3.sqlite_version
        )
    finally:
        linked.close()


@pytest.mark.parametrize("writes", [True, False])
def test_every_connection_has_the_settings_that_the_guarantees_rest_on(
    durable_world: World, writes: bool
) -> None:
    store = durable_world.store
    db = store._writer if writes else store.read()
    settings = {name: fetch(db, f"PRAGMA {name}")[0][0] for name in SETTINGS}
    assert settings == SETTINGS | ({"query_only": 0} if writes else {})


SETTINGS = {
    "journal_mode": "wal" if wal_is_safe(sqlite.sqlite3.sqlite_version_info) else "delete",
    "busy_timeout": 5000,
    "synchronous": 2,
    "foreign_keys": 1,
    "recursive_triggers": 1,
    "trusted_schema": 0,
    "cell_size_check": 1,
    "secure_delete": 1,
    "temp_store": 2,
    "query_only": 1,
    "application_id": sqlite.APPLICATION_ID,
    "user_version": SCHEMA_VERSION,
}


def test_without_the_fix_the_file_falls_back_to_a_rollback_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "wal_is_safe", lambda version: False)
    world = World.open(tmp_path)
    with world.store:
        assert fetch(world.store.read(), "PRAGMA journal_mode")[0][0] == "delete"
        world.pick()
        assert world.feedback.counts().waiting == 1


def test_a_setting_that_does_not_stick_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_ALWAYS", (("synchronous", 9),))
    with pytest.raises(UnfitSqliteError, match="synchronous"):
        open_writer(tmp_path / "some.db")


def test_a_reader_cannot_write(world: World) -> None:
    with pytest.raises(sqlite.sqlite3.OperationalError, match="readonly"):
        world.store.read().execute("DELETE FROM turns")
    world.store.read().execute("PRAGMA query_only = 0")
    with pytest.raises(sqlite.sqlite3.OperationalError, match="readonly"):
        world.store.read().execute("DELETE FROM turns")


def test_a_foreign_database_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    theirs = sqlite.sqlite3.connect(path)
    theirs.execute("CREATE TABLE recipes (name)")
    theirs.commit()
    theirs.close()
    before = path.read_bytes()
    for open_it in (Store, lambda path: Reader(path).read()):
        with pytest.raises(ForeignDatabaseError, match="another folder"):
            open_it(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "letter.db"
    path.write_bytes(b"Dear database, " * 1000)
    with pytest.raises(ForeignDatabaseError):
        Store(path)
    assert path.read_bytes() == b"Dear database, " * 1000


def test_a_file_of_a_newer_twofold_is_refused(root: Path) -> None:
    writer = open_writer(root / "twofold.db")
    writer.execute("PRAGMA user_version = 99")
    writer.close()
    for open_it in (Store, lambda path: Reader(path).read()):
        with pytest.raises(NewerDatabaseError, match="update twofold"):
            open_it(root / "twofold.db")


def test_a_reader_of_a_file_that_is_missing_or_not_ready_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataFolderError, match="start twofold"):
        Reader(tmp_path / "none.db").read()
    open_writer(tmp_path / "empty.db").close()
    with pytest.raises(DataFolderError, match="not up to date"):
        Reader(tmp_path / "empty.db").read()
    assert not (tmp_path / "none.db").exists()


def test_a_garbled_page_is_found_at_start(root: Path) -> None:
    path = root / "twofold.db"
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 4] = b"\xff" * 4096
    path.write_bytes(content)
    with pytest.raises(DamagedDatabaseError, match="backup"):
        Store(path)


def test_an_orphan_row_is_found_at_start(root: Path) -> None:
    writer = open_writer(root / "twofold.db")
    writer.execute("PRAGMA foreign_keys = 0")
    writer.execute("INSERT INTO preference_flags VALUES (1, 77, 'burst', 0)")
    writer.close()
    with pytest.raises(DamagedDatabaseError, match="preference_flags"):
        Store(root / "twofold.db")


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataFolderError, match="choose another folder"):
        Store(tmp_path / "file" / "twofold.db")


def fill(world: World) -> None:
    """Make SQLite report a full disk at the next page it needs, exactly as a full disk does."""
    with world.store.write() as db:
        db.execute(f"PRAGMA max_page_count = {fetch(db, 'PRAGMA page_count')[0][0]}")


def test_a_full_disk_saves_nothing_and_the_store_works_again_afterwards(world: World) -> None:
    turn = world.prompt()
    kept: list[str] = ["hello"]

    def talk() -> None:
        for number in range(10_000):
            text = f"message {number} " + "x" * 200
            world.log.say(turn.conversation_id, text)
            kept.append(text)

    fill(world)
    with pytest.raises(DiskFullError, match="free some space"):
        talk()
    assert [turn.message.content for turn in world.log.path(turn.conversation_id)] == kept
    with world.store.write() as db:
        db.execute("PRAGMA max_page_count = 1000000")
    world.pick()
    world.feedback.verify_chain()


def test_on_a_full_disk_every_receipt_is_stored_whole_and_nothing_else_is(world: World) -> None:
    receipts: list[Receipt] = []

    def ask_and_answer() -> None:
        while True:
            receipts.append(world.answer(world.ask()))

    fill(world)
    with pytest.raises(DiskFullError):
        ask_and_answer()
    stored = world.feedback.preferences()
    assert [answer.id for answer in stored] == [receipt.preference_id for receipt in receipts]
    shown = [world.log.path(answer.comparison.conversation_id)[-1] for answer in stored]
    assert [turn.candidate_id for turn in shown] == [answer.chosen.id for answer in stored]
    world.feedback.verify_chain()


def test_a_lock_held_by_somebody_else_is_waited_for_and_then_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.store._writer.execute("PRAGMA busy_timeout = 50")
    other = open_writer(world.store.path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(BusyError, match="Another program"):
        world.pick()
    world.store._writer.execute("PRAGMA busy_timeout = 5000")
    threading.Timer(0.1, lambda: other.execute("ROLLBACK")).start()
    world.pick()  # waits
    other.close()


def test_a_rule_of_the_schema_is_told_as_an_invariant(world: World) -> None:
    with (
        pytest.raises(InvariantError, match="pointer cannot be deleted"),
        world.store.write() as db,
    ):
        db.execute("DELETE FROM active_pointer")
