"""The Chat tab's events about choices: picks, better replies, reasons, changes of mind."""

from collections.abc import Callable

import gradio as gr

from chat_app import wording
from chat_app.errors import ChatError
from chat_app.language import N_, tr
from chat_app.service import ChatService
from chat_app.ui_layout import ChatLayout
from chat_app.ui_page import PageDrawing
from chat_app.ui_pair import STARTS
from chat_app.ui_parts import EACH, LAST, QUIET, Update, show
from learner.early_pick import EARLY
from storage.records import Choice, Note, Strength

OPEN_EDITOR = "() => { window.twofold.openEditor() }"
REFUSED = "() => { window.twofold.answerRefused() }"
KEPT = N_("Your text is kept. To start from another one, empty the box first.")


class ChoiceEvents:
    def __init__(self, service: ChatService, layout: ChatLayout, page: PageDrawing) -> None:
        self._service = service
        self._layout = layout
        self._page = page

    def bind(self) -> None:
        parts = self._layout
        pair, reply = parts.pair, parts.reply
        draws = QUIET | {"outputs": parts.drawn}
        for button, choice in pair.choices.items():
            # To answer the same question twice is no error, and answers may come fast.
            button.click(
                self.chooser(choice),
                [pair.token, pair.changing, parts.key],
                parts.drawn,
                **EACH,
            )
        reply.undo.click(self.take_back, [reply.token, parts.key], **draws)
        reply.change.click(self.reopen, [reply.token, parts.key], **draws)
        pair.keep.click(self.keep, parts.key, **draws)

        edits = QUIET | {"outputs": [*pair.editing, parts.note]}
        pair.write.click(self.write, [pair.token], **edits).then(None, js=OPEN_EDITOR)
        pair.start.input(
            self.start_from, [pair.start, pair.begun, pair.text, pair.token], **LAST | edits
        )
        pair.text.change(
            self.compare, [pair.start, pair.text, pair.token], edits["outputs"], **LAST
        )
        pair.cancel.click(pair.draw_no_editor, None, [pair.editor, pair.begun], **QUIET)
        saved = pair.save.click(self.save, [pair.token, pair.text, parts.key], **draws)
        saved.then(None, None, None, js=REFUSED)
        reply.save.click(self.explain, [reply.token, *reply.note, parts.key], **draws)

    def chooser(self, choice: Choice) -> Callable[..., Update]:
        """What a button of the pair does. No partial: Gradio would not see the request in it."""

        def choose(token: str, changing: str, key: str, request: gr.Request) -> Update:
            try:
                note = self._answer(choice, token, key, changing=bool(changing))
            except ChatError as error:
                note = str(error)
            if note is None:
                return self._layout.draw_note("")
            return self._page.drawn(key, request, note=note)

        return choose

    def _answer(self, choice: Choice, token: str, key: str, *, changing: bool) -> str | None:
        """Answer, also while the pair is still written.

        Returns a word to the person; None where the pair goes away by itself.
        """
        if not token:
            conversation_id = self._page.id(key)
            if choice in EARLY and self._service.pick_early(conversation_id, choice):
                return None
            question = self._service.view(conversation_id).question
            if question is None:
                return ""
            token = question.token  # both became whole under the person's finger
        if changing:
            self._service.change(token, choice)
            return ""
        stored = self._service.choose(token, choice).choice
        if stored is choice:
            return ""
        name = wording.CHOICE_NAMES[stored]
        return tr("This question was answered before ({name}). That answer stays.", name=name)

    def keep(self, key: str, request: gr.Request) -> Update:
        return self._page.drawn(key, request)

    def take_back(self, token: str, key: str, request: gr.Request) -> Update:
        return self._page.done(lambda: self._service.undo(token), key, request)

    def reopen(self, token: str, key: str, request: gr.Request) -> Update:
        """Show the pair of the last answer again, to be answered otherwise."""
        try:
            return self._layout.pair.draw_change(self._service.question(token))
        except ChatError as error:
            return self._page.drawn(key, request, note=str(error))

    # --- A better one --------------------------------------------------------------------------

    def write(self, token: str) -> Update:
        return self.start_from(STARTS[0], STARTS[0], "", token)

    def start_from(self, start: str, begun: str, text: str, token: str) -> Update:
        """Begin from another one, unless some of ``text`` is the person's own."""
        pair = self._layout.pair
        try:
            question = self._service.question(token)
        except ChatError as error:
            return self._layout.draw_note(str(error))
        if pair.is_typed(text, begun, question):
            return {pair.start: begun} | self._layout.draw_note(tr(KEPT))
        return pair.draw_editor(start, question) | self._layout.draw_note("")

    def compare(self, start: str, text: str, token: str) -> Update:
        if not token:
            return {self._layout.pair.diff: show(visible=False)}
        try:
            return self._layout.pair.draw_diff(start, text, self._service.question(token))
        except ChatError as error:
            return self._layout.draw_note(str(error))

    def save(self, token: str, text: str, key: str, request: gr.Request) -> Update:
        try:
            self._service.write_better(token, text)
        except ChatError as error:
            return self._layout.draw_note(str(error))  # the editor keeps the text
        return self._page.drawn(key, request)

    # --- Reasons -------------------------------------------------------------------------------

    def explain(
        self,
        token: str,
        strength: str | None,
        better: list[str],
        worse: list[str],
        comment: str,
        key: str,
        request: gr.Request,
    ) -> Update:
        note = Note(
            strength=Strength(strength) if strength else None,
            reasons=(*better, *worse),
            comment=comment,
        )

        def keep() -> None:
            conversation_id = self._page.id(key)
            view = self._service.view(conversation_id)
            answer = view.answers.get(view.turns[-1].id)
            if answer is None or answer.token != token:
                raise ChatError(
                    tr("This chat has changed on another page; here it is as it is now.")
                )
            self._service.teaching.annotate(conversation_id, answer.id, note)

        return self._page.done(keep, key, request)
