"""The Chat tab's events about the list and the bar: search, name, delete, learn, instructions."""

from typing import Any

import gradio as gr

from chat_app.errors import ChatError
from chat_app.language import tr
from chat_app.presets import PRESETS
from chat_app.service import ChatService
from chat_app.ui_layout import ChatLayout
from chat_app.ui_page import PageDrawing
from chat_app.ui_parts import LAST, QUIET, Update, show

FOCUS_NAME = "() => { window.twofold.focus('chat-name') }"
FOCUS_KEEP = "() => { window.twofold.focus('keep-chat') }"


class ShelfEvents:
    def __init__(self, service: ChatService, layout: ChatLayout, page: PageDrawing) -> None:
        self._service = service
        self._layout = layout
        self._page = page

    def bind(self, watching: list[Any]) -> None:
        """``watching`` are the events that follow a reply; a chat that is left lets go of them."""
        parts, bar = self._layout, self._layout.bar
        here = [parts.key]
        draws = QUIET | {"outputs": parts.drawn}
        # The list is drawn here and nowhere else: two answers that cross would leave the older one.
        gr.on(
            [parts.list.search.change, parts.seen.change, parts.key.change],
            self.list,
            [parts.key, parts.list.search],
            parts.list.drawn,
            **LAST,
        )
        beside = [parts.reply.token, parts.key]
        bar.learn.input(self.set_learn, [bar.learn, *beside], parts.drawn, **LAST)
        bar.temporary.input(_temporary, [bar.temporary], [bar.learn, bar.teach], **LAST)
        bar.teach.input(_temporary, [bar.teach], [bar.learn, bar.temporary], **LAST)

        rows = [bar.rename_row, bar.delete_row]
        opened = {bar.rename_row: show(visible=True), bar.delete_row: show(visible=False)}
        closed = {bar.rename_row: show(visible=False), bar.delete_row: show(visible=False)}
        bar.rename.click(lambda: opened, None, rows, **QUIET).then(None, js=FOCUS_NAME)
        bar.save_name.click(self.rename, [bar.name, *beside], **draws)
        bar.name.submit(self.rename, [bar.name, *beside], **draws)
        for cancel in (bar.keep_name, bar.keep):
            cancel.click(lambda: closed, None, rows, **QUIET)
        bar.delete.click(self.ask_to_delete, here, **draws).then(None, js=FOCUS_KEEP)
        let_go = bar.confirm.click(None, cancels=watching)
        let_go.then(self.delete, [bar.unlearn, *here], **draws)

        bar.preset.input(PRESETS.__getitem__, [bar.preset], [bar.instructions], **LAST)
        again = bar.reuse.click(None, cancels=watching)
        again.then(self.reuse, [bar.instructions, *here], **draws)

    def list(self, key: str, words: str) -> Update:
        return self._layout.list.draw(self._service.shelf.list(words), key, words)

    def set_learn(self, learn: bool, saved: str, key: str, request: gr.Request) -> Update:
        if not key:
            return gr.skip()  # a wish for the chat that begins here

        def change() -> None:
            self._service.shelf.set_learn(self._page.id(key), learn)

        return self._page.done_beside(change, saved, key, request)

    def rename(self, name: str, saved: str, key: str, request: gr.Request) -> Update:
        def change() -> None:
            self._service.shelf.rename(self._page.id(key), name)

        return self._page.done_beside(change, saved, key, request)

    def ask_to_delete(self, key: str, request: gr.Request) -> Update:
        try:
            return self._layout.bar.draw_deletion(self._service.shelf.deletion(self._page.id(key)))
        except ChatError as error:
            return self._page.drawn(key, request, note=str(error))

    def delete(self, unlearn: bool, key: str, request: gr.Request) -> Update:
        try:
            self._service.shelf.delete(self._page.id(key), unlearn=unlearn)
        except ChatError as error:
            return self._page.drawn(key, request, note=str(error))
        return self._page.empty(request, note=tr("This chat and its choices are deleted."), was=key)

    def reuse(self, instructions: str, key: str, request: gr.Request) -> Update:
        """An empty chat that begins with the same instructions."""
        self._page.turned_to("", request)
        self._page.leave(key, now="")
        empty = self._page.empty(request)
        if self._layout.bar.instructions in empty:
            empty[self._layout.bar.instructions]["value"] = instructions
        return empty


def _temporary(chosen: bool) -> tuple[Update, Update]:
    """Nothing is learned from a temporary chat, and all from one that teaches: the other switches
    would have nothing to say."""
    return show(visible=not chosen), show(visible=not chosen)
