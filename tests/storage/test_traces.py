"""What is left of a deleted chat, in the rows and in the files."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlite_utils import Database

from storage import database
from storage.logs import Logs
from storage.records import ConversationId, Label, Note, Strength, Thumb
from storage.sqlite import check_sound, fetch, open_reader
from tests.storage.builders import QUESTION, World, completion


@pytest.fixture
def logs(world: World) -> Logs:
    return Logs.over(world.store, world.folder.rounds)


@pytest.fixture
def chat(world: World, logs: Logs) -> ConversationId:
    """With all that a person can say of it."""
    turn = logs.conversations.say(world.start().id, "canary of mine")
    pair = logs.conversations.ask(
        turn.id, completion("canary one"), completion("canary two"), QUESTION
    )
    note = Note(strength=Strength.CLEARLY, reasons=("too_long",), comment="canary of why")
    logs.opinions.annotate(world.answer(pair).preference_id, note)
    reply = logs.conversations.path(turn.conversation_id)[-1]
    logs.opinions.rate(reply.id, Thumb.DOWN)
    logs.labels.label(reply.id, [Label.UNSAFE])
    logs.demonstrations.edit(reply.id, "canary edited")
    return turn.conversation_id


@pytest.fixture
def outsider(world: World, chat: ConversationId) -> Iterator[Database]:
    """Another program that is reading since before the chat was deleted."""
    other = open_reader(world.store.path)
    other.execute("BEGIN")
    fetch(other, "SELECT count(*) FROM turns")
    yield other
    other.close()


def files_with(world: World, word: str) -> list[str]:
    return sorted(
        path.name
        for path in world.folder.root.glob("twofold.db*")
        if word.encode() in path.read_bytes()
    )


def test_what_stays_of_a_deleted_chat_is_what_the_documents_say(
    world: World, logs: Logs, chat: ConversationId
) -> None:
    logs.forgetting.delete_conversation(chat, unlearn=True)
    assert files_with(world, "canary") == []
    db = world.store.read()
    assert fetch(db, "SELECT * FROM reply_labels") == []
    [note] = fetch(
        db,
        "SELECT strength, reasons_json, body FROM preference_notes "
        "JOIN texts ON text_id = comment_id",
    )
    assert tuple(note) == ("clearly", '["too_long"]', None)
    assert [row["thumb"] for row in fetch(db, "SELECT thumb FROM ratings")] == ["down"]
    assert fetch(db, "SELECT choice FROM preferences")[0]["choice"] == "first"
    world.feedback.verify_chain()


def test_what_a_killed_app_had_deleted_leaves_the_files_with_the_next_start(
    world: World, logs: Logs, chat: ConversationId, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(database.Store, "checkpoint", lambda _: None)
        logs.forgetting.delete_conversation(chat, unlearn=False)
    assert files_with(world, "canary") != []
    with database.Store(world.store.path):
        assert files_with(world, "canary") == []


def test_while_another_program_reads_a_deletion_holds_nobody_up(
    world: World, logs: Logs, chat: ConversationId, outsider: Database
) -> None:
    began = time.monotonic()
    logs.forgetting.delete_conversation(chat, unlearn=False)
    world.prompt()
    assert time.monotonic() - began < database.FOLD_WAIT_MS / 1000 + 2


def test_what_was_deleted_leaves_the_files_once_another_program_has_read(
    world: World,
    logs: Logs,
    chat: ConversationId,
    outsider: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database, "FOLD_AGAIN_S", 0.05)
    logs.forgetting.delete_conversation(chat, unlearn=False)
    assert "twofold.db-wal" in files_with(world, "canary")
    outsider.execute("COMMIT")
    deadline = time.monotonic() + 20
    while files_with(world, "canary") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert files_with(world, "canary") == [], "without a further word of anybody"
    check_sound(world.store.read())
    assert fetch(world.store._writer, "PRAGMA busy_timeout")[0][0] == 5000


def test_a_store_that_closes_waits_for_no_further_try(root: Path) -> None:
    world = World.open(root)
    with world.store:
        turn = world.prompt(text="canary")
        other = open_reader(world.store.path)
        other.execute("BEGIN")
        fetch(other, "SELECT count(*) FROM turns")
        world.log.erase(turn.conversation_id)
        assert world.store._later is not None
    other.close()
    world.store._fold(0.0)  # one that was just beginning
    assert world.store._later.finished.is_set()
    World.open(root).store.close()
    assert files_with(world, "canary") == []
