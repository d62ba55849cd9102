"""The Chat tab's events about choices: picks, better replies, reasons, changes of mind."""

from functools import partial

from chat_app import wording
from chat_app.errors import ChatError
from chat_app.service import ChatService
from chat_app.ui_layout import ChatLayout
from chat_app.ui_page import PageDrawing
from chat_app.ui_pair import STARTS
from chat_app.ui_parts import QUIET, Update, show
from storage.records import Choice, Note, Strength

FOCUS_EDITOR = "() => { window.twofold.focus('better-text') }"
READY = "Both replies were ready just then: take a look, then pick."


class ChoiceEvents:
    def __init__(self, service: ChatService, layout: ChatLayout, page: PageDrawing) -> None:
        self._service = service
        self._layout = layout
        self._page = page

    def bind(self) -> None:
        parts = self._layout
        pair, reply = parts.pair, parts.reply
        here = [parts.key, parts.list.search]
        draws = QUIET | {"outputs": parts.drawn}
        for button, choice in pair.choices.items():
            button.click(partial(self.choose, choice), [pair.token, pair.changing, *here], **draws)
        reply.undo.click(self.take_back, [reply.token, *here], **draws)
        reply.change.click(self.reopen, [reply.token, *here], **draws)
        pair.keep.click(self._page.drawn, here, **draws)

        edits = QUIET | {"outputs": [*pair.editing, parts.note]}
        pair.write.click(self.write, [pair.token], **edits).then(None, js=FOCUS_EDITOR)
        pair.start.input(self.start_from, [pair.start, pair.token], **edits)
        pair.text.change(
            self.compare,
            [pair.start, pair.text, pair.token],
            trigger_mode="always_last",
            **edits,
        )
        pair.cancel.click(lambda: show(visible=False), None, pair.editor, **QUIET)
        pair.save.click(self.save, [pair.token, pair.text, *here], **draws)
        reply.save.click(self.explain, [reply.token, *reply.note, *here], **draws)

    def choose(self, choice: Choice, token: str, changing: str, key: str, words: str) -> Update:
        note = ""
        try:
            if not token:
                settled = self._service.settle(self._page.id(key))
                return (
                    self._layout.draw_note("")
                    if settled
                    else self._page.drawn(key, words, note=READY)
                )
            if changing:
                self._service.change(token, choice)
            else:
                stored = self._service.choose(token, choice).choice
                if stored is not choice:
                    name = wording.CHOICE_NAMES[stored]
                    note = f"This question was answered before ({name}). That answer stays."
        except ChatError as error:
            note = str(error)
        return self._page.done(lambda: None, key, words) | self._layout.draw_note(note)

    def take_back(self, token: str, key: str, words: str) -> Update:
        return self._page.done(lambda: self._service.undo(token), key, words)

    def reopen(self, token: str, key: str, words: str) -> Update:
        """Show the pair of the last answer again, to be answered otherwise."""
        try:
            return self._layout.pair.draw_change(self._service.question(token))
        except ChatError as error:
            return self._page.drawn(key, words, note=str(error))

    # --- A better one --------------------------------------------------------------------------

    def write(self, token: str) -> Update:
        return self.start_from(STARTS[0], token)

    def start_from(self, start: str, token: str) -> Update:
        try:
            return self._layout.pair.draw_editor(start, self._service.question(token))
        except ChatError as error:
            return self._layout.draw_note(str(error))

    def compare(self, start: str, text: str, token: str) -> Update:
        if not token:
            return {self._layout.pair.diff: show(visible=False)}
        try:
            return self._layout.pair.draw_diff(start, text, self._service.question(token))
        except ChatError as error:
            return self._layout.draw_note(str(error))

    def save(self, token: str, text: str, key: str, words: str) -> Update:
        try:
            self._service.write_better(token, text)
        except ChatError as error:
            return self._layout.draw_note(str(error))  # the editor keeps the text
        return self._page.drawn(key, words)

    # --- Reasons -------------------------------------------------------------------------------

    def explain(
        self,
        token: str,
        strength: str | None,
        better: list[str],
        worse: list[str],
        comment: str,
        key: str,
        words: str,
    ) -> Update:
        note = Note(
            strength=Strength(strength) if strength else None,
            reasons=(*better, *worse),
            comment=comment,
        )

        def keep() -> None:
            conversation_id = self._page.id(key)
            view = self._service.view(conversation_id)
            answer = view.answers[view.turns[-1].id]
            if answer.token != token:
                raise ChatError("This chat has changed on another page; here it is as it is now.")
            self._service.teaching.annotate(conversation_id, answer.id, note)

        return self._page.done(keep, key, words)
