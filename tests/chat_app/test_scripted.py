"""The scripted reply maker keeps the promises of the protocol it stands in for."""

from threading import Event

import pytest

from learner.early_pick import EarlyPick
from learner.engine.script import TOPICS, candidate_texts
from learner.engine.scripted import ScriptedAsking, ScriptedReplyMaker
from learner.protocols import ReplyMaker, Stage
from storage.records import Choice, FinishReason, Message, Role
from tests.chat_app.makers import scripted


def user(text):
    return Message(role=Role.USER, content=text)


def written(maker, text, world, *, seed=0, cancel=None):
    drafts = []
    base = world.policies.current()
    plan = maker.reply([user(text)], base, seed, drafts.append, cancel or Event())
    return plan, drafts


def test_it_is_a_reply_maker():
    assert isinstance(scripted(), ReplyMaker)


@pytest.mark.parametrize("asking", ScriptedAsking)
def test_the_first_message_is_asked_about_as_told(asking, world):
    plan, _ = written(scripted(asking), "Why is the sky blue?", world)
    assert len(plan.shown) == (1 if asking is ScriptedAsking.NEVER else 2)
    assert len(plan.shown) + len(plan.finish_others(Event())) == 4


def test_drafts_grow_to_the_stored_text(world):
    plan, drafts = written(scripted(ScriptedAsking.ALWAYS), "Why is the sky blue?", world)
    assert drafts[0].stage is Stage.DRAFTING and drafts[-1].stage is Stage.STREAMING
    assert drafts[-1].texts == tuple(one.text for one in plan.shown)


def test_seeds_repeat(world):
    plans = [written(scripted(), "hello", world, seed=seed)[0].shown for seed in (1, 1, 2, 3, 4)]
    assert plans[0] == plans[1]
    assert len({plan[0].text for plan in plans}) > 1


def test_a_cancelled_reply_is_one_aborted_completion_and_no_question(world):
    cancel = Event()
    cancel.set()
    maker = scripted(ScriptedAsking.ALWAYS)
    plan, _ = written(maker, "Why is the sky blue?", world, cancel=cancel)
    assert plan.question is None
    assert [one.finish_reason for one in plan.shown] == [FinishReason.ABORTED]


@pytest.mark.parametrize("choice", [Choice.FIRST, Choice.SECOND])
def test_a_choice_while_both_are_written_leaves_the_other_reply_as_it_is(world, choice):
    early = EarlyPick()
    shown = []

    def emit(draft):
        if draft.stage is Stage.STREAMING:
            shown.append(draft.texts)
            early.take(choice)

    maker = scripted(ScriptedAsking.ALWAYS)
    base = world.policies.current()
    plan = maker.reply([user("Count to 9")], base, 0, emit, Event(), early=early)
    assert all(shown[0]) and len(shown[0]) == 2 and len(shown[-1]) == 1
    assert plan.picked is choice and plan.question is not None
    finishes = [one.finish_reason for one in plan.shown]
    expected = [FinishReason.STOP, FinishReason.ABORTED]
    assert finishes == (expected if choice is Choice.FIRST else expected[::-1])
    assert plan.finish_others(Event()) == ()


def test_a_maker_that_may_not_ask_does_not(world):
    maker = scripted(ScriptedAsking.ALWAYS)
    base = world.policies.current()
    plan = maker.reply([user("hello")], base, 0, lambda _: None, Event(), may_ask=False)
    assert plan.question is None


def test_candidates_differ_so_that_a_question_makes_sense():
    for text in ("hello", "Repeat after me: x", "Count to 3", *(topic.word for topic in TOPICS)):
        assert len(set(candidate_texts([user(text)]))) == 4


def test_it_repeats_whatever_it_is_told():
    texts = candidate_texts([user("Repeat after me: <script>alert(1)</script>")])
    assert all("<script>alert(1)</script>" in text for text in texts)


def test_a_negative_speed_is_refused():
    with pytest.raises(ValueError, match="words_per_s"):
        ScriptedReplyMaker(words_per_s=-1.0)
