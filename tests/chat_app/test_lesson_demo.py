"""What a lesson changed is shown on demand, with a message that can still be read."""

import pytest

from chat_app.errors import ChatError
from chat_app.lesson_demo import LessonDemo
from learner.engine.scripted import ScriptedReplyMaker
from learner.errors import AdapterLoadError
from storage.pick_list import PickReader
from tests.chat_app.makers import scripted


def demo(world, replies=None):
    return LessonDemo(
        policies=world.policies,
        picks=PickReader(world.store),
        replies=replies or scripted(),
        on_model=lambda job: job(),
    )


def test_parent_and_live_version_answer_the_last_message_that_is_left(world):
    with pytest.raises(ChatError, match="no lesson to show"):
        demo(world).show()
    early = world.ask(world.prompt(text="Why is the sky blue?"))
    late = world.ask(world.prompt(text="A rainy day?"))
    world.learn([world.answer(early).preference_id, world.answer(late).preference_id])
    shown = demo(world).show()
    assert shown.message == "A rainy day?" and shown.version.id == 1
    assert shown.before != shown.after and demo(world).show() == shown
    world.log.erase(late.conversation_id)
    assert demo(world).show().message == "Why is the sky blue?"
    world.log.erase(early.conversation_id)
    with pytest.raises(ChatError, match="were deleted"):
        demo(world).show()


class Broken(ScriptedReplyMaker):
    def compare(self, *_):
        raise AdapterLoadError("the adapter of version 1 has no weights")


def test_a_version_that_cannot_be_loaded_is_told(world):
    world.learn([world.pick()])
    with pytest.raises(ChatError, match="no weights"):
        demo(world, Broken()).show()
