"""Shadow duels: the live version against an earlier one, and what is done where it loses."""

from dataclasses import replace

from learner.engine.scripted import ScriptedReplyMaker
from storage.duels import DuelReader
from storage.records import AskReason, Choice, Comparison, PolicyVersionId
from tests.storage.builders import QUESTION, World, completion

DUEL = replace(QUESTION, reason=AskReason.DUEL)


def duel(world: World, live: int, rival: int, *, live_first: bool) -> Comparison:
    pair = [completion("one", version=live), completion("two", version=rival)]
    return world.log.ask(world.prompt().id, *(pair if live_first else pair[::-1]), DUEL)


def lose(service, world: World, live: int, rival: int, times: int) -> None:
    for number in range(times):
        first = bool(number % 2)
        asked = duel(world, live, rival, live_first=first)
        service.choose(asked.token, Choice.SECOND if first else Choice.FIRST)
    service.drain()


def test_outcomes_are_told_from_the_live_versions_side(world: World) -> None:
    world.learn([world.pick()])
    world.learn([world.pick()])
    for live_first, choice in ((True, Choice.FIRST), (False, Choice.FIRST), (False, Choice.TIE)):
        world.answer(duel(world, 2, 0, live_first=live_first), choice)
    duel(world, 2, 1, live_first=True)  # not answered
    world.answer(world.ask())  # no duel
    outcomes = DuelReader(world.store).of_live_line()
    assert [(one.live, one.rival, one.won) for one in outcomes] == [
        (2, 0, 1.0),
        (2, 0, 0.0),
        (2, 0, 0.5),
    ]


def test_a_version_that_keeps_losing_is_gone_back_from_to_what_was_before_it(serve, world) -> None:
    service = serve(ScriptedReplyMaker())
    world.learn([world.pick()])
    world.learn([world.pick()])
    lose(service, world, live=2, rival=1, times=4)
    assert world.policies.current().id == 2
    lose(service, world, live=2, rival=0, times=6)
    assert world.policies.current().id == 1
    assert (
        DuelReader(world.store).of_live_line() == []
    )  # version 2 is off the line, and what was said of it too
    assert "blind comparisons" in world.policies.last_states()[PolicyVersionId(2)][1]


def test_undoing_an_answer_takes_its_evidence_back(serve, world) -> None:
    service = serve(ScriptedReplyMaker())
    world.learn([world.pick()])
    lose(service, world, live=1, rival=0, times=5)
    asked = duel(world, 1, 0, live_first=True)
    service.choose(asked.token, Choice.SECOND)
    service.undo(asked.token)
    service.drain()
    assert len(DuelReader(world.store).of_live_line()) == 5
    assert world.policies.current().id == 1
