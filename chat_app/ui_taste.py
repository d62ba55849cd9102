"""What it has learned of a person's taste, in words, and the person's own word beside it."""

from collections.abc import Mapping
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from chat_app import wording_learning
from chat_app.errors import ChatError
from chat_app.language import tr, upper_first
from chat_app.learning_service import LearningService
from chat_app.settings_service import SettingsService
from chat_app.ui_parts import QUIET, SLID, Update, line, plain_slider, unfit
from learner.reward.lean_file import MAX_LEAN
from learner.reward.style import STYLE_NAMES

BAR_LOGITS = 1.0
"""A weight of this size fills its bar."""


class TastePanel:
    def __init__(self, learning: LearningService, settings: SettingsService) -> None:
        self._learning = learning
        self._settings = settings

    def body(self) -> None:
        gr.Markdown(tr("## What it has learned of your taste"), elem_id="taste-title")
        self.learned = gr.HTML(elem_id="taste")
        with gr.Accordion(tr("Say it yourself"), open=False, elem_id="lean"):
            gr.Markdown(
                tr(
                    "To the right you want more of it, to the left less; in the middle it follows "
                    "your choices alone. It counts from the next reply on, and for the next lesson."
                ),
                elem_id="lean-hint",
            )
            self.sliders = {
                name: plain_slider(
                    -MAX_LEAN,
                    MAX_LEAN,
                    value=0,
                    step=0.25,
                    label=upper_first(wording_learning.trait(name)),
                    elem_id=f"lean-{name.replace(' ', '-')}",
                )
                for name in STYLE_NAMES
            }
            self.clear = gr.Button(tr("Back to my choices alone"), elem_id="lean-clear", size="md")
            self.said = gr.Markdown(visible=False, elem_id="lean-said")
        self.budget = plain_slider(
            0,
            100,
            value=30,
            step=5,
            label=tr("Questions: at most this share of replies (%)"),
            info=tr(
                "Of replies after the first dozen choices. 0 asks only now and then, to check."
            ),
            elem_id="budget",
        )
        self.budget_said = gr.Markdown(visible=False, elem_id="budget-said")

    @property
    def parts(self) -> list[Any]:
        return [*self.sliders.values(), self.budget, self.said, self.budget_said]

    def bind(self) -> None:
        for name, slider in self.sliders.items():
            slider.release(partial(self.lean, name), [slider], [slider, self.said], **SLID)
        self.clear.click(self.unlean, None, [*self.sliders.values(), self.said], **QUIET)
        self.budget.release(self.set_budget, [self.budget], [self.budget, self.budget_said], **SLID)

    # --- Events ------------------------------------------------------------------------------

    def draw(self) -> Update:
        lean = self._settings.lean()
        return {
            **{slider: lean.get(name, 0) for name, slider in self.sliders.items()},
            self.budget: self._percent(),
            self.said: line(""),
            self.budget_said: line(""),
        }

    def lean(self, name: str, value: float) -> Update:
        slider, now = self.sliders[name], self._settings.lean().get(name, 0)
        if told := unfit(slider, value, now):
            return {slider: now, self.said: line(told)}
        if value == now:
            return {self.said: line("")}  # it was touched and put back
        try:
            self._settings.set_lean(name, value)
        except ChatError as error:
            return {self.said: line(str(error))}
        said = tr("{name}: saved. It counts from the next reply on.", name=slider.label)
        return {self.said: line(said)}

    def unlean(self) -> Update:
        said = tr("It follows your choices alone again.")
        try:
            for name in self._settings.lean():
                self._settings.set_lean(name, 0)
        except ChatError as error:
            said = str(error)
        lean = self._settings.lean()
        return {
            **{slider: lean.get(name, 0) for name, slider in self.sliders.items()},
            self.said: line(said),
        }

    def set_budget(self, percent: float) -> Update:
        now = self._percent()
        if told := unfit(self.budget, percent, now):
            return {self.budget: now, self.budget_said: line(told)}
        if percent == now:
            return {self.budget_said: line("")}
        try:
            self._settings.change({"budget": percent / 100})
        except ChatError as error:
            return {self.budget_said: line(str(error))}
        return {self.budget_said: line(tr("Saved. It counts from the next reply on."))}

    # --- Drawing -----------------------------------------------------------------------------

    def _percent(self) -> int:
        return round(100 * self._settings.current.ask.budget_share)

    @staticmethod
    def learned_html(weights: Mapping[str, float]) -> str:
        """The taste in words, then every trait as a bar from the middle."""
        lines = wording_learning.taste_lines(weights)
        if not lines:
            return f"<p>{escape(tr(wording_learning.NO_TASTE))}</p>"
        said = "".join(f"<li>{escape(line)}.</li>" for line in lines[:5])
        bars = "".join(_bar(name, weight) for name, weight in weights.items())
        return (
            f"<ul>{said}</ul><details><summary>{tr('All traits, in numbers')}</summary>"
            f'<table class="figures bars"><thead><tr><th scope="col">{tr("Trait")}</th>'
            f'<th scope="col">{tr("Weight")}</th><th></th></tr></thead>'
            f"<tbody>{bars}</tbody></table>"
            "</details>"
        )


def _bar(name: str, weight: float) -> str:
    width = 50 * min(abs(weight) / BAR_LOGITS, 1.0)
    left = 50.0 if weight >= 0 else 50.0 - width
    bar = f'<span style="left:{left:.1f}%;width:{width:.1f}%"></span>'
    return (
        f"<tr><td>{escape(wording_learning.trait(name))}</td><td>{weight:+.2f}</td>"
        f'<td aria-hidden="true"><div class="weight">{bar}</div></td></tr>'
    )
