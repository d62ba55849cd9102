"""The Chat tab's events of a teaching chat."""

from typing import Any

import gradio as gr

from chat_app.errors import ChatError
from chat_app.service import ChatService
from chat_app.ui_page import PageDrawing
from chat_app.ui_parts import QUIET, Update
from chat_app.ui_teach import TeachPanel

FOCUS_BOX = "() => { window.twofold.focusBox() }"


class TeachEvents:
    def __init__(
        self,
        service: ChatService,
        panel: TeachPanel,
        page: PageDrawing,
        *,
        box: gr.Textbox,
        key: gr.Textbox,
        draws: dict[str, Any],
    ) -> None:
        """``key`` holds the chat's key; ``draws`` draws the page."""
        self._service = service
        self._panel = panel
        self._page = page
        self._box = box
        self._key = key
        self._draws = draws

    def bind(self) -> Any:  # noqa: ANN401 - Gradio's event
        """Return the event after which a suggestion is being written."""
        panel = self._panel
        panel.use.click(self.use, [self._key], [self._box], **QUIET).then(None, js=FOCUS_BOX)
        panel.undo.click(self.undo, self._key, **self._draws)
        panel.finish.click(self.finish, self._key, **self._draws)
        panel.back.click(self.take_back, self._key, **self._draws)
        return panel.another.click(self.another, self._key, **self._draws)

    def use(self, key: str) -> Update:
        """Put the suggestion into the message box, to be edited there."""
        try:
            suggested = self._service.view(self._page.id(key)).suggestion
        except ChatError:
            return gr.skip()
        return {self._box: suggested.completion.text} if suggested else gr.skip()

    def another(self, key: str, request: gr.Request) -> Update:
        return self._page.done(lambda: self._service.retry(self._page.id(key)), key, request)

    def undo(self, key: str, request: gr.Request) -> Update:
        return self._page.done(
            lambda: self._service.dialogues.undo(self._page.id(key)), key, request
        )

    def finish(self, key: str, request: gr.Request) -> Update:
        return self._page.done(
            lambda: self._service.dialogues.finish(self._page.id(key)), key, request
        )

    def take_back(self, key: str, request: gr.Request) -> Update:
        return self._page.done(
            lambda: self._service.dialogues.take_back(self._page.id(key)), key, request
        )
