"""One writer, a reader per thread, and a schema that appears whole or not at all."""

import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count as counting
from multiprocessing.context import BaseContext
from pathlib import Path

import pytest
from filelock import FileLock

from storage import database, migrations, rounds
from storage.conversations import ConversationLog
from storage.database import Reader, Store
from storage.demonstrations import DemonstrationLog
from storage.dialogues import DialogueLog
from storage.errors import DataFolderError
from storage.records import Purpose
from storage.sqlite import fetch, open_writer
from tests.storage.builders import World
from tests.storage.children import open_together, say_and_die


def count(reader: Reader, table: str) -> int:
    return reader.read().table(table).count


def test_a_new_folder_is_private_to_its_owner(tmp_path: Path) -> None:
    with Store(tmp_path / "deep" / "data" / "twofold.db"):
        assert (tmp_path / "deep" / "data").stat().st_mode & 0o777 == 0o700


def test_what_raises_leaves_nothing_behind(world: World) -> None:
    conversation = world.start()

    def half() -> None:
        with world.store.write() as db:
            db.execute("UPDATE conversations SET title = 'half'")
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert world.log.get(conversation.id).title == ""
    world.pick()


def test_a_transaction_inside_a_transaction_fails_and_undoes_both(world: World) -> None:
    conversation = world.start()

    def nested() -> None:
        with world.store.write() as db:
            db.execute("UPDATE conversations SET title = 'half'")
            world.log.say(conversation.id, "inside")

    with pytest.raises(Exception, match="within a transaction"):
        nested()
    assert world.log.get(conversation.id).title == ""
    assert world.log.path(conversation.id) == []


def test_readers_see_what_was_committed_and_nothing_else(world: World) -> None:
    world.store.read()
    conversation = world.start()
    with world.store.write() as db:
        db.execute("UPDATE conversations SET title = 'not yet'")
        with ThreadPoolExecutor() as pool:
            assert pool.submit(world.log.get, conversation.id).result().title == ""
        assert world.log.get(conversation.id).title == ""
    assert world.log.get(conversation.id).title == "not yet"


def test_many_threads_write_and_read_without_an_error(world: World) -> None:
    conversations = [world.start() for _ in range(4)]

    def talk(conversation) -> int:
        for number in range(25):
            world.log.say(conversation.id, str(number))
            world.log.path(conversation.id)
        return len(world.log.path(conversation.id))

    with ThreadPoolExecutor(len(conversations)) as pool:
        assert list(pool.map(talk, conversations)) == [25] * 4


def test_two_stores_on_one_file_take_turns(world: World) -> None:
    """As a command beside the running app: what reads before it writes must not be overtaken."""
    conversation = world.start()
    with Store(world.store.path) as store:
        logs = [world.log, ConversationLog(store)] * 2

        def talk(log: ConversationLog) -> None:
            for number in range(25):
                log.say(conversation.id, str(number))

        with ThreadPoolExecutor(len(logs)) as pool:
            list(pool.map(talk, logs))
    assert len(world.log.path(conversation.id)) == 25 * len(logs)


def test_the_connections_of_threads_that_ended_are_closed(world: World) -> None:
    for _ in range(5):
        thread = threading.Thread(target=world.store.read)
        thread.start()
        thread.join()
    world.store.read()
    assert len(world.store._all) <= 2


def test_a_closed_reader_opens_again_when_it_is_used(world: World) -> None:
    with Reader(world.store.path) as reader:
        assert count(reader, "users") == 1
        reader.close()
        assert count(reader, "users") == 1


def test_the_last_one_out_leaves_one_file(root: Path) -> None:
    world = World.open(root)
    with world.store:
        world.pick()
    assert sorted(path.name for path in root.glob("twofold.db*")) == [
        "twofold.db",
        "twofold.db.migrating",
    ]


def test_a_reader_finds_everything_after_a_writer_that_was_cut_off(
    processes: BaseContext, root: Path
) -> None:
    """The log of a killed writer is still there; a read-only connection replays it."""
    child = processes.Process(target=say_and_die, args=(root, "last words"))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    with Reader(root / "twofold.db") as reader:
        assert fetch(reader.read(), "SELECT body FROM texts")[0][0] == "last words"


def test_a_connection_is_refused_after_a_fork(world: World, monkeypatch) -> None:
    world.store.read()
    monkeypatch.setattr(database.os, "getpid", lambda: -1)  # what a forked child would see
    with pytest.raises(RuntimeError, match="fork"):
        world.store.read()
    with pytest.raises(RuntimeError, match="fork"), world.store.write():
        pass


def test_three_processes_open_new_folders_at_once(processes: BaseContext, tmp_path: Path) -> None:
    barrier = processes.Barrier(3)
    roots = [tmp_path / name for name in "abcdef"]
    children = [processes.Process(target=open_together, args=(roots, barrier)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0, 0]
    for root in roots:
        with Reader(root / "twofold.db") as reader:
            assert count(reader, "texts") == 3
            assert count(reader, "users") == count(reader, "active_pointer") == 1
            assert count(reader, "_sqlite_migrations") == migrations.SCHEMA_VERSION


def test_a_migration_that_fails_leaves_an_empty_file_that_can_be_opened_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "twofold.db"
    schema = tmp_path / "schema"
    schema.mkdir()
    good = (migrations._SCHEMA / "m001.sql").read_text()
    (schema / "m001.sql").write_text(good + "\nINSERT INTO nowhere VALUES (1);")
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "_SCHEMA", schema)
        with pytest.raises(Exception, match="nowhere"):
            Store(path)
    db = open_writer(path)
    assert fetch(db, "SELECT name FROM sqlite_master") == []
    db.close()
    with Store(path) as store:
        assert count(store, "users") == 1


def test_a_migration_that_never_ends_elsewhere_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "MIGRATION_TIMEOUT_S", 0.1)
    path = tmp_path / "twofold.db"
    with FileLock(f"{path}.migrating"), pytest.raises(DataFolderError, match="Another twofold"):
        Store(path)


def test_opening_an_existing_store_changes_no_row(root: Path) -> None:
    def dump() -> dict[str, list[dict]]:
        with Reader(root / "twofold.db") as reader:
            return {table.name: list(table.rows) for table in reader.read().tables}

    before = dump()
    Store(root / "twofold.db").close()
    assert dump() == before


def test_the_clock_of_the_store_is_the_one_given(tmp_path: Path) -> None:
    with Store(tmp_path / "twofold.db", clock=lambda: 1.5) as store:
        assert store.now_ms() == 1500


ENDING = """
import sys, threading
from pathlib import Path
from storage.database import Reader, Store

path = Path(sys.argv[1])
Store(path).close()
COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) "
for _ in range(5):
    reader, begun, said = Reader(path), threading.Event(), []

    def read():
        db = reader.read()
        begun.set()
        said.append(db.execute(COUNT + "SELECT count(*) FROM n").fetchone()[0])

    thread = threading.Thread(target=read)
    thread.start()
    begun.wait()
    reader.close()
    thread.join()
    assert said == [300000], said
"""


def test_the_app_may_end_while_a_page_is_being_read(tmp_path):
    """In a process of its own: closing a connection under its reader ends the process."""
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", ENDING, str(tmp_path / "twofold.db")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_connections_that_nobody_reads_from_are_closed_at_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "twofold.db")
    opened, over = threading.Event(), threading.Event()

    def idle() -> None:
        count(store, "turns")
        opened.set()
        over.wait()

    thread = threading.Thread(target=idle)
    thread.start()
    opened.wait()
    store.close()
    left = list(tmp_path.glob("*-wal"))  # the last one out folds it in
    over.set()
    thread.join()
    assert left == []


def test_time_never_runs_back(tmp_path: Path) -> None:
    """What came first, and who had seen it, is read from times."""
    with (world := World.open(tmp_path)).store:
        world.prompt()
        said = world.store.now_ms()
    behind = counting(said / 1000 - 7200)  # the clock was set back by two hours
    with Store(tmp_path / "twofold.db", clock=lambda: next(behind)) as store:
        times = [store.now_ms() for _ in range(3)]
        assert said - 1000 < times[0] < times[1] < times[2] < said + 1000


def test_a_finished_dialogue_is_never_younger_than_what_comes_later(tmp_path: Path) -> None:
    with (world := World.open(tmp_path)).store:
        chat = world.start(purpose=Purpose.TEACHING)
        prompt = world.log.say(chat.id, "hello")
        DemonstrationLog(world.store).reply(prompt.id, "my words")
    ahead = counting(time.time() + 7200)
    with Store(tmp_path / "twofold.db", clock=lambda: next(ahead)) as store:
        DialogueLog(store).finish(chat.id)
        finished = store.now_ms()
    with Store(tmp_path / "twofold.db") as store:  # and the clock is set right again
        assert store.now_ms() > finished - 1000


@pytest.mark.parametrize("how", ["missing", "empty"])
def test_no_database_is_begun_beside_the_versions_of_one_that_is_gone(
    tmp_path: Path, how: str
) -> None:
    with (world := World.open(tmp_path)).store:
        world.learn([world.pick()])
    kept = tmp_path / "aside.db"
    (tmp_path / "twofold.db").rename(kept)
    for rest in tmp_path.glob("twofold.db-*"):
        rest.unlink()
    if how == "empty":
        (tmp_path / "twofold.db").touch()
    for _ in range(2):
        with pytest.raises(DataFolderError, match="missing, or empty, but the versions"):
            Store(tmp_path / "twofold.db")
    kept.rename(tmp_path / "twofold.db")
    with (world := World.open(tmp_path)).store:
        rounds.sweep(world.policies)
        assert world.policies.current().id == 1
