"""The question: two replies, a button under each, and the other answers.

The buttons of the two work from the first word: the reply that is chosen while both are written
goes on alone (docs/decisions/0005).
"""

import difflib
from typing import Any

import gradio as gr

from chat_app import wording
from chat_app.language import N_, tr
from chat_app.markup import displayed
from chat_app.ui_parts import Update, hidden, show
from learner.protocols import Draft
from storage.records import Choice, Comparison

STARTS = (N_("Reply 1"), N_("Reply 2"), N_("Empty"))
"""What a better reply may be written from."""
QUESTIONS = (N_("## Which reply do you prefer?"), N_("## Which reply do you prefer now?"))
"""What is asked, and asked again to change an answer."""


class PairPanel:
    """Create it inside the Chat tab."""

    def __init__(self) -> None:
        self.token = hidden("question-token")
        self.changing = hidden("changing")
        self.begun = hidden("better-begun")  # what the open editor's text began from
        with gr.Column(visible=False, elem_id="pair") as self.panel:
            self.title = gr.Markdown("", elem_id="pair-title")
            self.why = gr.Markdown("", elem_id="why")
            with gr.Row(elem_id="pair-row"):
                self.first, self.first_better = _pane(1)
                self.second, self.second_better = _pane(2)
            with gr.Row(elem_id="pair-more"):
                self.tie = gr.Button(tr("About the same  [0]"), elem_id="choose-tie", size="md")
                self.both_bad = gr.Button(
                    tr("Both are bad  [9]"), elem_id="choose-both-bad", size="md"
                )
                self.write = gr.Button(tr("Write a better one  [E]"), elem_id="write", size="md")
                self.skip = gr.Button(tr("Skip  [S]"), elem_id="choose-skip", size="md")
                self.keep = gr.Button(tr("Keep my answer"), elem_id="keep-answer", size="md")
            with gr.Column(visible=False, elem_id="editor") as self.editor:
                self.start = gr.Radio(
                    choices=[(tr(start), start) for start in STARTS],
                    value=STARTS[0],
                    label=tr("Start from"),
                    elem_id="start-from",
                )
                self.text = gr.Textbox(
                    label=tr("Your reply"), lines=4, max_lines=16, elem_id="better-text"
                )
                self.diff = gr.HighlightedText(
                    label=tr("What you changed"),
                    combine_adjacent=True,
                    show_legend=True,
                    color_map={tr("added"): "green", tr("left out"): "red"},
                    visible=False,
                    elem_id="better-diff",
                )
                with gr.Row(elem_id="editor-row"):
                    self.save = gr.Button(
                        tr("Go on with my reply"),
                        variant="primary",
                        elem_id="save-better",
                        size="md",
                    )
                    self.cancel = gr.Button(tr("Cancel"), elem_id="cancel-better", size="md")
            with gr.Accordion(
                tr("What happens with my answer?"), open=False, elem_id="answers-help"
            ):
                gr.Markdown(tr(wording.ANSWERS_HELP))
            gr.Markdown(tr(wording.KEYS_HINT), elem_id="pair-keys")
        self.choices = {
            self.first_better: Choice.FIRST,
            self.second_better: Choice.SECOND,
            self.tie: Choice.TIE,
            self.both_bad: Choice.BOTH_BAD,
            self.skip: Choice.SKIP,
        }

    @property
    def drawn(self) -> list[Any]:
        return [
            self.token,
            self.changing,
            self.panel,
            self.title,
            self.why,
            self.first,
            self.second,
            *self.choices,
            self.write,
            self.keep,
            self.editor,
            self.begun,
        ]

    @property
    def moving(self) -> list[Any]:
        """What ``draw_draft`` may name."""
        return [
            self.token,
            self.changing,
            self.panel,
            self.first,
            self.second,
        ]

    @property
    def editing(self) -> list[Any]:
        return [self.editor, self.begun, self.start, self.text, self.diff]

    def draw(self, question: Comparison | None) -> Update:
        """The open question; without one the panel is hidden, ready for a pair that is written."""
        if question is None:
            return {
                self.panel: show(visible=False),
                self.title: tr("## Two replies are being written…"),
                self.why: tr("Choose as soon as you know: the other one then stops."),
                self.token: "",
                self.changing: "",
                self.first: _pane_text(""),
                self.second: _pane_text(""),
                self.first_better: gr.update(value=_better(1), interactive=True),
                self.second_better: gr.update(value=_better(2), interactive=True),
                self.tie: gr.update(interactive=False),
                self.both_bad: gr.update(interactive=False),
                self.write: gr.update(interactive=False, visible=True),
                self.skip: gr.update(interactive=True, visible=True),
                self.keep: show(visible=False),
                **self.draw_no_editor(),
            }
        return self._draw_pair(question) | {
            self.title: tr(QUESTIONS[0]),
            self.why: wording.why_asked(question.question),
            self.changing: "",
            self.skip: gr.update(interactive=True, visible=True),
            self.write: gr.update(interactive=True, visible=True),
            self.keep: show(visible=False),
        }

    def draw_change(self, question: Comparison) -> Update:
        """The same pair again, to be answered otherwise."""
        return self._draw_pair(question) | {
            self.title: tr(QUESTIONS[1]),
            self.why: tr("Your new answer counts, the one before stays in the history."),
            self.changing: "yes",
            self.skip: show(visible=False),
            self.write: show(visible=False),
            self.keep: show(visible=True),
        }

    def _draw_pair(self, question: Comparison) -> Update:
        return {
            self.panel: show(visible=True),
            self.token: question.token,
            self.first: displayed(question.first.completion.text),
            self.second: displayed(question.second.completion.text),
            self.first_better: gr.update(value=_better(1), interactive=True),
            self.second_better: gr.update(value=_better(2), interactive=True),
            self.tie: gr.update(interactive=True),
            self.both_bad: gr.update(interactive=True),
            **self.draw_no_editor(),
        }

    def draw_draft(self, draft: Draft, *, begun: bool) -> Update:
        """The two places of a pair while it is written, after ``draw`` without a question;
        ``begun``: only the texts are new."""
        texts = {self.first: _pane_text(draft.texts[0]), self.second: _pane_text(draft.texts[1])}
        if begun:
            return texts
        return texts | {
            # News leave alone a pair whose answer is being changed: its key must not pick these.
            self.token: "",
            self.changing: "",
            self.panel: show(visible=True),
        }

    def draw_editor(self, start: str, question: Comparison) -> Update:
        """The place to write a better reply, begun from one of the two or from nothing."""
        text = self.begun_from(start, question)
        return {
            self.editor: show(visible=True),
            self.begun: start,
            self.start: start,
            self.text: text,
            self.diff: show(visible=False),
        }

    def draw_no_editor(self) -> Update:
        return {self.editor: show(visible=False), self.begun: ""}

    def is_typed(self, text: str, begun: str, question: Comparison) -> bool:
        """Whether a person wrote any of this text, which began from ``begun``."""
        before = self.begun_from(begun, question)
        return bool(text.strip()) and text.splitlines() != before.splitlines()

    def draw_diff(self, start: str, text: str, question: Comparison) -> Update:
        parts = changes(self.begun_from(start, question), text)
        return {self.diff: gr.update(value=parts, visible=any(label for _, label in parts))}

    @staticmethod
    def begun_from(start: str, question: Comparison) -> str:
        if start == STARTS[2]:
            return ""
        return (question.first if start == STARTS[0] else question.second).completion.text


def changes(before: str, after: str) -> list[tuple[str, str | None]]:
    """The words of both texts in order, each with "added", "left out" or no label."""
    old, new = _words(before), _words(after)
    parts: list[tuple[str, str | None]] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            parts.append(("".join(old[a:b]), None))
            continue
        if a < b:
            parts.append(("".join(old[a:b]), tr("left out")))
        if c < d:
            parts.append(("".join(new[c:d]), tr("added")))
    return parts


def _words(text: str) -> list[str]:
    """Words with the space after them, so that joining them gives the text."""
    words: list[str] = []
    for part in text.splitlines(keepends=True):
        words += [f"{word} " for word in part.split(" ")[:-1]] + part.split(" ")[-1:]
    return words


def _better(number: int) -> str:
    return tr("Reply {number} is better  [{number}]", number=number)


def _pane_text(text: str) -> str:
    return displayed(text) if text else tr("*Being written…*")


def _pane(number: int) -> tuple[gr.Markdown, gr.Button]:
    with gr.Column(min_width=260, elem_id=f"pane-{number}", elem_classes="pane"):
        gr.Markdown(tr("### Reply {number}", number=number), elem_id=f"pane-{number}-title")
        text = gr.Markdown("", elem_id=f"reply-{number}", elem_classes="reply", line_breaks=True)
        button = gr.Button(
            _better(number), variant="primary", elem_id=f"choose-{number}", size="md"
        )
    return text, button
