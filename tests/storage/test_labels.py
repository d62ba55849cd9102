"""Labels of one reply: the newest row counts, and they go when their chat is erased."""

import pytest

from storage.errors import UnknownTurnError
from storage.labels import LabelLog
from storage.pick_list import PickReader
from storage.records import Label, LabelSource, TurnId
from tests.storage.builders import World, completion

BOTH = (Label.UNSAFE, Label.WRONG_FACTS)


@pytest.fixture
def labels(world: World) -> LabelLog:
    return LabelLog(world.store)


def rows(world):
    return list(world.store.read().table("reply_labels").rows)


def test_several_labels_hold_at_once_and_are_taken_back_one_by_one(world, labels):
    reply = world.log.reply(world.prompt().id, completion())
    assert labels.of([reply.candidate_id]) == {}
    labels.label(reply.id, [Label.UNSAFE])
    labels.label(reply.id, [Label.WRONG_FACTS, Label.UNSAFE])
    labels.label(reply.id, [Label.UNSAFE, Label.WRONG_FACTS, Label.UNSAFE])  # says the same
    assert labels.of([reply.candidate_id]) == {reply.candidate_id: BOTH}
    assert len(rows(world)) == 2
    labels.label(reply.id, [Label.WRONG_FACTS])
    assert labels.of([reply.candidate_id]) == {reply.candidate_id: (Label.WRONG_FACTS,)}
    labels.label(reply.id, [])
    labels.label(reply.id, [])
    assert labels.of([reply.candidate_id]) == {} and labels.every() == []
    assert [row["source"] for row in rows(world)] == ["person"] * 4


def test_a_label_is_of_a_reply_that_is_there_and_goes_with_its_chat(world, labels):
    prompt = world.prompt()
    reply = world.log.reply(prompt.id, completion())
    other = world.log.reply(world.prompt().id, completion())
    for missing in (prompt.id, TurnId(99)):
        with pytest.raises(UnknownTurnError):
            labels.label(missing, BOTH)
    for one in (reply, other):
        labels.label(one.id, BOTH)
    world.log.erase(prompt.conversation_id)
    assert [row["candidate_id"] for row in rows(world)] == [other.candidate_id]
    with pytest.raises(UnknownTurnError):
        labels.label(reply.id, BOTH)


def test_a_choice_shows_the_labels_of_both_replies(world, labels):
    pair = world.ask()
    world.answer(pair)
    shown = world.log.path(pair.conversation_id)[-1]
    labels.label(shown.id, BOTH)
    [pick] = [PickReader(world.store).detail(pair.id)]
    assert pick.labels == (BOTH, ())


def test_every_labelled_reply_of_chats_that_are_learned_from(world, labels):
    for number, kind in enumerate(({}, {"held_out": True}, {"learn": False})):
        prompt = world.prompt(text=f"question {number}", **kind)
        labels.label(world.log.reply(prompt.id, completion(f"reply {number}")).id, BOTH)
    first, second = labels.every()
    assert (first.prompt[-1].content, first.completion.text) == ("question 0", "reply 0")
    assert (first.labels, first.source, first.held_out) == (BOTH, LabelSource.PERSON, False)
    assert second.held_out
