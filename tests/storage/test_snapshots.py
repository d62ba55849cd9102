"""What several queries read is of one state, also where a chat is deleted between two of them."""

from collections.abc import Callable
from threading import Thread

import pytest

from storage import rows
from storage.database import Store
from storage.forgetting import Forgetting
from storage.pick_list import PickFilter, PickReader
from storage.records import ConversationId, PreferenceId
from storage.sqlite import fetch
from tests.storage.builders import World


def elsewhere(do: Callable[[], object]) -> None:
    """Another thread does it, and is done."""
    thread = Thread(target=do)
    thread.start()
    thread.join()


@pytest.fixture
def deleted_while_read(world: World, monkeypatch: pytest.MonkeyPatch) -> ConversationId:
    """A chat with a pick, which is deleted once the first query about the pick is through."""
    chat = world.ask().conversation_id
    pair = world.feedback.open_question(chat)
    assert pair is not None
    world.answer(pair)
    waiting = [chat]
    forgetting = Forgetting(world.store, world.policies, world.log)

    def deleting(*given):
        if waiting:
            id_ = waiting.pop()
            elsewhere(lambda: forgetting.delete_conversation(id_, unlearn=False))
        return fetch(*given)

    monkeypatch.setattr(rows, "fetch", deleting)
    return chat


def test_an_export_has_a_choice_whole_or_not_at_all(
    world: World, deleted_while_read: ConversationId
) -> None:
    picks = PickReader(world.store)
    [detail] = picks.answered(PickFilter())
    assert detail.comparison.conversation_id == deleted_while_read
    assert detail.comparison.prompt[-1].content == "hello"
    assert detail.comparison.first.completion.token_ids
    assert list(picks.answered(PickFilter())) == []


def test_a_choice_that_is_deleted_between_two_pages_of_an_export_is_not_in_it(world: World) -> None:
    for _ in range(3):
        world.pick()
    reading = PickReader(world.store).answered(PickFilter(), chunk=1)
    next(reading)
    assert not world.store.read().conn.in_transaction, "between pages nothing is held up"
    [_, gone, _] = PickReader(world.store).page(PickFilter())
    chat = PickReader(world.store).detail(gone.id).comparison.conversation_id
    Forgetting(world.store, world.policies, world.log).delete_conversation(chat, unlearn=False)
    assert len(list(reading)) == 1


@pytest.mark.usefixtures("deleted_while_read")
def test_a_lesson_takes_no_choice_without_its_texts(world: World) -> None:
    [pick] = world.feedback.next_picks(PreferenceId(0), 9)
    assert pick.comparison.prompt[-1].content == "hello"
    assert pick.comparison.second.completion.token_ids
    assert world.feedback.next_picks(PreferenceId(0), 9) == []


def test_what_would_be_forgotten_is_read_of_one_state(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = world.ask().conversation_id
    pair = world.feedback.open_question(chat)
    assert pair is not None
    world.learn([world.answer(pair).preference_id])
    forgetting = Forgetting(world.store, world.policies, world.log)
    waiting = [chat]

    def deleting(*given):
        found = fetch(*given)
        if waiting:
            id_ = waiting.pop()
            elsewhere(lambda: forgetting.delete_conversation(id_, unlearn=True))
        return found

    monkeypatch.setattr("storage.forgetting.fetch", deleting)
    assert forgetting.versions_that_saw_chat(chat) == [1]
    assert forgetting.versions_that_saw_chat(chat) == []


def test_a_snapshot_within_a_snapshot_is_the_same_one(world: World) -> None:
    def said() -> int:
        with world.store.snapshot() as db:
            return fetch(db, "SELECT count(*) FROM turns")[0][0]

    with world.store.snapshot():
        assert said() == 0
        elsewhere(world.prompt)
        assert said() == 0
        with world.store.snapshot():
            pass
        assert said() == 0
    assert said() == 1


def test_a_snapshot_that_raises_is_over(world: World) -> None:
    with pytest.raises(KeyError), world.store.snapshot():
        raise KeyError
    world.prompt()
    assert world.store.read().table("turns").count == 1


def test_nothing_is_written_within_a_snapshot(world: World) -> None:
    """It could not be, without a write-ahead log: its commit would wait for its own reading."""
    with world.store.snapshot(), pytest.raises(RuntimeError, match="leave it first"):
        world.prompt()
    world.prompt()


def test_the_store_of_another_process_may_go_on_meanwhile(world: World) -> None:
    with world.store.snapshot() as db, Store(world.store.path) as other:
        fetch(db, "SELECT * FROM turns")
        with other.write() as writing:
            writing.execute("UPDATE conversations SET title = ''")
