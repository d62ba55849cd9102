"""Shadow duels: the live version against an earlier one, and what is done where it loses."""

import errno
from dataclasses import replace

import pytest

from learner.engine.scripted import ScriptedReplyMaker
from learner.errors import AdapterLoadError
from learner.rollback import detect_harm
from storage.duels import DuelReader
from storage.records import AskReason, Choice, Comparison, PolicyVersionId
from tests.storage.builders import QUESTION, World, completion
from tests.storage.faults import WEIGHTS, flip

DUEL = replace(QUESTION, reason=AskReason.DUEL)


class BrokenRival(ScriptedReplyMaker):
    """Cannot load ``broken`` where it is a rival."""

    def __init__(self, *, broken: int, cause: Exception | None = None) -> None:
        super().__init__(words_per_s=0.0)
        self.broken = broken
        self.cause = cause
        self.rivals: list[int] = []

    def reply(self, prompt, version, seed, emit, cancel, *, rival=None, **wishes):
        self.rivals.append(rival.id)
        if rival.id == self.broken:
            raise AdapterLoadError("no weights", version=rival.id) from self.cause
        return super().reply(prompt, version, seed, emit, cancel, rival=rival, **wishes)


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


def test_going_back_passes_over_a_version_that_may_not_speak(serve, world) -> None:
    service = serve(ScriptedReplyMaker())
    for _ in range(3):
        world.learn([world.pick()])
    world.policies.taint(PolicyVersionId(2), reason="broken")
    lose(service, world, live=3, rival=0, times=8)
    assert world.policies.current().id == 1


def test_going_back_passes_over_a_version_whose_weights_are_damaged(serve, world, caplog) -> None:
    service = serve(ScriptedReplyMaker())
    for _ in range(3):
        world.learn([world.pick()])
    flip(world.folder.rounds / "r000002" / WEIGHTS)
    lose(service, world, live=3, rival=0, times=8)
    assert world.policies.current().id == 1
    assert world.policies.servable() == [0, 1, 3]
    told = [one.getMessage() for one in caplog.records if "speaks again" in one.getMessage()]
    assert len(told) == 1 and told[0].endswith("version 1 speaks again")


def test_where_a_person_goes_back_meanwhile_their_choice_stands(serve, world, monkeypatch) -> None:
    service = serve(ScriptedReplyMaker())
    for _ in range(3):
        world.learn([world.pick()])

    def harm_found_as_a_person_acts(outcomes, threshold):
        found = detect_harm(outcomes, threshold)
        if found is not None:
            service.roll_back(PolicyVersionId(1))
        return found

    monkeypatch.setattr("chat_app.loop.detect_harm", harm_found_as_a_person_acts)
    lose(service, world, live=3, rival=0, times=8)
    assert world.policies.current().id == 1


@pytest.mark.parametrize("away", [False, True])
def test_a_rival_that_cannot_be_loaded_now_is_kept_and_the_base_stands_in(
    serve, world, away
) -> None:
    """Too many open files, or a folder that is not there now."""
    world.learn([world.pick()])
    world.learn([world.pick()])
    if away:
        (world.folder.rounds / "r000001").rename(world.folder.root / "away")
    maker = BrokenRival(broken=1, cause=OSError(errno.EMFILE, "Too many open files"))
    service = serve(maker)
    chat = service.new_conversation()
    for number in range(6):
        service.say(chat.id, f"Hello {number}")
        service.drain()
    assert world.policies.current().id == 2
    assert world.policies.servable() == [0, 1, 2]
    assert 1 in maker.rivals and maker.rivals[maker.rivals.index(1) + 1] == 0
    said = service.view(chat.id).turns
    assert len([turn for turn in said if turn.message.role == "assistant"]) == 6


def test_a_rival_that_cannot_be_loaded_is_put_away_and_the_live_version_speaks(
    serve, world
) -> None:
    world.learn([world.pick()])
    world.learn([world.pick()])
    maker = BrokenRival(broken=1)
    service = serve(maker)
    chat = service.new_conversation()
    for number in range(6):
        service.say(chat.id, f"Hello {number}")
        service.drain()
    assert world.policies.current().id == 2
    assert world.policies.servable() == [0, 2]
    assert maker.rivals[0] in (0, 1) and 1 in maker.rivals
    assert set(maker.rivals[maker.rivals.index(1) + 1 :]) == {0}
    said = service.view(chat.id).turns
    assert len([turn for turn in said if turn.message.role == "assistant"]) == 6


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


@pytest.mark.parametrize("how", ["excluded", "forgotten"])
def test_an_answer_that_is_left_out_is_no_evidence(serve, world, how) -> None:
    serve(ScriptedReplyMaker())
    world.learn([world.pick()])
    asked = duel(world, 1, 0, live_first=True)
    world.answer(asked)
    assert len(DuelReader(world.store).of_live_line()) == 1
    if how == "excluded":
        world.feedback.exclude(asked.token)
    else:
        with world.store.write() as db:
            db.execute("INSERT INTO forgotten VALUES (?, 0)", [asked.id])
    assert DuelReader(world.store).of_live_line() == []


def test_a_version_that_a_person_lets_speak_again_is_judged_anew(serve, world) -> None:
    service = serve(ScriptedReplyMaker())
    world.learn([world.pick()])
    lose(service, world, live=1, rival=0, times=8)
    assert world.policies.current().id == 0
    service.roll_back(PolicyVersionId(1))
    assert DuelReader(world.store).of_live_line() == []
    lose(service, world, live=1, rival=0, times=1)
    assert world.policies.current().id == 1, "what it had lost before is no evidence any more"
    lose(service, world, live=1, rival=0, times=7)
    assert world.policies.current().id == 0, "and what it loses now is"
