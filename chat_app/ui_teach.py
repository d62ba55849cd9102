"""The strip of a teaching chat: whose turn it is, the suggestion, and the end of the example."""

from typing import Any

import gradio as gr

from chat_app import wording_teach as words
from chat_app.dialogue import teaches
from chat_app.language import tr
from chat_app.markup import displayed
from chat_app.ui_parts import Update, line, show, small_button
from chat_app.views import ConversationView
from learner.protocols import Draft
from storage.records import Role


class TeachPanel:
    """Create it inside the Chat tab, above the composer."""

    def __init__(self) -> None:
        with gr.Column(visible=False, elem_id="teach") as self.panel:
            self.turn = gr.Markdown("", elem_id="teach-turn")
            with gr.Column(visible=False, elem_id="suggestion", elem_classes="pane") as self.pane:
                gr.Markdown(tr("### A suggestion"))
                self.text = gr.Markdown(
                    "", elem_id="suggestion-text", elem_classes="reply", line_breaks=True
                )
                with gr.Row(elem_id="suggestion-row"):
                    self.use = gr.Button(tr("Use and edit  [1]"), elem_id="teach-use", size="md")
                    self.another = gr.Button(tr("Another  [2]"), elem_id="teach-another", size="md")
            with gr.Row(elem_id="teach-row"):
                self.state = gr.Markdown("", elem_id="teach-state")
                self.undo = small_button(tr("Undo last  [U]"), "teach-undo")
                self.back = small_button(tr("Not an example"), "teach-back")
                self.finish = small_button(
                    tr("Finish the example"), "teach-finish", variant="primary"
                )

    @property
    def drawn(self) -> list[Any]:
        return [
            self.panel,
            self.turn,
            self.pane,
            self.text,
            self.use,
            self.another,
            self.state,
            self.undo,
            self.back,
            self.finish,
        ]

    @property
    def moving(self) -> list[Any]:
        """What ``draw_draft`` may name."""
        return [self.pane, self.text]

    def draw(self, view: ConversationView | None) -> Update:
        if view is None or not teaches(view.conversation):
            return {self.panel: show(visible=False)}
        replied = any(turn.message.role is Role.ASSISTANT for turn in view.turns)
        suggested = view.suggestion
        return {
            self.panel: show(visible=True),
            self.turn: words.turn_line(view),
            self.pane: show(visible=suggested is not None),
            self.text: displayed(suggested.completion.text) if suggested else "",
            self.use: show(visible=suggested is not None),
            self.another: show(visible=suggested is not None),
            self.state: line(words.state_line(view)),
            self.undo: show(visible=bool(view.turns)),
            self.back: show(visible=view.example is not None),
            self.finish: gr.update(
                visible=replied and not words.is_finished(view),
                value=(tr("Finish the example") if view.example is None else tr("Finish it again")),
            ),
        }

    def draw_draft(self, draft: Draft) -> Update:
        """The suggestion while it is written, after ``draw`` without one."""
        text = draft.texts[0] if draft.texts else ""
        return {self.pane: show(visible=bool(text)), self.text: displayed(text)}
