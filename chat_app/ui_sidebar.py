"""The sidebar: new chat, search, and the list of conversations."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from chat_app.language import tr
from chat_app.shelf import LISTED
from chat_app.ui_parts import Update, line, small_button
from storage.records import Conversation, Purpose


class SidebarLayout:
    """Create it inside a Blocks."""

    def __init__(self) -> None:
        with gr.Sidebar(label=tr("Conversations"), width=264, elem_id="sidebar"):
            self.new = gr.Button(tr("New chat"), elem_id="new-chat", size="md")
            self.search = gr.Textbox(
                label=tr("Search chats"),
                show_label=False,
                placeholder=tr("Search chats"),
                container=False,
                max_lines=1,
                elem_id="search",
            )
            self.chats = gr.Radio(
                choices=[], label=tr("Conversations"), container=False, elem_id="conversations"
            )
            self.none = gr.Markdown(visible=False, elem_id="no-chats")
            small_button(tr("Keyboard"), "open-keys")

    @property
    def drawn(self) -> list[Any]:
        return [self.chats, self.none]

    def draw(self, chats: Sequence[Conversation], key: str, words: str) -> Update:
        """The conversations in which ``words`` occur; the one of ``key`` is open."""
        told = hint(len(chats), words)
        chats = chats[:LISTED]
        listed = {chat.key for chat in chats}
        return {
            self.chats: gr.update(
                choices=[(_name(chat), chat.key) for chat in chats],
                value=key if key in listed else None,
                visible=bool(chats),
            ),
            self.none: line(told),
        }


def hint(found: int, words: str) -> str:
    """What the list does not show; empty if it shows all."""
    if found > LISTED:
        return tr("The newest {n} are listed. For older ones, search for a word.", n=LISTED)
    return tr("No chat has all of these words.") if words.strip() and not found else ""


def _name(chat: Conversation) -> str:
    title = chat.title or tr("New chat")
    return f"✎ {title}" if chat.purpose is Purpose.TEACHING else title
