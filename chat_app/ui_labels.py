"""Below the transcript, folded away: what is wrong with one reply, marked and taken back at once.

A box that is checked is saved as it is checked; a listener therefore draws no box but after an
error, or what a quick second click set would be drawn over.
"""

import json
from typing import Any

import gradio as gr

from chat_app import wording_labels as words
from chat_app.dialogue import teaches
from chat_app.errors import ChatError
from chat_app.language import tr
from chat_app.revisions import with_key
from chat_app.service import ChatService
from chat_app.ui_parts import LAST, Update, line, show
from chat_app.views import ConversationView
from storage.records import Role, Turn, TurnId


class LabelFold:
    """Create it inside the Chat tab, below the reply bar."""

    def __init__(self) -> None:
        with gr.Accordion(
            words.fold_title(()), open=False, visible=False, elem_id="labels"
        ) as self.fold:
            self.which = gr.Dropdown(
                choices=[(tr("The last one"), "")],
                value="",
                label=tr("Which reply?"),
                filterable=False,
                visible=False,
                elem_id="labels-which",
            )
            self.marks = gr.CheckboxGroup(
                choices=[(name, label.value) for label, name in words.LABELS.items()],
                label=tr("What is wrong with it? Mark all that holds"),
                info=tr(
                    "Saved at once, and taken back by the same box. Marks are kept with the reply "
                    "and leave with your exports; I do not learn from them."
                ),
                elem_id="labels-marks",
            )

    @property
    def drawn(self) -> list[Any]:
        return [self.fold, self.which, self.marks]

    def draw(self, view: ConversationView | None, which: str = "") -> Update:
        """``which`` names an earlier reply; the last one where it is empty, or not there."""
        replies = _replies(view)
        if view is None or not replies:
            return {self.fold: show(visible=False), self.which: "", self.marks: []}
        chosen = next((one for one in replies if str(one.id) == which), replies[-1])
        labels = view.labels.get(chosen.id, ())
        return {
            self.fold: gr.update(visible=True, label=words.fold_title(labels)),
            self.which: gr.update(
                choices=words.reply_choices(replies),
                value="" if chosen is replies[-1] else str(chosen.id),
                visible=len(replies) > 1,
            ),
            self.marks: [label.value for label in labels],
        }


class LabelEvents:
    """``key``, ``turns`` and ``seen`` are the page's: its chat, the turns it shows, its mark."""

    def __init__(
        self,
        service: ChatService,
        fold: LabelFold,
        *,
        key: gr.Textbox,
        turns: gr.Textbox,
        seen: gr.Textbox,
        note: gr.Markdown,
    ) -> None:
        self._service = service
        self._fold = fold
        self._key, self._turns, self._seen, self._note = key, turns, seen, note

    def bind(self) -> None:
        fold = self._fold
        fold.marks.input(
            self.mark,
            [fold.marks, fold.which, self._turns, self._seen, self._key],
            [*fold.drawn, self._seen, self._note],
            **LAST,
        )
        fold.which.input(self.turn_to, [fold.which, self._key], [*fold.drawn, self._note], **LAST)

    def mark(self, marks: list[str], which: str, turns: str, seen: str, key: str) -> Update:
        try:
            chat = self._service.conversation(key).id
            was_current = not self._service.revisions.news(seen, key)["chat"]
            turn_id = TurnId(int(which or json.loads(turns)[-1]))
            self._service.teaching.label(chat, turn_id, marks)
            view = self._service.view(chat)
        except ChatError as error:
            return self._refused(str(error), key)
        update: Update = {
            self._fold.fold: gr.update(label=words.fold_title(view.labels.get(turn_id, ()))),
            self._note: line(""),
        }
        if was_current:  # else the page still has to draw what it has not seen
            update[self._seen] = with_key(view.mark, key)
        return update

    def turn_to(self, which: str, key: str) -> Update:
        """Show what is marked in another reply."""
        try:
            view = self._service.view(self._service.conversation(key).id)
        except ChatError as error:
            return self._refused(str(error), key)
        return self._fold.draw(view, which) | {self._note: line("")}

    def _refused(self, sentence: str, key: str) -> Update:
        """Why, beside the boxes as they are stored."""
        try:
            view = self._service.view(self._service.conversation(key).id)
        except ChatError:
            view = None
        return self._fold.draw(view) | {self._note: line(sentence)}


def _replies(view: ConversationView | None) -> list[Turn]:
    """What can be marked now: nothing while one is written, nor what a person wrote to teach."""
    if view is None or view.running or view.question is not None or teaches(view.conversation):
        return []
    if not view.turns or view.turns[-1].message.role is not Role.ASSISTANT:
        return []
    return [turn for turn in view.turns if turn.message.role is Role.ASSISTANT]
