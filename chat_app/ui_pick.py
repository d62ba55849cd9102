"""One pick in full on the Data tab: both replies, what is known, and what can be done with it."""

from datetime import UTC, datetime
from html import escape
from typing import Any

import gradio as gr

from chat_app import wording_data as words
from chat_app.language import tr
from chat_app.markup import displayed, headline
from chat_app.ui_parts import Update
from chat_app.wording import CHOICE_NAMES, age
from chat_app.wording_labels import of_pair
from storage.pick_list import PickDetail
from storage.records import AskReason


class PickPanel:
    """``parts`` are what ``draw`` and ``hide`` may name; the buttons are wired by the tab."""

    def body(self) -> None:
        self.shown = gr.State(None)
        with gr.Column(visible=False, min_width=280, elem_id="pick-detail") as self.column:
            self._parts()

    def _parts(self) -> None:
        self.title = gr.Markdown("", elem_id="pick-title")
        self.before = gr.Markdown("", elem_id="pick-before")
        with gr.Row(elem_id="pick-replies"):
            with gr.Column(min_width=220, elem_classes="pane"):
                self.first_title = gr.Markdown("", elem_id="pick-first-title")
                self.first = gr.Markdown("", elem_classes="reply", line_breaks=True)
            with gr.Column(min_width=220, elem_classes="pane"):
                self.second_title = gr.Markdown("", elem_id="pick-second-title")
                self.second = gr.Markdown("", elem_classes="reply", line_breaks=True)
        self.facts = gr.HTML(elem_id="pick-facts")
        self.answer = gr.Radio(
            choices=[(CHOICE_NAMES[one], one.value) for one in words.CORRECTIONS],
            label=tr("Your choice (changing it is saved at once)"),
            elem_id="pick-answer",
        )
        with gr.Row(elem_id="pick-actions"):
            self.exclude = gr.Button(
                tr("Leave out"), elem_id="pick-exclude", size="md", min_width=120
            )
            self.include = gr.Button(
                tr("Take back in"), elem_id="pick-include", size="md", min_width=120, visible=False
            )
            self.forget = gr.Button(tr("Forget…"), elem_id="pick-forget", size="md", min_width=120)
            self.delete = gr.Button(
                tr("Delete its chat…"), elem_id="pick-delete", size="md", min_width=120
            )
        with gr.Column(visible=False, elem_id="confirm-forget", elem_classes="confirm") as column:
            self.forget_text = gr.Markdown("")
            with gr.Row():
                self.forget_yes = gr.Button(tr("Forget it"), variant="stop", elem_id="forget-yes")
                self.forget_no = gr.Button(tr("Keep it"), elem_id="forget-no")
        self.confirm_forget = column
        with gr.Column(visible=False, elem_id="confirm-delete", elem_classes="confirm") as column:
            self.delete_text = gr.Markdown("")
            with gr.Row():
                self.delete_all = gr.Button(
                    tr("Delete chat and lessons"), variant="stop", elem_id="delete-all"
                )
                self.delete_chat = gr.Button(tr("Delete chat only"), elem_id="delete-chat")
                self.delete_no = gr.Button(tr("Keep it"), elem_id="delete-no")
        self.confirm_delete = column

    @property
    def parts(self) -> list[Any]:
        return [
            self.shown,
            self.column,
            self.title,
            self.before,
            self.first_title,
            self.first,
            self.second_title,
            self.second,
            self.facts,
            self.answer,
            self.exclude,
            self.include,
            self.confirm_forget,
            self.confirm_delete,
        ]

    def hide(self) -> Update:
        return {
            self.shown: None,
            self.column: gr.update(visible=False),
            self.confirm_forget: gr.update(visible=False),
            self.confirm_delete: gr.update(visible=False),
        }

    def draw(self, pick: PickDetail) -> Update:
        pair, answer = pick.comparison, pick.answers[-1]
        final = pick.row.forgotten
        return {
            self.shown: int(pair.id),
            self.column: gr.update(visible=True),
            self.title: headline(pair.prompt[-1].content, tr("The message")),
            self.before: words.earlier(pair.prompt[:-1]),
            self.first_title: words.reply_title(1, answer.choice),
            self.first: displayed(pair.first.completion.text),
            self.second_title: words.reply_title(2, answer.choice),
            self.second: displayed(pair.second.completion.text),
            self.facts: facts_html(pick, datetime.now(UTC)),
            self.answer: gr.update(
                value=answer.choice.value if answer.choice in words.CORRECTIONS else None,
                interactive=not final,
            ),
            self.exclude: gr.update(visible=not pick.row.excluded and not final),
            self.include: gr.update(visible=pick.row.excluded and not final),
            self.confirm_forget: gr.update(visible=False),
            self.confirm_delete: gr.update(visible=False),
        }


def facts_html(pick: PickDetail, now: datetime) -> str:
    """What is known of a pick, as a list of terms; the last is a link to its chat."""
    pair, question = pick.comparison, pick.comparison.question
    authors = [words.author_of(one) for one in (pair.first, pair.second)]
    facts = [
        (tr("Learning"), words.state_of(pick)),
        (
            tr("Asked"),
            tr(
                "{when}, because {reason}",
                when=age(pair.asked_at, now),
                reason=words.reason_of(question.reason),
            ),
        ),
        (tr("Judges said"), words.judged(question)),
        (
            tr("Written by"),
            authors[0]
            if authors[0] == authors[1]
            else tr("{one} and {other}", one=authors[0], other=authors[1]),
        ),
        (tr("Lessons"), words.lessons_of(pick.lessons)),
        (tr("Answers"), words.history(pick.answers, now)),
    ]
    if marked := of_pair(pick.labels):
        facts.append((tr("Marked"), marked))
    if question.reason is AskReason.IMPORTED:
        facts = [fact for fact in facts if fact[0] not in (tr("Judges said"), tr("Written by"))]
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    link = f'<a href="/?c={escape(pick.conversation_key)}">{tr("Open its chat")}</a>'
    return f'<dl class="terms">{rows}</dl><p>{link}</p>'
