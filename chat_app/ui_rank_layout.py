"""The parts of the Rank tab, and how a desk and the rankings so far are drawn on them.

Drawing is stateless, as on the Chat tab (chat_app/ui_layout.py).
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import gradio as gr

from chat_app import wording_rank as words
from chat_app.language import tr
from chat_app.markup import displayed, headline
from chat_app.ranking import ANSWERS, LISTED, DeskView
from chat_app.ui_parts import Update, hidden, line, show
from chat_app.ui_rank_desk import desk_html
from storage.rankings import RankingCounts
from storage.records import PolicyVersionId
from storage.slates import MAX_ANSWERS, MIN_ANSWERS, Ranking, RankingState

PLACES = range(1, MAX_ANSWERS + 1)


class RankLayout:
    """``body`` once, inside the tab."""

    def body(self) -> None:
        self.token = hidden("rank-token")
        self.order = hidden("rank-order")
        self.saved_token = hidden("rank-saved-token")
        self.listen = gr.Button("Listen", visible="hidden", elem_id="rank-listen")  # for page.js
        gr.Markdown(tr(words.INTRO), elem_id="rank-intro")
        with gr.Row(elem_id="rank-form"):
            self.text = gr.Textbox(
                label=tr("Message"),
                placeholder=tr("Ask something that has more than one good answer"),
                lines=1,
                max_lines=8,
                elem_id="rank-text",
                scale=3,
            )
            self.write = gr.Button(
                tr("Write answers"),
                variant="primary",
                elem_id="rank-write",
                min_width=150,
                scale=0,
            )
            self.stop = gr.Button(
                tr("Stop"), visible=False, elem_id="rank-stop", min_width=150, scale=0
            )
        self.count = gr.Radio(
            choices=[(str(n), n) for n in range(MIN_ANSWERS, MAX_ANSWERS + 1)],
            value=ANSWERS,
            label=tr("How many answers?"),
            elem_id="rank-count",
        )
        self.failed = gr.Markdown(visible=False, elem_id="rank-failed")
        self.stage = gr.Markdown(visible=False, elem_id="rank-stage")
        with gr.Row(
            visible=False, elem_id="rank-saved-row", elem_classes="strip"
        ) as self.saved_row:
            self.saved = gr.Markdown("", elem_id="rank-saved")
            self.undo = gr.Button(tr("Undo  [U]"), elem_id="rank-undo", size="sm", min_width=90)
            self.change = gr.Button(tr("Change"), elem_id="rank-change", size="sm", min_width=90)
        self._work()
        self._list()

    def _work(self) -> None:
        with gr.Column(visible=False, elem_id="rank-slate") as self.slate:
            self.prompt = gr.Markdown("", elem_id="rank-prompt")
            self.about = gr.Markdown(visible=False, elem_id="rank-about")
            with gr.Row(elem_id="rank-work"):
                with gr.Column(elem_id="rank-answers", min_width=280):
                    self.panes = [_Pane(place) for place in PLACES]
                with gr.Column(visible=False, elem_id="rank-side", min_width=280) as self.side:
                    self.desk = gr.HTML(elem_id="rank-desk")
                    self.note = gr.Markdown(visible=False, elem_id="rank-note")
                    with gr.Row(elem_id="rank-actions"):
                        self.save = gr.Button(
                            tr("Save  [Enter]"), variant="primary", elem_id="rank-save"
                        )
                        self.skip = gr.Button(tr("Skip  [S]"), elem_id="rank-skip")
                    with gr.Accordion(tr("Keys, drag and ties"), open=False, elem_id="rank-help"):
                        gr.Markdown(tr(words.HELP))
                    self._end()

    def _end(self) -> None:
        self.delete = gr.Button(
            tr("Delete message and answers…"), visible=False, elem_id="delete-slate", size="md"
        )
        with gr.Column(
            visible=False, elem_id="confirm-delete-slate", elem_classes="confirm"
        ) as self.confirm_delete:
            self.delete_text = gr.Markdown("")
            with gr.Row():
                self.delete_all = gr.Button(
                    tr("Delete with lessons"), variant="stop", elem_id="delete-slate-all"
                )
                self.delete_only = gr.Button(tr("Delete them only"), elem_id="delete-slate-only")
                self.delete_no = gr.Button(tr("Keep them"), elem_id="delete-slate-no")

    def _list(self) -> None:
        with gr.Accordion(tr("Your rankings"), open=False, elem_id="rankings-box") as self.box:
            self.counts = gr.Markdown("", elem_id="rank-counts")
            self.empty = gr.Markdown(tr(words.NOTHING_YET), elem_id="no-rankings")
            self.list = gr.Radio(
                choices=[], label=tr("Your rankings"), container=False, elem_id="rankings"
            )
            self.older = gr.Markdown(visible=False, elem_id="older-rankings")
            self.forget = gr.Button(
                tr("Forget this one…"), visible=False, elem_id="forget-ranking", size="md"
            )
            with gr.Column(
                visible=False, elem_id="confirm-forget-ranking", elem_classes="confirm"
            ) as self.confirm:
                self.forget_text = gr.Markdown("")
                with gr.Row():
                    self.forget_yes = gr.Button(
                        tr("Forget it"), variant="stop", elem_id="forget-ranking-yes"
                    )
                    self.forget_no = gr.Button(tr("Keep it"), elem_id="forget-ranking-no")

    @property
    def deletion(self) -> list[Any]:
        """What ``draw_deletion`` may name."""
        return [self.confirm_delete, self.delete_text, self.delete_all, self.delete_only]

    @property
    def drawn(self) -> list[Any]:
        return [
            self.token,
            self.saved_token,
            self.write,
            self.stop,
            self.failed,
            self.stage,
            self.saved_row,
            self.saved,
            self.undo,
            self.change,
            self.slate,
            self.prompt,
            self.about,
            *(part for pane in self.panes for part in pane.parts),
            self.side,
            self.desk,
            self.note,
            self.delete,
            *self.deletion,
            self.counts,
            self.empty,
            self.list,
            self.older,
            self.forget,
            self.confirm,
            self.forget_text,
        ]

    # --- Drawing ----------------------------------------------------------------------------

    def draw_desk(self, view: DeskView) -> Update:
        """The message and its answers, and the order given so far."""
        task, slate = view.writing, view.slate
        prompt = task.prompt if task else slate.prompt if slate else ()
        shown = len(slate.answers) if slate else task.answers if task and not task.known else 0
        update: Update = {
            self.token: slate.token if slate else "",
            self.write: show(visible=task is None),
            self.stop: show(visible=task is not None),
            self.failed: line(view.failed),
            self.stage: line(tr("Writing…") if task else ""),
            self.slate: show(visible=bool(prompt)),
            self.prompt: headline(prompt[-1].content, tr("The message")) if prompt else "",
            self.about: line(words.about_slate(view)),
            self.side: show(visible=slate is not None),
            self.desk: desk_html(view, view.ranking.orders if view.ranking else None),
            self.note: line(""),
            self.delete: show(visible=view.deletable),
            self.confirm_delete: show(visible=False),
        }
        for pane in self.panes:
            text = (
                slate.answers[pane.place - 1].completion.text
                if pane.place <= shown and slate
                else ""
            )
            update |= pane.draw(text, visible=pane.place <= shown, whole=slate is not None)
        return update

    def draw_deletion(self, versions: Sequence[PolicyVersionId]) -> Update:
        """What deleting takes away, and whether lessons are to go with it."""
        return {
            self.confirm_delete: show(visible=True),
            self.delete_text: words.delete_warning(versions),
            self.delete_all: show(visible=bool(versions)),
            self.delete_only: gr.update(
                value=tr("Delete them only") if versions else tr("Delete for good")
            ),
        }

    def draw_saved(self, done: DeskView | None) -> Update:
        """What was saved last on this page, with the ways back from it."""
        ranking = done.ranking if done else None
        if done is None or ranking is None:
            return {self.saved_row: show(visible=False), self.saved_token: ""}
        said = f"{words.saved_line(ranking)} {words.receipt(ranking, held_out=done.held_out)}"
        taken_back = ranking.state is RankingState.WITHDRAWN
        return {
            self.saved_row: show(visible=True),
            self.saved_token: ranking.slate.token,
            self.saved: said,
            self.undo: show(visible=not taken_back),
            self.change: gr.update(
                value=tr("Rank them") if ranking.orders is None else tr("Change")
            ),
        }

    def draw_list(self, view: DeskView, listed: Sequence[Ranking], counts: RankingCounts) -> Update:
        """The person's rankings, newest first, the one on the desk marked."""
        now = datetime.now(UTC)
        shown = view.slate.token if view.slate else None
        older = len(listed) > LISTED
        listed = listed[:LISTED]
        known = [one.slate.token for one in listed]
        return {
            self.counts: words.counts_line(counts),
            self.empty: show(visible=not listed),
            self.older: line(tr("The newest {n} are listed.", n=LISTED) if older else ""),
            self.list: gr.update(
                choices=[(words.label(one, now), one.slate.token) for one in listed],
                value=shown if shown in known else None,
                visible=bool(listed),
            ),
            self.forget: show(visible=shown in known),
            self.confirm: show(visible=False),
        }


class _Pane:
    """One answer, and the button that makes it the next best."""

    def __init__(self, place: int) -> None:
        self.place = place
        with gr.Column(
            visible=False, elem_id=f"answer-{place}", elem_classes="pane answer", min_width=240
        ) as self.column:
            gr.Markdown(tr("### Answer {place}", place=place))
            self.text = gr.Markdown(
                "", elem_id=f"answer-{place}-text", elem_classes="reply", line_breaks=True
            )
            self.take = gr.Button(
                tr("Next best  [{place}]", place=place), elem_id=f"take-{place}", size="sm"
            )

    @property
    def parts(self) -> list[Any]:
        return [self.column, self.text, self.take]

    def draw(self, text: str, *, visible: bool, whole: bool) -> Update:
        return {
            self.column: show(visible=visible),
            self.text: displayed(text),
            self.take: show(visible=whole),
        }

    def draw_draft(self, text: str) -> Update:
        return {self.text: displayed(text)}
