"""Decisions whether to ask, as the log has them."""

from dataclasses import replace

from storage.demonstrations import DemonstrationLog
from storage.records import AskReason, Choice
from storage.trends import AskDecision, TrendReader
from tests.storage.builders import QUESTION, World, completion


def plain(world: World, **chat: bool) -> None:
    """A reply that came without a question."""
    world.log.reply(world.prompt(**chat).id, completion("as you like"))


def asked(
    world: World, choice: Choice | None, *, doubt: float, reason=AskReason.UNCERTAIN, **chat: bool
) -> None:
    question = replace(QUESTION, reason=reason, disagreement=doubt)
    shown = completion("one"), completion("two")
    comparison = world.log.ask(world.prompt(**chat).id, *shown, question)
    if choice is not None:
        world.answer(comparison, choice)


def decided(
    doubt: float | None = None, reason: AskReason | None = None, *, answers: int = 0
) -> AskDecision:
    return AskDecision(reason=reason, disagreement=doubt, answers=answers)


def test_decisions_come_oldest_first_with_what_became_of_them(world: World):
    asked(world, Choice.SECOND, doubt=0.4, reason=AskReason.BURN_IN)
    plain(world)
    asked(world, Choice.TIE, doubt=0.3)
    asked(world, Choice.SKIP, doubt=0.2)
    asked(world, Choice.FIRST, doubt=0.1, reason=AskReason.RANDOM, held_out=True)
    asked(world, Choice.FIRST, doubt=0.08, reason=AskReason.DUEL)
    asked(world, None, doubt=0.05)
    expected = [
        decided(0.4, AskReason.BURN_IN, answers=1),
        decided(),
        decided(0.3, AskReason.UNCERTAIN, answers=1),
        decided(0.2, AskReason.UNCERTAIN),
        decided(0.1, AskReason.RANDOM),
        decided(0.08, AskReason.DUEL, answers=1),
        decided(0.05, AskReason.UNCERTAIN),
    ]
    trends = TrendReader(world.store)
    assert trends.decisions(100) == expected
    assert trends.decisions(3) == expected[-3:]


def test_other_answers_count_with_the_decision_before_them(world: World):
    asked(world, Choice.FIRST, doubt=0.4, reason=AskReason.COMPARE)
    asked(world, Choice.FIRST, doubt=0.3, reason=AskReason.BURN_IN)
    asked(world, Choice.TIE, doubt=0.4, reason=AskReason.COMPARE)
    asked(world, Choice.SKIP, doubt=0.4, reason=AskReason.COMPARE)
    reply = world.log.reply(world.prompt().id, completion("as you like"))
    plain(world)
    expected = [decided(0.3, AskReason.BURN_IN, answers=2), decided(), decided()]
    trends = TrendReader(world.store)
    assert trends.decisions(100) == expected
    written = DemonstrationLog(world.store)
    written.edit(reply.id, "as I like")
    for one in written.unread():
        written.read(one.id, completion(one.text))
    assert trends.decisions(100) == [*expected[:2], decided(answers=1)]


def test_where_there_was_nothing_to_decide_there_is_no_decision(world: World):
    asked(world, Choice.FIRST, doubt=0.4, reason=AskReason.ALWAYS)
    asked(world, Choice.FIRST, doubt=0.4, reason=AskReason.DUEL)
    asked(world, Choice.FIRST, doubt=0.4, reason=AskReason.COMPARE)
    plain(world, learn=False)
    world.log.reply(world.prompt().id, replace(completion("as it came"), reward_mean=None))
    assert TrendReader(world.store).decisions(100) == []
