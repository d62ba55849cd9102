"""Below the transcript: who wrote the last reply, its siblings and branches, and its receipt."""

from html import escape
from typing import Any

import gradio as gr

from chat_app import wording
from chat_app.dialogue import teaches
from chat_app.language import tr
from chat_app.teaching import REASONS_BETTER, REASONS_WORSE
from chat_app.ui_parts import Update, hidden, line, show, small_button
from chat_app.views import ConversationView, Place, Status
from storage.records import Choice, Role, Strength


class ReplyBar:
    """Create it inside the Chat tab, below the transcript."""

    def __init__(self) -> None:
        self.replies, self.branches = _Pager("reply"), _Pager("branch")
        with gr.Row(visible=False, elem_id="reply-bar") as self.bar:
            self.mark = gr.Markdown("", elem_id="mark")
            self.replies.body()
            self.branches.body()
            self.rank = small_button(tr("Rank more answers"), "rank-more", visible=False)
        with gr.Row(visible=False, elem_id="saved-row", elem_classes="strip") as self.saved_row:
            with gr.Column(min_width=0, elem_id="saved-lines"):
                self.saved = gr.Markdown("", elem_id="saved")
                self.receipt = gr.Markdown("", elem_id="receipt")
                self.earlier = gr.HTML("", visible=False, elem_id="earlier-choices")
            self.undo = small_button(tr("Undo  [U]"), "undo")
            self.change = small_button(tr("Change"), "change")
        self.token = hidden("saved-token")
        with gr.Accordion(
            tr("Say how much better, and why"), open=False, visible=False, elem_id="why-better"
        ) as self.more:
            self.strength = gr.Radio(
                choices=[(wording.STRENGTHS[one], one.value) for one in Strength],
                label=tr("How much better?"),
                elem_id="strength",
            )
            self.better = gr.CheckboxGroup(
                choices=[(wording.REASONS[one], one) for one in REASONS_BETTER],
                label=tr("What is good about the one you picked?"),
                elem_id="reasons-better",
            )
            self.worse = gr.CheckboxGroup(
                choices=[(wording.REASONS[one], one) for one in REASONS_WORSE],
                label=tr("What is wrong with the other?"),
                elem_id="reasons-worse",
            )
            self.comment = gr.Textbox(
                label=tr("Anything else"), lines=1, max_lines=4, elem_id="comment"
            )
            self.save = small_button(tr("Save reasons"), "save-reasons")

    @property
    def drawn(self) -> list[Any]:
        return [
            self.bar,
            self.mark,
            *self.replies.drawn,
            *self.branches.drawn,
            self.rank,
            self.saved_row,
            self.saved,
            self.receipt,
            self.earlier,
            self.undo,
            self.change,
            self.token,
            self.more,
            self.strength,
            self.better,
            self.worse,
            self.comment,
        ]

    @property
    def note(self) -> list[Any]:
        return [self.strength, self.better, self.worse, self.comment]

    def draw(self, view: ConversationView | None, status: Status) -> Update:
        if view is None or view.running or not view.turns:
            return {
                self.bar: show(visible=False),
                self.saved_row: show(visible=False),
                self.more: show(visible=False),
                self.token: "",
            }
        mark = wording.reply_mark(view)
        chat = view.conversation
        replied = view.turns[-1].message.role is Role.ASSISTANT and view.question is None
        ranks = replied and chat.learn and not teaches(chat)
        paged = view.question is None and (view.replies.of > 1 or view.branches.of > 1)
        return {
            self.bar: show(visible=bool(mark) or paged or ranks),
            self.rank: show(visible=ranks),
            self.mark: mark,
            **self.replies.draw(view.replies, tr("Reply"), shown=view.question is None),
            **self.branches.draw(view.branches, tr("Branch"), shown=view.question is None),
            **(self._no_receipt() if teaches(chat) else self._draw_receipt(view, status)),
        }

    def _no_receipt(self) -> Update:
        """A teaching chat says itself what became of what was written."""
        return {self.saved_row: show(visible=False), self.more: show(visible=False), self.token: ""}

    def _draw_receipt(self, view: ConversationView, status: Status) -> Update:
        last = view.turns[-1].id
        answer = view.answers.get(last)
        earlier = wording.earlier_choices(
            {
                one.id: one for turn, one in view.answers.items() if answer is None or one != answer
            }.values()
        )
        folded = {self.earlier: line(_earlier_html(earlier, view, status))}
        if answer is None:
            return folded | {
                self.saved_row: show(visible=bool(earlier)),
                self.saved: "",
                self.receipt: "",
                self.undo: show(visible=False),
                self.change: show(visible=False),
                self.more: show(visible=False),
                self.token: "",
            }
        decided = answer.choice in (Choice.FIRST, Choice.SECOND)
        asked = answer.reason.asked
        return folded | {
            self.saved_row: show(visible=True),
            self.saved: wording.answer_name(answer),
            self.receipt: wording.receipt(answer, status),
            self.undo: show(visible=answer.choice is not Choice.WITHDRAWN),
            self.change: show(visible=asked),
            self.token: answer.token,
            self.more: show(visible=decided and asked),
            self.strength: view.note.strength and view.note.strength.value,
            self.better: [one for one in view.note.reasons if one in REASONS_BETTER],
            self.worse: [one for one in view.note.reasons if one in REASONS_WORSE],
            self.comment: view.note.comment,
        }


def _earlier_html(summary: str, view: ConversationView, status: Status) -> str:
    """The earlier choices of this chat in a line that unfolds to all of their receipts."""
    if not summary:
        return ""
    rows = "".join(
        f"<li>“{escape(said)}”: {escape(told)}</li>"
        for said, told in wording.earlier_receipts(view, status)
    )
    return f"<details><summary>{escape(summary)}</summary><ul>{rows}</ul></details>"


class _Pager:
    """Which of several is shown, and the way to its neighbours."""

    def __init__(self, name: str) -> None:
        self._name = name
        # Outside of the row: in one, a hidden box would still take its place.
        self.before_turn = hidden(f"{name}-before-turn")
        self.after_turn = hidden(f"{name}-after-turn")

    def body(self) -> None:
        name = self._name
        with gr.Row(visible=False, elem_id=f"{name}-pager", elem_classes="pager") as self.row:
            self.before = small_button("←", f"{name}-before")
            self.place = gr.Markdown("", elem_id=f"{name}-place")
            self.after = small_button("→", f"{name}-after")

    @property
    def drawn(self) -> list[Any]:
        return [self.row, self.before, self.place, self.after, self.before_turn, self.after_turn]

    def draw(self, place: Place, noun: str, *, shown: bool) -> Update:
        return {
            self.row: show(visible=shown and place.of > 1),
            self.before: gr.update(interactive=place.before is not None),
            self.place: tr("{noun} {number} of {of}", noun=noun, number=place.number, of=place.of),
            self.after: gr.update(interactive=place.after is not None),
            self.before_turn: str(place.before or ""),
            self.after_turn: str(place.after or ""),
        }
