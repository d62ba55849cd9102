"""Two versions reply in a chat of their own, and the choice between them is like any other."""

import pytest

from chat_app.errors import ChatError
from chat_app.reply_writer import SAID_THE_SAME
from learner.engine.scripted import ScriptedReplyMaker
from storage.records import AskReason, Choice, PolicyVersionId
from tests.chat_app.makers import scripted

BASE, ONE = PolicyVersionId(0), PolicyVersionId(1)


def test_both_versions_reply_and_the_choice_is_stored(serve, world):
    world.learn([world.pick()])
    service = serve(scripted())
    chat = service.compare("Why is the sky blue?", ONE, BASE)
    service.drain()
    question = service.view(chat.id).question
    assert question.question.reason is AskReason.COMPARE
    shown = [one.completion.policy_version for one in (question.first, question.second)]
    assert sorted(shown) == [0, 1]
    service.choose(question.token, Choice.SECOND)
    assert service.view(chat.id).turns[-1].message.content == question.second.completion.text
    service.say(chat.id, "And now?")
    service.drain()
    assert service.view(chat.id).question is None


def test_what_cannot_be_compared_is_told_and_begins_no_chat(serve, world):
    world.learn([world.pick()])
    world.learn([world.pick()])
    world.policies.reject(PolicyVersionId(2), reason="because")
    service = serve(scripted())
    known = len(service.shelf.list())
    for text, one, other, sentence in (
        (" ", ONE, BASE, "Write a message"),
        ("hi", ONE, ONE, "two different"),
        ("hi", PolicyVersionId(2), BASE, "may not speak any more"),
        ("hi", PolicyVersionId(9), BASE, "no policy version 9"),
    ):
        with pytest.raises(ChatError, match=sentence):
            service.compare(text, one, other)
    assert len(service.shelf.list()) == known


class Echo(ScriptedReplyMaker):
    """Says the same, whoever speaks."""

    def compare(self, prompt, versions, seed, emit, cancel, **wishes):
        from dataclasses import replace

        plan = super().compare(prompt, versions, seed, emit, cancel, **wishes)
        return replace(plan, shown=tuple(replace(one, text="the same") for one in plan.shown))


def test_versions_that_say_the_same_ask_nothing(serve, world):
    world.learn([world.pick()])
    service = serve(Echo(words_per_s=0.0))
    chat = service.compare("Why is the sky blue?", ONE, BASE)
    service.drain()
    view = service.view(chat.id)
    assert view.question is None and view.notices == (SAID_THE_SAME,)
    assert view.turns[-1].message.content == "the same"
