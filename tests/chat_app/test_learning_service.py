"""The figures of the Learning page follow from the log; its buttons reach the learner."""

from dataclasses import replace

import pytest

from chat_app import wording_learning
from chat_app.errors import ChatError
from chat_app.learning_charts import charts, charts_html
from chat_app.learning_service import LearningService, Share
from learner.control import LearnerControl
from storage.duels import DuelReader
from storage.records import AskReason, Choice, PolicyVersionId, Question, RoundStatus
from storage.rounds import collect
from storage.trends import TrendReader
from tests.storage.builders import World, completion, leave, write_adapter


def question(reason: AskReason = AskReason.UNCERTAIN, prob: float = 0.5, spread: float = 0.1):
    return Question(reason=reason, propensity=1.0, disagreement=spread, first_better_prob=prob)


def service(world: World, control: LearnerControl | None = None, **options) -> LearningService:
    return LearningService(
        trends=TrendReader(world.store),
        duels=DuelReader(world.store),
        policies=world.policies,
        taste=lambda: {"longer": -0.7, "more questions": 0.35, "refuses": 0.02},
        control=control,
        **options,
    )


def ask(world: World, choice: Choice, asked: Question, texts=("one", "two"), **options) -> None:
    turn = world.prompt(**options)
    versions = options.pop("versions", (0, 0))
    first, second = (
        completion(text, version=version) for text, version in zip(texts, versions, strict=True)
    )
    world.answer(world.log.ask(turn.id, first, second, asked), choice)


def test_an_empty_log_has_empty_figures(world: World) -> None:
    figures = service(world).figures()
    assert figures.first_shown == Share(hits=0, n=0) and figures.calibration == ()
    assert charts_html(figures) == ""
    assert all("so far" in one or "too few" in one for one in wording_learning.checks(figures))


def test_what_was_foreseen_is_told_with_its_interval_and_its_calibration(world: World) -> None:
    for right in (True, True, True, False, True, True):
        ask(world, Choice.FIRST if right else Choice.SECOND, question(prob=0.9))
    ask(world, Choice.SECOND, question(prob=0.3), held_out=True)
    ask(world, Choice.FIRST, question(AskReason.COMPARE, prob=0.1))  # nobody had doubts here
    figures = service(world).figures()
    assert [point.x for point in figures.foreseen] == [5, 6, 7]
    assert figures.foreseen[-1].y == pytest.approx(6 / 7)
    assert figures.foreseen[-1].low < 6 / 7 < figures.foreseen[-1].high
    assert figures.held_out == Share(hits=1, n=1)
    assert [(round(one.forecast, 2), one.right) for one in figures.calibration] == [
        (0.7, Share(hits=1, n=1)),
        (0.9, Share(hits=5, n=6)),
    ]


def test_replies_with_and_without_a_question_are_counted_once(world: World) -> None:
    for number in range(8):
        if number % 2:
            ask(world, Choice.TIE, question(spread=0.2))
        else:
            world.log.reply(world.prompt().id, completion("plain"))
    ask(world, Choice.FIRST, question(AskReason.COMPARE))
    figures = service(world).figures()
    assert figures.asked[-1].x == 8 and figures.asked[-1].y == 0.5
    assert [point.y for point in figures.disagreement] == pytest.approx([0.2] * 4)


def test_position_and_length_are_checked_with_an_interval(world: World) -> None:
    for _ in range(12):
        ask(world, Choice.FIRST, question(), texts=("a long reply of words", "short"))
    figures = service(world).figures()
    assert figures.first_shown == figures.longer == Share(hits=12, n=12)
    position, length, _ = wording_learning.checks(figures)
    assert "12 of 12" in position and "the first reply has an edge" in position
    assert "you lean to longer replies" in length
    fair = Share(hits=11, n=20)
    assert "no sign" in wording_learning.position_check(fair)
    assert "does not decide" in wording_learning.length_check(fair)


def test_versions_that_were_compared_are_drawn_with_a_bar(world: World) -> None:
    world.learn([world.pick()])
    for choice in (Choice.FIRST, Choice.FIRST, Choice.SECOND):
        turn = world.prompt()
        pair = world.log.ask(
            turn.id,
            completion("new", version=1),
            completion("old", version=0),
            question(AskReason.COMPARE),
        )
        world.answer(pair, choice)
    figures = service(world).figures()
    [(version, duel)] = figures.duels
    assert (version, duel.won, duel.decided) == (1, 2, 3)
    chart = next(one for one in charts(figures) if one.title == "New against old.")
    assert chart.points == [(1, pytest.approx(100 * 2 / 3))]
    assert 'class="bar"' in charts_html(figures)


def test_the_taste_is_told_in_words_strongest_first() -> None:
    weights = {"longer": -0.7, "more questions": 0.35, "refuses": -0.12, "more hedging": 0.05}
    assert wording_learning.taste_lines(weights) == [
        "You strongly prefer shorter replies",
        "You prefer more questions",
        "You slightly prefer no refusals",
    ]


def test_what_cannot_be_noted_for_the_learner_is_told(world: World) -> None:
    learning = service(world, LearnerControl(world.folder.root / "gone"))
    for act in (learning.pause, learning.learn_now):
        with pytest.raises(ChatError, match="learning goes on as before"):
            act()


def test_the_brakes_reach_the_learner(world: World) -> None:
    control, revived = LearnerControl(world.folder.root), []
    learning = service(world, control, revive=lambda: revived.append(1))
    learning.pause()
    assert control.paused == learning.paused == "You paused learning."
    with pytest.raises(ChatError, match="resume it first"):
        learning.learn_now()
    learning.resume()
    learning.learn_now()
    assert control.wanted and learning.lesson_wanted and revived == [1, 1]
    with pytest.raises(ChatError, match="Learning is off"):
        service(world).pause()


def test_lessons_are_told_with_what_they_measured_and_what_counts_as_learned(world: World) -> None:
    learning = service(world)
    report = replace(world.report([world.pick()]), metrics={"kl_per_token": 0.02})
    leave(world.folder.rounds, report, write_adapter)
    collect(world.policies)
    world.learn([world.pick()], status=RoundStatus.REFUSED)
    figures = learning.figures()
    assert [(one.number, one.status, one.kl_per_token) for one in figures.lessons] == [
        (1, RoundStatus.ACCEPTED, 0.02),
        (2, RoundStatus.REFUSED, None),
    ]
    assert figures.learned == 1
    world.policies.activate(PolicyVersionId(0), reason="back")
    assert learning.figures().learned == 0
