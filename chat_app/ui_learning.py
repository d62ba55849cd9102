"""The Learning tab: what was learned so far, in numbers and charts, and the way back.

The table of lessons repeats the numbers of the charts for those who cannot see them. Text that
comes from elsewhere is escaped: ``gr.HTML`` sanitises nothing.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

import gradio as gr

from chat_app import wording
from chat_app.chart import Chart, chart_html
from chat_app.errors import ChatError
from chat_app.service import ChatService
from chat_app.ui_layout import Update
from chat_app.views import LearningReport, RoundView, Status
from storage.records import BASE_VERSION, PolicyVersionId

REFRESH_S = 5.0
NO_LESSON = (
    "### No lesson yet\n\nPick between two replies a few times and the first lesson starts by "
    "itself. Its result will be plotted here."
)


class LearningPage:
    """Create it, ``body`` inside its tab, then ``bind`` once."""

    def __init__(self, service: ChatService) -> None:
        self._service = service

    def body(self) -> None:
        self.facts = gr.HTML(elem_id="facts")
        self.empty = gr.Markdown(NO_LESSON, elem_id="no-lesson", visible=False)
        self.charts = gr.HTML(elem_id="charts")
        self.lessons = gr.HTML(elem_id="lessons")
        with gr.Row(elem_id="roll-back-row", visible=False) as self.roll_back_row:
            self.versions = gr.Dropdown(
                choices=[],
                label="Let another version speak",
                info="From the next reply on. Versions are kept; you can come back to any of them.",
                elem_id="versions",
            )
            self.roll_back = gr.Button("Roll back", elem_id="roll-back", scale=0, min_width=140)
        self.note = gr.Markdown(visible=False, elem_id="roll-back-note")
        self.timer = gr.Timer(REFRESH_S)

    def bind(self, tab: gr.Tab) -> None:
        quiet: dict[str, Any] = {
            "show_progress": "hidden",
            "api_visibility": "private",
            "concurrency_limit": None,
        }
        numbers = [self.facts, self.empty, self.charts, self.lessons]
        choice = [self.roll_back_row, self.versions]
        tab.select(self.refresh_all, None, [*numbers, *choice], **quiet)
        # The timer leaves the choice of a version alone: somebody may be about to use it.
        self.timer.tick(self.refresh, None, numbers, **quiet)
        self.roll_back.click(self.go_back, [self.versions], [*numbers, *choice, self.note], **quiet)

    # --- Events ------------------------------------------------------------------------------

    def refresh(self) -> Update:
        report = self._service.learning()
        return {
            self.facts: facts_html(self._service.status(), report.learned, datetime.now(UTC)),
            self.empty: gr.update(visible=not report.rounds),
            self.charts: charts_html(report),
            self.lessons: lessons_html(report.rounds),
        }

    def refresh_all(self) -> Update:
        return self.refresh() | self._draw_versions(self._service.learning())

    def go_back(self, version: int | None) -> Update:
        if version is None:
            return {self.note: gr.update(value="Choose a version first.", visible=True)}
        try:
            self._service.roll_back(PolicyVersionId(version))
        except ChatError as error:
            return {self.note: gr.update(value=str(error), visible=True)}
        name = wording.version_name(PolicyVersionId(version)).capitalize()
        return self.refresh_all() | {
            self.note: gr.update(value=f"{name} speaks from the next reply on.", visible=True)
        }

    # --- Private -----------------------------------------------------------------------------

    def _draw_versions(self, report: LearningReport) -> Update:
        now = datetime.now(UTC)
        choices = [
            (f"{wording.version_name(v.id)}, made {wording.age(v.created_at, now)}", v.id)
            for v in report.versions
            if v.servable and not v.live
        ]
        return {
            self.roll_back_row: gr.update(visible=bool(choices)),
            self.versions: gr.update(choices=choices, value=None),
        }


def facts_html(status: Status, learned: int, now: datetime) -> str:
    share = status.asked_share
    facts = (
        ("Picks", str(status.picks), f"{learned} learned from"),
        ("Waiting", str(status.waiting), wording.lesson_line(status)),
        (
            "Live",
            f"v{status.live}",
            "the untrained model"
            if status.live == BASE_VERSION
            else f"made {wording.age(status.live_created_at, now)}",
        ),
        (
            "Questions",
            "none yet" if share is None else f"{round(100 * share)} %",
            f"{status.asked} in {wording.count_of(status.replies, 'reply', 'replies')}",
        ),
        ("Learner", wording.learner_name(status), status.learner.detail if status.learner else ""),
    )
    cards = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(more)}</small></dd></div>"
        for name, value, more in facts
    )
    return f"<dl>{cards}</dl>"


def lessons_html(lessons: Sequence[RoundView]) -> str:
    """A table of the lessons, newest first; empty without any."""
    if not lessons:
        return ""
    head = "".join(
        f'<th scope="col">{name}</th>'
        for name in ("Lesson", "Result", "Picks", "Distance", "Length", "Time", "Why")
    )
    rows = "".join(_lesson_row(lesson) for lesson in reversed(lessons))
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Lessons">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _lesson_row(lesson: RoundView) -> str:
    cells = (
        str(lesson.number),
        wording.OUTCOMES[lesson.status],
        str(lesson.picks),
        "-" if lesson.kl_per_token is None else f"{lesson.kl_per_token:.3f}",
        "-" if lesson.mean_length_tokens is None else f"{lesson.mean_length_tokens:.0f}",
        f"{lesson.seconds:.0f} s",
        lesson.reason,
    )
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def charts_html(report: LearningReport) -> str:
    """Four charts; those that have nothing to show yet are left out."""
    charts = (
        Chart(
            title="Picks foreseen.",
            sentence="Of your last 20 picks, how many the judges guessed before you chose. They "
            "ask where they are in doubt, so half is a fair start.",
            x="picks",
            unit="%",
            points=[(point.picks, 100 * point.foreseen_share) for point in report.foreseen],
            top=100,
        ),
        Chart(
            title="Questions asked.",
            sentence="The share of replies that came with a question; it falls with the doubts.",
            x="replies",
            unit="%",
            points=[(point.replies, 100 * point.asked_share) for point in report.asked],
            top=100,
        ),
        Chart(
            title="Distance from the start.",
            sentence="How far each lesson's result is from the untrained model (KL divergence). "
            "A little is enough to change the style.",
            x="lessons",
            unit="nats per token",
            points=_taken(report.rounds, lambda lesson: lesson.kl_per_token),
        ),
        Chart(
            title="Length of replies.",
            sentence="If this runs away, length was learned in place of quality.",
            x="lessons",
            unit="tokens",
            points=_taken(report.rounds, lambda lesson: lesson.mean_length_tokens),
        ),
    )
    return "".join(chart_html(chart) for chart in charts if chart.points)


def _taken(
    lessons: Sequence[RoundView], measure: Callable[[RoundView], float | None]
) -> list[tuple[int, float]]:
    """The lessons that took this measure, as points."""
    values = ((lesson.number, measure(lesson)) for lesson in lessons)
    return [(number, value) for number, value in values if value is not None]
