"""Dialogues of which a person wrote both sides: finished, continued, taken back, erased."""

from dataclasses import replace

import pytest

from storage.demonstrations import DemonstrationLog, EmptyReplyError
from storage.dialogues import DialogueLog
from storage.errors import NotTeachingError, UnknownConversationError, UnknownTurnError
from storage.records import AskReason, Author, Purpose
from tests.storage.builders import World, completion


@pytest.fixture
def dialogues(world: World) -> DialogueLog:
    return DialogueLog(world.store)


@pytest.fixture
def written(world: World) -> DemonstrationLog:
    return DemonstrationLog(world.store)


@pytest.fixture
def lesson(world: World):
    return world.log.start(purpose=Purpose.TEACHING, instructions="Be brief.")


def teach(world, written, lesson, said="hi", reply="hello") -> None:
    written.reply(world.log.say(lesson.id, said).id, reply)


def test_a_finished_dialogue_is_a_demonstration(world, dialogues, written, lesson) -> None:
    teach(world, written, lesson)
    teach(world, written, lesson, "more", "there is\nno more\n")
    assert dialogues.demonstrations() == []
    id_ = dialogues.finish(lesson.id)
    assert dialogues.finish(lesson.id) == id_
    [one] = [*dialogues.demonstrations(), *dialogues.held_out()]
    assert [(m.role.value, m.content) for m in one.messages] == [
        ("system", "Be brief."),
        ("user", "hi"),
        ("assistant", "hello"),
        ("user", "more"),
        ("assistant", "there is\nno more"),
    ]
    assert (one.id, one.key, one.imported) == (id_, lesson.key, False)
    counts = dialogues.counts()
    assert (counts.dialogues, counts.replies, counts.imported) == (1, 2, 0)
    assert dialogues.of(lesson.id) == one


def test_going_on_and_finishing_again_replaces_it(world, dialogues, written, lesson) -> None:
    teach(world, written, lesson)
    dialogues.finish(lesson.id)
    world.log.say(lesson.id, "and then?")  # an open message is no part of it
    assert dialogues.finish(lesson.id) == 1
    teach(world, written, lesson, "what now?", "nothing")
    assert dialogues.finish(lesson.id) == 2
    assert dialogues.counts().dialogues == 1
    assert dialogues.of(lesson.id).messages[-1].content == "nothing"
    dialogues.take_back(lesson.id)
    dialogues.take_back(lesson.id)
    assert dialogues.of(lesson.id) is None and dialogues.counts().replies == 0
    assert dialogues.finish(lesson.id) == 4


def test_a_suggestion_that_stands_is_the_reply_itself(world, dialogues, written, lesson) -> None:
    prompt = world.log.say(lesson.id, "hi")
    [idea] = world.log.add_candidates(prompt.id, [completion("an idea\n")])
    turn = written.reply(prompt.id, "an idea", suggestion=idea.id)
    assert turn.candidate_id == idea.id
    assert world.log.candidates([idea.id])[idea.id].author is Author.POLICY
    assert written.unread() == []


def test_an_edited_suggestion_is_worse_than_what_was_written(world, written) -> None:
    prompt = world.prompt()
    [idea] = world.log.add_candidates(prompt.id, [completion("an idea")])
    turn = written.reply(prompt.id, "a better idea", suggestion=idea.id)
    [unread] = written.unread()
    written.read(unread.id, replace(completion(unread.text), policy_version=unread.version))
    [pair] = world.feedback.preferences()
    assert (pair.chosen.id, pair.rejected.id) == (turn.candidate_id, idea.id)
    assert pair.comparison.question.reason is AskReason.EDITED
    world.feedback.verify_chain()


def test_what_cannot_be_a_demonstration_says_why(world, dialogues, written, lesson) -> None:
    chat = world.ask().conversation_id
    with pytest.raises(NotTeachingError):
        dialogues.finish(chat)
    with pytest.raises(UnknownTurnError, match="at least one reply"):
        dialogues.finish(lesson.id)
    prompt = world.log.say(lesson.id, "hi")
    with pytest.raises(EmptyReplyError):
        written.reply(prompt.id, " \n")
    reply = written.reply(prompt.id, "hello")
    with pytest.raises(UnknownTurnError):
        written.reply(reply.id, "a reply to a reply")
    world.log.erase(lesson.id)
    with pytest.raises(UnknownConversationError):
        dialogues.finish(lesson.id)
    with pytest.raises(UnknownTurnError):
        written.reply(prompt.id, "too late")


def test_a_dialogue_that_is_erased_or_must_not_teach_is_none(world, dialogues, written) -> None:
    for change in (lambda id_: world.log.set_learn(id_, learn=False), world.log.erase):
        one = world.log.start(purpose=Purpose.TEACHING)
        teach(world, written, one)
        dialogues.finish(one.id)
        assert dialogues.of(one.id) is not None
        change(one.id)
        assert dialogues.of(one.id) is None
        assert dialogues.counts().dialogues == 0
