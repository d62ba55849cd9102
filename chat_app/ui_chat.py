"""The Chat tab's events: what a click asks of the service and what is drawn then.

The page holds nothing that matters: two hidden boxes carry the key of the conversation and the
token of the question, all else comes from ``ChatService.view``. So a reload, a second tab or a
restarted server find the same picture. Handlers answer at once; a generator of its own (``watch``)
then follows the reply. Leaving a conversation ends that generator, never the reply.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import gradio as gr

from chat_app import wording
from chat_app.errors import ChatError
from chat_app.service import ChatService
from chat_app.ui_layout import ChatLayout, Update, messages_of
from learner.protocols import Stage
from storage.records import Choice, ConversationId

READ_KEY = "() => [new URLSearchParams(location.search).get('c') ?? '']"
WRITE_KEY = "(key) => { window.twofold.showKey(key) }"
BEGIN = "() => { window.twofold.closeSidebar(); window.twofold.focusBox() }"
CLOSE_SIDEBAR = "() => { window.twofold.closeSidebar() }"


class ChatPage:
    def __init__(self, service: ChatService, layout: ChatLayout) -> None:
        self._service = service
        self._layout = layout

    def bind(self, page: gr.Blocks) -> None:
        parts = self._layout
        quiet: dict[str, Any] = {
            "show_progress": "hidden",
            "api_visibility": "private",
            "concurrency_limit": None,
        }
        draws = quiet | {"outputs": parts.drawn}

        opened = page.load(self.open, [parts.key], js=READ_KEY, **draws)
        sent = gr.on(
            [parts.box.submit, parts.send.click],
            self.say,
            [parts.box, parts.key],
            [parts.box, *parts.drawn],
            **quiet,
        )
        example = parts.transcript.example_select(self.say_example, [parts.key], **draws)
        retried = gr.on(
            [parts.retry.click, parts.transcript.retry], self.write_again, [parts.key], **draws
        )
        watching = [
            event.then(self.watch, [parts.key], **draws)
            for event in (opened, sent, example, retried)
        ]
        # First let go of the reply that is followed, then draw something else: what is still on
        # its way to the page would be drawn over it. A listener cannot cancel what comes after
        # itself, so a second one lets go of what an earlier choice in the list began to follow.
        picked = parts.chats.input(None, js=CLOSE_SIDEBAR, cancels=watching)
        selected = picked.then(self.open, [parts.chats], **draws)
        watching.append(selected.then(self.watch, [parts.key], **draws))
        parts.chats.input(None, cancels=watching[-1:])
        left = parts.new.click(None, js=BEGIN, cancels=watching)
        left.then(self.open_new, None, **draws)

        for button, choice in parts.choices.items():
            button.click(partial(self.choose, choice), [parts.token, parts.key], **draws)
        parts.undo.click(self.take_back, [parts.saved_token, parts.key], **draws)
        parts.stop.click(self.end_reply, [parts.key], None, **quiet)
        parts.key.change(None, [parts.key], None, js=WRITE_KEY)

    # --- Opening -----------------------------------------------------------------------------

    def open(self, key: str) -> Update:
        if not key:
            return self.open_new()
        try:
            return self._drawn(self._id(key)) | self._layout.draw_answer()
        except ChatError as error:
            return self.open_new() | self._layout.draw_answer(note=str(error))

    def open_new(self) -> Update:
        """An empty chat; it becomes a conversation with its first message."""
        empty = self._layout.draw(None, self._service.shelf.list())
        return empty | self._layout.draw_answer()

    def watch(self, key: str) -> Iterator[Update]:
        """Follow the reply being written, if any, and draw how it ended."""
        if not key:
            yield gr.skip()  # Gradio empties every output of a generator that never yields
            return
        conversation_id = self._id(key)
        before = messages_of(self._service.view(conversation_id))
        for draft in self._service.watch(conversation_id):
            if draft.stage is not Stage.DONE:
                yield self._layout.draw_draft(before, draft)
        yield self._drawn(conversation_id)

    # --- Messages ----------------------------------------------------------------------------

    def say(self, text: str, key: str) -> Update:
        try:
            message = self._service.check(text)  # before a conversation is begun for it
            conversation_id = self._id(key) if key else self._service.new_conversation().id
            self._service.say(conversation_id, message)
        except ChatError as error:
            return self._layout.draw_answer(note=str(error))
        empty_box = {self._layout.box: ""}
        return empty_box | self._drawn(conversation_id) | self._layout.draw_answer()

    def say_example(self, key: str, example: gr.SelectData) -> Update:
        update = self.say(example.value["text"], key)
        update.pop(self._layout.box, None)  # a draft in the box stays
        return update

    def write_again(self, key: str) -> Update:
        try:
            conversation_id = self._id(key)
            self._service.retry(conversation_id)
        except ChatError as error:
            return self._layout.draw_answer(note=str(error))
        return self._drawn(conversation_id) | self._layout.draw_answer()

    def end_reply(self, key: str) -> None:
        if key:
            self._service.stop(self._id(key))

    # --- Choices -----------------------------------------------------------------------------

    def choose(self, choice: Choice, token: str, key: str) -> Update:
        try:
            stored = self._service.choose(token, choice).choice
            update = self._drawn(self._id(key))
        except ChatError as error:
            return self._layout.draw_answer(note=str(error))
        name = wording.CHOICE_NAMES[stored]
        if stored is choice:
            return update | self._layout.draw_answer(saved=f"Saved: {name}.", token=token)
        return update | self._layout.draw_answer(
            saved=f"This question was answered before ({name}). That answer stays."
        )

    def take_back(self, token: str, key: str) -> Update:
        try:
            self._service.undo(token)
            update = self._drawn(self._id(key))
        except ChatError as error:
            return self._layout.draw_answer(note=str(error))
        return update | self._layout.draw_answer(saved="Taken back: this choice teaches nothing.")

    # --- Private -----------------------------------------------------------------------------

    def _id(self, key: str) -> ConversationId:
        return self._service.conversation(key).id

    def _drawn(self, conversation_id: ConversationId) -> Update:
        view = self._service.view(conversation_id)
        return self._layout.draw(view, self._service.shelf.list())
