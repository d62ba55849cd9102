"""The plots of the Learning tab, each with one plain sentence."""

from collections.abc import Callable, Sequence

from chat_app.chart import Chart, chart_html
from chat_app.interval import wilson
from chat_app.language import tr
from chat_app.learning_service import WINDOW, LearningFigures, Point
from chat_app.views import RoundView


def charts_html(figures: LearningFigures) -> str:
    """Those that have something to show."""
    return "".join(chart_html(chart) for chart in charts(figures) if chart.points)


def charts(figures: LearningFigures) -> tuple[Chart, ...]:
    return (
        Chart(
            title=tr("Choices foreseen."),
            sentence=tr(
                "Of your last {window} choices, how many the judges guessed before you chose. "
                "They ask where they are in doubt, so half is a fair start.",
                window=WINDOW,
            ),
            x=tr("choices"),
            unit="%",
            top=100,
            level=50,
            **_percent(figures.foreseen),
        ),
        Chart(
            title=tr("Do the judges know how sure they are?"),
            sentence=tr(
                "The chance they gave their favourite, and how often you took it. On the "
                "diagonal they are honest; below it they are too sure."
            ),
            x=tr("chance given, %"),
            unit="%",
            top=100,
            x_range=(50, 100),
            diagonal=True,
            points=[
                (round(100 * one.forecast), 100 * one.right.value) for one in figures.calibration
            ],
            band=[
                (round(100 * one.forecast), *(100 * end for end in one.right.interval))
                for one in figures.calibration
            ],
            joined=False,
        ),
        Chart(
            title=tr("Questions asked."),
            sentence=tr(
                "The share of the last {window} replies that came with a question; it falls "
                "with the doubts.",
                window=WINDOW,
            ),
            x=tr("replies"),
            unit="%",
            top=100,
            points=[(point.x, 100 * point.y) for point in figures.asked],
        ),
        Chart(
            title=tr("Disagreement of the judges."),
            sentence=tr(
                "How far apart they were about the pairs you saw, on average over {window} "
                "questions. It falls as they learn what you like.",
                window=WINDOW,
            ),
            x=tr("questions"),
            unit=tr("± points"),
            points=[(point.x, 100 * point.y) for point in figures.disagreement],
        ),
        Chart(
            title=tr("New against old."),
            sentence=tr(
                "How often you chose the newer version when you compared it blind with the one "
                "before. Above half it got better; the bar is what chance allows."
            ),
            x=tr("version"),
            unit="%",
            top=100,
            level=50,
            points=[
                (int(version), 100 * duel.won / duel.decided) for version, duel in figures.duels
            ][::-1],
            band=[
                (int(version), *(100 * end for end in wilson(duel.won, duel.decided)))
                for version, duel in figures.duels
            ][::-1],
            joined=False,
        ),
        Chart(
            title=tr("Distance from the start."),
            sentence=tr(
                "How far each lesson's result is from the untrained model (KL divergence). A "
                "little is enough to change the style."
            ),
            x=tr("lessons"),
            unit=tr("nats per token"),
            points=_taken(figures.lessons, lambda lesson: lesson.kl_per_token),
        ),
        Chart(
            title=tr("Length of replies."),
            sentence=tr("If this runs away, length was learned in place of quality."),
            x=tr("lessons"),
            unit=tr("tokens"),
            points=_taken(figures.lessons, lambda lesson: lesson.mean_length_tokens),
        ),
    )


def _percent(points: Sequence[Point]) -> dict[str, list[tuple[int, float]]]:
    return {
        "points": [(point.x, 100 * point.y) for point in points],
        "band": [
            (point.x, 100 * point.low, 100 * point.high)
            for point in points
            if point.low is not None and point.high is not None
        ],
    }


def _taken(
    lessons: Sequence[RoundView], measure: Callable[[RoundView], float | None]
) -> list[tuple[int, float]]:
    """The lessons that took this measure, as points."""
    values = ((lesson.number, measure(lesson)) for lesson in lessons)
    return [(number, value) for number, value in values if value is not None]
