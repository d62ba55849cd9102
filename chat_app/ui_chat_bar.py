"""The bar above a chat: may it be learned from, its name, its end, and its instructions.

Before the first message the bar holds wishes for the chat that begins with it.
"""

from typing import Any

import gradio as gr

from chat_app import wording
from chat_app.language import tr
from chat_app.presets import NO_PRESET, PRESETS
from chat_app.ui_parts import Update, line, show, small_button
from chat_app.views import ConversationView, DeletionView


class ChatBar:
    """Create it inside the Chat tab."""

    def __init__(self) -> None:
        with gr.Row(elem_id="chat-bar"):
            self.learn = gr.Checkbox(
                value=True, label=tr("Learn from this chat"), container=False, elem_id="learn"
            )
            self.temporary = gr.Checkbox(
                value=False, label=tr("Temporary chat"), container=False, elem_id="temporary"
            )
            self.teach = gr.Checkbox(
                value=False,
                label=tr("Teach: I write both sides"),
                container=False,
                elem_id="teaching",
            )
            self.rename = small_button(tr("Rename"), "rename")
            self.delete = small_button(tr("Delete"), "delete")
        self.about = gr.Markdown(visible=False, elem_id="about-chat")
        with gr.Row(visible=False, elem_id="rename-row", elem_classes="strip") as self.rename_row:
            self.name = gr.Textbox(
                label=tr("Name of this chat"),
                show_label=False,
                container=False,
                elem_id="chat-name",
            )
            self.save_name = small_button(tr("Save"), "save-name", variant="primary")
            self.keep_name = small_button(tr("Cancel"), "keep-name")
        with gr.Row(visible=False, elem_id="delete-row", elem_classes="strip") as self.delete_row:
            self.deletion = gr.Markdown("", elem_id="deletion")
            self.unlearn = gr.Checkbox(
                label=tr("Also drop the versions that learned from it"),
                container=False,
                visible=False,
                elem_id="unlearn",
            )
            self.confirm = small_button(tr("Delete for good"), "confirm-delete", variant="stop")
            self.keep = small_button(tr("Keep it"), "keep-chat")
        with gr.Accordion(tr("Instructions"), open=False, elem_id="instructions") as self.told:
            self.preset = gr.Radio(
                choices=[(tr(name), name) for name in PRESETS],
                value=NO_PRESET,
                label=tr("Presets"),
                show_label=False,
                container=False,
                elem_id="preset",
            )
            self.instructions = gr.Textbox(
                value="",
                label=tr("What I am told before your first message"),
                info=tr("It holds for the whole chat. Leave it empty to say nothing."),
                lines=2,
                max_lines=8,
                elem_id="instructions-text",
            )
            self.reuse = small_button(tr("Use in a new chat"), "reuse-instructions", visible=False)

    @property
    def wishes(self) -> list[Any]:
        """What a chat begins with."""
        return [self.learn, self.temporary, self.teach, self.instructions]

    @property
    def rows(self) -> list[Any]:
        """What a person may have opened, and not have finished."""
        return [self.rename_row, self.name, self.delete_row, self.deletion, self.unlearn]

    @property
    def drawn(self) -> list[Any]:
        return [
            self.learn,
            self.temporary,
            self.teach,
            self.rename,
            self.delete,
            self.about,
            self.rename_row,
            self.name,
            self.delete_row,
            self.deletion,
            self.unlearn,
            self.told,
            self.preset,
            self.instructions,
            self.reuse,
        ]

    def draw(self, view: ConversationView | None) -> Update:
        closed = {self.rename_row: show(visible=False), self.delete_row: show(visible=False)}
        if view is None:
            return closed | {
                self.learn: gr.update(value=True, visible=True),
                self.temporary: gr.update(value=False, visible=True),
                self.teach: gr.update(value=False, visible=True),
                self.rename: show(visible=False),
                self.delete: show(visible=False),
                self.about: line(""),
                self.told: show(visible=True),
                self.preset: gr.update(value=NO_PRESET, visible=True),
                self.instructions: gr.update(value="", interactive=True),
                self.reuse: show(visible=False),
            }
        chat = view.conversation
        return closed | {
            self.learn: gr.update(value=chat.learn, visible=not chat.temporary),
            self.temporary: gr.update(visible=False),
            self.teach: gr.update(visible=False),
            self.rename: show(visible=not chat.temporary),
            self.delete: show(visible=True),
            self.about: line(wording.about_chat(chat)),
            self.name: chat.title,
            self.told: show(visible=bool(view.instructions)),
            self.preset: show(visible=False),
            self.instructions: gr.update(value=view.instructions, interactive=False),
            self.reuse: show(visible=bool(view.instructions)),
        }

    def draw_deletion(self, view: DeletionView) -> Update:
        return {
            self.delete_row: show(visible=True),
            self.rename_row: show(visible=False),
            self.deletion: wording.deletion(view),
            self.unlearn: gr.update(value=False, visible=bool(view.versions)),
        }
