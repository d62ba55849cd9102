"""The Learning tab: what was learned so far, in figures and words, and the brakes.

A timer redraws what moves; what a person may be touching (sliders, confirmations) it leaves alone.
Text that comes from elsewhere is escaped: ``gr.HTML`` sanitises nothing.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from html import escape

import gradio as gr

from chat_app import wording, wording_learning
from chat_app.errors import ChatError
from chat_app.language import tr, upper_first
from chat_app.learning_charts import charts_html
from chat_app.learning_service import LearningService
from chat_app.lesson_demo import LessonDemo
from chat_app.markup import displayed
from chat_app.models_service import ModelsService
from chat_app.service import ChatService
from chat_app.settings_service import SettingsService
from chat_app.ui_parts import QUIET, Update, line
from chat_app.ui_taste import TastePanel
from chat_app.views import RoundView
from chat_app.wording import version_name

REFRESH_S = 5.0


class LearningPage:
    """Create it, ``body`` inside its tab, then ``bind`` once."""

    def __init__(
        self,
        service: ChatService,
        learning: LearningService,
        demo: LessonDemo,
        models: ModelsService,
        settings: SettingsService,
    ) -> None:
        self._service = service
        self._learning = learning
        self._demo = demo
        self._models = models
        self._settings = settings
        self._taste = TastePanel(learning, settings)

    def body(self) -> None:
        self.facts = gr.HTML(elem_id="facts")
        with gr.Row(elem_id="learning-actions"):
            self.pause = gr.Button(tr("Pause learning"), elem_id="pause-learning", size="md")
            self.resume = gr.Button(
                tr("Resume learning"), elem_id="resume-learning", size="md", visible=False
            )
            self.now = gr.Button(tr("Learn now"), elem_id="learn-now", size="md")
            self.back = gr.Button(tr("Roll back one step"), elem_id="roll-back", size="md")
        self.note = gr.Markdown(visible=False, elem_id="learning-note")
        self.empty = gr.Markdown(tr(wording_learning.NO_LESSON), elem_id="no-lesson", visible=False)
        with gr.Accordion(
            tr("What the latest lesson changed"), open=False, elem_id="latest-lesson"
        ):
            self.show = gr.Button(tr("Show before and after"), elem_id="show-lesson", size="md")
            self.shown = gr.Markdown(visible=False, elem_id="lesson-message")
            with gr.Row(visible=False, elem_id="lesson-replies") as self.replies:
                self.before = _pane("lesson-before")
                self.after = _pane("lesson-after")
        self._taste.body()
        gr.Markdown(tr("## Self-check"), elem_id="checks-title")
        self.checks = gr.HTML(elem_id="checks")
        self.charts = gr.HTML(elem_id="charts")
        with gr.Accordion(tr("Every lesson"), open=False, elem_id="lessons-box"):
            self.lessons = gr.HTML(elem_id="lessons")
        self.timer = gr.Timer(REFRESH_S)

    def bind(self, tab: gr.Tab) -> None:
        moving = [
            self.facts,
            self.empty,
            self.checks,
            self.charts,
            self.lessons,
            self.pause,
            self.resume,
            self.now,
            self.back,
            self._taste.learned,
        ]
        tab.select(self.open, None, [*moving, self.note, *self._taste.parts], **QUIET)
        self.timer.tick(self.refresh, None, moving, **QUIET)
        for button, action in (
            (self.pause, self.do_pause),
            (self.resume, self.do_resume),
            (self.now, self.do_learn_now),
            (self.back, self.do_roll_back),
        ):
            button.click(action, None, [*moving, self.note], **QUIET)
        self.show.click(
            self.show_lesson,
            None,
            [self.shown, self.replies, self.before, self.after],
            **QUIET | {"show_progress": "minimal"},
        )
        self._taste.bind()

    # --- Events ------------------------------------------------------------------------------

    def open(self) -> Update:
        return self.refresh() | self._taste.draw() | {self.note: line("")}

    def refresh(self) -> Update:
        figures, status = self._learning.figures(), self._service.status()
        paused, runs = self._learning.paused, self._learning.controllable
        return {
            self.facts: facts_html(
                wording_learning.facts(status, figures.learned, datetime.now(UTC))
            ),
            self.empty: gr.update(visible=not figures.lessons),
            self.checks: _paragraphs(wording_learning.checks(figures)),
            self.charts: charts_html(figures),
            self.lessons: lessons_html(figures.lessons),
            self.pause: gr.update(visible=runs and paused is None),
            self.resume: gr.update(visible=runs and paused is not None),
            self.now: gr.update(visible=runs, interactive=paused is None and status.waiting > 0),
            self.back: gr.update(interactive=status.live > 0),
            self._taste.learned: self._taste.learned_html(figures.taste),
        }

    def show_lesson(self) -> Update:
        try:
            lesson = self._demo.show()
        except ChatError as error:
            return {self.shown: line(str(error)), self.replies: gr.update(visible=False)}
        now = upper_first(version_name(lesson.version.id))
        same = (
            " " + tr("Nothing changed for this message.") if lesson.before == lesson.after else ""
        )
        return {
            self.shown: line(
                tr("You said: *{text}*.{same}", text=displayed(lesson.message), same=same)
            ),
            self.replies: gr.update(visible=True),
            self.before: tr("## Before\n\n{text}", text=displayed(lesson.before)),
            self.after: tr("## {now}, now\n\n{text}", now=now, text=displayed(lesson.after)),
        }

    def do_pause(self) -> Update:
        return self._done(
            self._learning.pause, tr("Paused: your choices are kept, and no lesson starts.")
        )

    def do_resume(self) -> Update:
        return self._done(self._learning.resume, tr("Resumed: the next lesson starts by itself."))

    def do_learn_now(self) -> Update:
        return self._done(
            self._learning.learn_now, tr("A lesson starts now, with the choices that wait.")
        )

    def do_roll_back(self) -> Update:
        try:
            live = self._models.roll_back()
        except ChatError as error:
            return self.refresh() | {self.note: line(str(error))}
        said = tr(
            "{version} speaks from the next reply on.",
            version=upper_first(version_name(live)),
        )
        return self.refresh() | {self.note: line(said)}

    def _done(self, action: Callable[[], None], said: str) -> Update:
        try:
            action()
        except ChatError as error:
            said = str(error)
        return self.refresh() | {self.note: line(said)}


def _pane(name: str) -> gr.Markdown:
    with gr.Column(min_width=220, elem_classes="pane"):
        return gr.Markdown("", elem_id=name, elem_classes="reply", line_breaks=True)


def facts_html(facts: Sequence[tuple[str, str, str]]) -> str:
    cards = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(more)}</small></dd></div>"
        for name, value, more in facts
    )
    return f"<dl>{cards}</dl>"


def lessons_html(lessons: Sequence[RoundView]) -> str:
    """A table of the lessons, newest first."""
    if not lessons:
        return "<p>" + tr("No lesson yet.") + "</p>"
    head = "".join(
        f'<th scope="col">{name}</th>'
        for name in (
            tr("Lesson"),
            tr("Result"),
            tr("Choices"),
            tr("Distance"),
            tr("Length"),
            tr("Time"),
            tr("Why"),
        )
    )
    rows = "".join(_lesson_row(lesson) for lesson in reversed(lessons))
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{tr("Lessons")}">'
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


def _paragraphs(sentences: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(one)}</li>" for one in sentences) + "</ul>"
