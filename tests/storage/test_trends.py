"""Decisions whether to ask, as the log has them."""

from dataclasses import replace

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


def decided(doubt: float | None, *, answered: bool = False) -> AskDecision:
    return AskDecision(disagreement=doubt, answered=answered)


def test_decisions_come_oldest_first_with_what_became_of_them(world: World):
    asked(world, Choice.SECOND, doubt=0.4, reason=AskReason.BURN_IN)
    plain(world)
    asked(world, Choice.TIE, doubt=0.3)
    asked(world, Choice.SKIP, doubt=0.2)
    asked(world, Choice.FIRST, doubt=0.1, reason=AskReason.RANDOM, held_out=True)
    asked(world, None, doubt=0.05)
    expected = [
        decided(0.4, answered=True),
        decided(None),
        decided(0.3, answered=True),
        decided(0.2),
        decided(0.1),
        decided(0.05),
    ]
    trends = TrendReader(world.store)
    assert trends.decisions(100) == expected
    assert trends.decisions(3) == expected[-3:]


def test_where_there_was_nothing_to_decide_there_is_no_decision(world: World):
    asked(world, Choice.FIRST, doubt=0.4, reason=AskReason.ALWAYS)
    asked(world, Choice.FIRST, doubt=0.4, reason=AskReason.COMPARE)
    plain(world, learn=False)
    assert TrendReader(world.store).decisions(100) == []
