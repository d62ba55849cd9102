"""Thumbs and notes: the newest counts, and saying the same again writes nothing."""

from dataclasses import replace

import pytest

from storage.errors import UnknownComparisonError, UnknownTurnError
from storage.opinions import OpinionLog
from storage.records import Note, PreferenceId, Strength, Thumb, TurnId
from tests.storage.builders import World, completion


@pytest.fixture
def opinions(world: World) -> OpinionLog:
    return OpinionLog(world.store)


def rows(world, table):
    return world.store.read().table(table).count


def test_a_thumb_toggles_and_the_newest_counts(world, opinions):
    prompt = world.prompt()
    reply = world.log.reply(prompt.id, completion())
    assert opinions.thumbs([reply.id]) == {}
    for thumb in (Thumb.UP, Thumb.UP, Thumb.DOWN):
        opinions.rate(reply.id, thumb)
    assert opinions.thumbs([reply.id, prompt.id]) == {reply.id: Thumb.DOWN}
    opinions.rate(reply.id, Thumb.NONE)
    opinions.rate(reply.id, Thumb.NONE)
    assert opinions.thumbs([reply.id]) == {}
    assert rows(world, "ratings") == 3


def test_a_thumb_is_about_a_reply_that_is_there(world, opinions):
    prompt = world.prompt()
    reply = world.log.reply(prompt.id, completion())
    for missing in (prompt.id, TurnId(99)):
        with pytest.raises(UnknownTurnError):
            opinions.rate(missing, Thumb.UP)
    world.log.erase(prompt.conversation_id)
    with pytest.raises(UnknownTurnError):
        opinions.rate(reply.id, Thumb.UP)


def test_a_note_is_kept_replaced_and_erased_with_its_conversation(world, opinions):
    comparison = world.ask()
    pick = world.answer(comparison).preference_id
    assert opinions.note(pick) == Note()
    first = Note(strength=Strength.CLEARLY, reasons=("correct", "clear"), comment=" why \r\n")
    opinions.annotate(pick, first)
    opinions.annotate(pick, first)
    kept = Note(strength=Strength.CLEARLY, reasons=("clear", "correct"), comment="why")
    assert opinions.note(pick) == kept and rows(world, "preference_notes") == 1
    opinions.annotate(pick, Note(strength=Strength.SLIGHTLY))
    assert opinions.note(pick) == Note(strength=Strength.SLIGHTLY)
    opinions.annotate(pick, kept)
    world.log.erase(comparison.conversation_id)
    assert opinions.note(pick).comment == ""
    for gone in (pick, PreferenceId(99)):  # the comment would outlive the chat
        with pytest.raises(UnknownComparisonError):
            opinions.annotate(gone, replace(kept, comment="why not"))
    assert {row["body"] for row in world.store.read().table("texts").rows} == {None}


def test_thumbs_that_may_teach_come_with_reply_and_prompt(world, opinions):
    liked, disliked = world.prompt(text="one"), world.prompt(text="two")
    replies = [
        world.log.reply(liked.id, completion("yes", seed=3)),
        world.log.reply(disliked.id, completion("no", seed=4)),
    ]
    opinions.rate(replies[0].id, Thumb.DOWN)
    opinions.rate(replies[1].id, Thumb.DOWN)
    opinions.rate(replies[0].id, Thumb.UP)
    first, second = opinions.rated()  # by the time of the thumb that counts
    assert (first.thumb, first.completion.text, first.prompt[-1].content) == (
        Thumb.DOWN,
        "no",
        "two",
    )
    assert (second.thumb, second.completion.seed) == (Thumb.UP, 3)
    assert second.completion.feature == completion().feature
    opinions.rate(replies[1].id, Thumb.NONE)
    assert [one.thumb for one in opinions.rated()] == [Thumb.UP]


@pytest.mark.parametrize(
    ("kind", "feature"),
    [({"held_out": True}, b"\x00\x3c"), ({"learn": False}, b"\x00\x3c"), ({}, None)],
)
def test_thumbs_that_must_not_teach_or_cannot_are_left_out(world, opinions, kind, feature):
    prompt = world.prompt(**kind)
    opinions.rate(world.log.reply(prompt.id, completion(feature=feature)).id, Thumb.UP)
    assert opinions.rated() == []


def test_thumbs_of_an_erased_chat_teach_nothing(world, opinions):
    prompt = world.prompt()
    opinions.rate(world.log.reply(prompt.id, completion()).id, Thumb.UP)
    world.log.erase(prompt.conversation_id)
    assert opinions.rated() == []
