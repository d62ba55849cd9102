"""The API's part of the Settings tab: a switch, a key, and how a program asks."""

from typing import Any

import gradio as gr

from chat_app.api_key import ApiKey
from chat_app.errors import ChatError
from chat_app.language import tr
from chat_app.settings_service import SettingsService
from chat_app.ui_parts import LAST, QUIET, Update, line

EXAMPLE = """curl http://{host}/v1/chat/completions \\
  -H "Authorization: Bearer $(cat '{key}')" \\
  -H "Content-Type: application/json" \\
  -d '{{"model": "twofold", "messages": [{{"role": "user", "content": "Hello!"}}]}}'"""


class ApiPanel:
    def __init__(self, settings: SettingsService, key: ApiKey) -> None:
        self._settings = settings
        self._key = key

    def body(self) -> None:
        with gr.Accordion(tr("API"), open=False, elem_id="settings-api"):
            gr.Markdown(
                tr(
                    "Programs on this computer can ask for replies as they would ask OpenAI. They "
                    "wait their turn behind the chat. Other computers cannot."
                ),
                elem_id="api-about",
            )
            self.on = gr.Checkbox(label=tr("Answer other programs"), elem_id="api-on")
            self.log = gr.Checkbox(
                label=tr("Keep what they say as chats, without learning from them"),
                elem_id="api-log",
            )
            self.said = gr.Markdown(visible=False, elem_id="api-said")
            with gr.Column(visible=False, elem_id="api-how") as self.how:
                with gr.Row():
                    self.key = gr.Textbox(
                        label=tr("Key"),
                        interactive=False,
                        buttons=["copy"],
                        max_lines=1,
                        elem_id="api-key",
                        scale=4,
                    )
                    self.renew = gr.Button(tr("New key"), elem_id="api-renew", size="md", scale=1)
                self.example = gr.Code(
                    "", language="shell", label=tr("For example"), elem_id="api-example"
                )

    @property
    def parts(self) -> list[Any]:
        return [self.on, self.log, self.said, self.how, self.key, self.example]

    def bind(self, command: gr.Code) -> None:
        """``command`` is the command line that does the same."""
        for switch, change in ((self.on, self.switch), (self.log, self.keep)):
            switch.input(change, [switch], self.parts, **LAST).then(
                self._settings.command_line, None, command, **LAST
            )
        self.renew.click(self.do_renew, None, self.parts, **QUIET)

    def draw(self, request: gr.Request) -> Update:
        now = self._settings.current
        how: Update = {self.how: gr.update(visible=now.api)}
        if now.api:
            example = EXAMPLE.format(
                host=request.headers.get("host", "127.0.0.1"),
                key=self._settings.data_folder / "api-key",
            )
            how |= {self.key: self._key.read(), self.example: example}
        return {self.on: now.api, self.log: now.api_log, self.said: line("")} | how

    def switch(self, on: bool, request: gr.Request) -> Update:
        said = tr("Programs are answered now.") if on else tr("No program is answered any more.")
        return self._changed({"api": on}, said, request)

    def keep(self, keep: bool, request: gr.Request) -> Update:
        said = (
            tr("What they say is kept from now on.")
            if keep
            else tr("Nothing they say is kept from now on.")
        )
        return self._changed({"api_log": keep}, said, request)

    def do_renew(self, request: gr.Request) -> Update:
        try:
            self._key.renew()
        except ChatError as error:
            return self.draw(request) | {self.said: line(str(error))}
        said = tr("This is the new key. The one before opens nothing any more.")
        return self.draw(request) | {self.said: line(said)}

    def _changed(self, values: dict[str, bool], said: str, request: gr.Request) -> Update:
        try:
            self._settings.change(values)
        except ChatError as error:
            said = str(error)
        return self.draw(request) | {self.said: line(said)}
