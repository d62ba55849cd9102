"""The Data tab: every choice, looked up, corrected, left out or forgotten; its chat deleted.

The list is a radio group, so that arrow keys and screen readers need no table. Whatever is drawn
comes from ``DataService``; the page keeps the id of the pick on show and the way back to newer
pages, both of which a reload may lose.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import gradio as gr

from chat_app import wording_data as words
from chat_app.data_service import DataService, PickPage
from chat_app.errors import ChatError
from chat_app.language import tr, upper_first
from chat_app.pick_query import PickQuery
from chat_app.ui_data_exchange import ExchangePanels
from chat_app.ui_examples import examples_html
from chat_app.ui_parts import LAST, QUIET, Update, line
from chat_app.ui_pick import PickPanel
from chat_app.wording import CHOICE_NAMES, version_name
from storage.pick_list import PickDetail
from storage.records import AskReason, Choice, ComparisonId

# On a phone the pick stands under the list.
SHOW_DETAIL = (
    "() => { if (innerWidth < 900) "
    "document.getElementById('pick-detail')?.scrollIntoView({ block: 'start' }) }"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the list a page is: the newest pick of each page before, and of this one."""

    starts: tuple[int | None, ...] = (None,)


class DataPage:
    """Create it, ``body`` inside its tab, then ``bind`` once."""

    def __init__(self, data: DataService) -> None:
        self._data = data
        self._pick = PickPanel()
        self._exchange = ExchangePanels(data)

    # --- Parts -------------------------------------------------------------------------------

    def body(self) -> None:
        self.place = gr.State(Place())
        # First, so that tabs.css can keep it in sight wherever on the tab something is pressed.
        self.note = gr.Markdown(visible=False, elem_id="data-note")
        self._filters()
        self.count = gr.Markdown("", elem_id="picks-count")
        self.beside = gr.Markdown(visible=False, elem_id="beside-picks")
        self.empty = gr.Markdown(tr(words.NO_PICKS), visible=False, elem_id="no-picks")
        with gr.Row(elem_id="picks-row"):
            with gr.Column(min_width=280, elem_id="picks-column") as self.list_column:
                self.picks = gr.Radio(
                    choices=[], label=tr("Choices"), container=False, elem_id="picks"
                )
                with gr.Row(elem_id="picks-pager"):
                    self.newer = gr.Button(tr("Newer"), elem_id="newer", size="md", min_width=90)
                    self.older = gr.Button(tr("Older"), elem_id="older", size="md", min_width=90)
            self._pick.body()
        with gr.Accordion(
            tr("Example dialogues"), open=False, visible=False, elem_id="examples-box"
        ) as self.examples_box:
            self.examples = gr.HTML(elem_id="examples")
        self._exchange.body()

    def _filters(self) -> None:
        with gr.Row(elem_id="data-search-row"):
            self.words = gr.Textbox(
                label=tr("Search"),
                placeholder=tr("Words of a message or a reply"),
                max_lines=1,
                elem_id="data-search",
                scale=3,
            )
            self.state = gr.Radio(
                choices=[(name, value) for value, name in words.STATES.items()],
                value="",
                label=tr("Show"),
                elem_id="data-state",
                scale=2,
            )
        with gr.Accordion(tr("More filters"), open=False, elem_id="data-filters"):
            with gr.Row():
                self.choice = gr.Dropdown(
                    choices=[(tr("Any"), "")] + [(CHOICE_NAMES[one], one.value) for one in Choice],
                    value="",
                    label=tr("Chosen"),
                    elem_id="data-choice",
                )
                self.reason = gr.Dropdown(
                    choices=[(tr("Any"), "")]
                    + [(upper_first(words.reason_of(one)), one.value) for one in AskReason],
                    value="",
                    label=tr("Asked because"),
                    elem_id="data-reason",
                )
                self.version = gr.Dropdown(
                    choices=[(tr("Any"), "")],
                    value="",
                    label=tr("Written by"),
                    elem_id="data-version",
                )
            with gr.Row():
                self.since = gr.Textbox(
                    label=tr("From day"),
                    placeholder="2026-11-22",
                    elem_id="data-since",
                    max_lines=1,
                )
                self.until = gr.Textbox(
                    label=tr("To day"), placeholder="2026-11-22", elem_id="data-until", max_lines=1
                )
                self.clear = gr.Button(tr("Clear filters"), elem_id="data-clear", size="md")
        self.query = [
            self.words,
            self.choice,
            self.reason,
            self.version,
            self.state,
            self.since,
            self.until,
        ]

    # --- Wiring ------------------------------------------------------------------------------

    def bind(self, tab: gr.Tab) -> None:
        drawn = [
            self.place,
            self.count,
            self.beside,
            self.examples_box,
            self.examples,
            self.empty,
            self.list_column,
            self.picks,
            self.newer,
            self.older,
            self.note,
            self.version,
            *self._pick.parts,
            *self._exchange.drawn_with_the_list,
        ]
        tab.select(self.open, self.query, drawn, **QUIET)
        filters = [box.change for box in self.query[1:]]
        # Who types fast asks for the last word only.
        gr.on(
            [self.words.submit, self.words.change, *filters],
            self.find,
            self.query,
            drawn,
            **LAST,
        )
        self.clear.click(lambda: [""] * len(self.query), None, self.query, **QUIET)
        self.older.click(self.go_older, [self.place, *self.query], drawn, **LAST)
        self.newer.click(self.go_newer, [self.place, *self.query], drawn, **LAST)
        # Arrow keys move fast: the one they end on is shown.
        self.picks.input(
            self.show,
            [self.picks],
            [*self._pick.parts, self.note],
            **LAST,
        ).then(None, None, None, js=SHOW_DETAIL)

        acts = QUIET | {"outputs": drawn}
        here = [self._pick.shown, self.place, *self.query]
        self._pick.answer.input(self.correct, [self._pick.answer, *here], drawn, **LAST)
        self._pick.exclude.click(self.leave_out, here, **acts)
        self._pick.include.click(self.take_in, here, **acts)
        self._pick.forget.click(
            self.ask_forget,
            [self._pick.shown],
            [self._pick.confirm_forget, self._pick.forget_text, self.note],
            **QUIET,
        )
        self._pick.forget_yes.click(self.do_forget, here, **acts)
        self._pick.delete.click(
            self.ask_delete,
            [self._pick.shown],
            [self._pick.confirm_delete, self._pick.delete_text, self.note],
            **QUIET,
        )
        self._pick.delete_all.click(self.do_delete_with_lessons, here, **acts)
        self._pick.delete_chat.click(self.do_delete, here, **acts)
        for button, column in (
            (self._pick.forget_no, self._pick.confirm_forget),
            (self._pick.delete_no, self._pick.confirm_delete),
        ):
            button.click(lambda: gr.update(visible=False), None, column, **QUIET)
        self._exchange.bind(self.query)
        self._exchange.ended.change(self.refresh, [self.place, *self.query], drawn, **LAST)

    # --- The list ----------------------------------------------------------------------------

    def open(self, *query: str) -> Update:
        """The list as the filters stand, with what has come since."""
        return self._listed(Place(), query) | self._beside_the_list(query)

    def refresh(self, place: Place, *query: str) -> Update:
        """The same page of the list, beside the pick on show, with what an import brought."""
        return self._listed(place, query, keep_detail=True) | self._beside_the_list(query)

    def _beside_the_list(self, query: tuple[str, ...]) -> Update:
        examples = self._data.examples()
        return {
            self.version: self._versions(query),
            self.beside: line(words.beside_line(*self._data.beside())),
            self.examples_box: gr.update(visible=bool(examples)),
            self.examples: examples_html(examples, datetime.now(UTC)),
        }

    def find(self, *query: str) -> Update:
        return self._listed(Place(), query)

    def go_older(self, place: Place, *query: str) -> Update:
        try:
            page = self._page(place, query)
        except ChatError as error:
            return {self.note: line(str(error))}
        if page.next is None:
            return self._listed(place, query)
        return self._listed(Place((*place.starts, page.next)), query)

    def go_newer(self, place: Place, *query: str) -> Update:
        return self._listed(Place(place.starts[:-1] or (None,)), query)

    def _page(self, place: Place, query: tuple[str, ...]) -> PickPage:
        start = place.starts[-1]
        before = None if start is None else ComparisonId(start)
        return self._data.page(PickQuery.listed(query).filter(), before)

    def _listed(self, place: Place, query: tuple[str, ...], *, keep_detail: bool = False) -> Update:
        try:
            page = self._page(place, query)
        except ChatError as error:
            return {self.note: line(str(error))}
        filtered = not PickQuery.listed(query).is_empty
        now = datetime.now(UTC)
        hidden = {} if keep_detail else self._pick.hide()
        return hidden | {
            self.place: place,
            self.count: line(words.choices_found(page.total, filtered) if page.total else ""),
            self.empty: gr.update(
                value=tr(words.NOTHING_FOUND) if filtered else tr(words.NO_PICKS),
                visible=not page.total,
            ),
            self.list_column: gr.update(visible=bool(page.total)),
            self.picks: gr.update(
                choices=[(words.pick_label(row, now), int(row.id)) for row in page.rows],
                **({} if keep_detail else {"value": None}),
            ),
            self.newer: gr.update(interactive=len(place.starts) > 1),
            self.older: gr.update(interactive=page.next is not None),
            self.note: line(""),
            **self._exchange.draw(PickQuery.listed(query)),
        }

    def _versions(self, query: tuple[str, ...]) -> Update:
        known = [(upper_first(version_name(one)), str(one)) for one in self._data.versions()]
        return gr.update(choices=[(tr("Any"), ""), *known], value=PickQuery.listed(query).version)

    # --- One pick ----------------------------------------------------------------------------

    def show(self, pick: int | None) -> Update:
        if pick is None:
            return self._pick.hide()
        try:
            return self._pick.draw(self._data.detail(ComparisonId(pick))) | {self.note: line("")}
        except ChatError as error:
            return self._pick.hide() | {self.note: line(str(error))}

    def correct(self, answer: str, pick: int, place: Place, *query: str) -> Update:
        changed = self._try(lambda: self._data.correct(ComparisonId(pick), Choice(answer)))
        said = tr("Changed. The judges know already.")
        return self._after(changed, said, place, query, if_not=tr("Changed."))

    def leave_out(self, pick: int, place: Place, *query: str) -> Update:
        changed = self._try(lambda: self._data.exclude(ComparisonId(pick)))
        return self._after(
            changed, tr("Left out: no later lesson uses it. What was learned stays."), place, query
        )

    def take_in(self, pick: int, place: Place, *query: str) -> Update:
        changed = self._try(lambda: self._data.include(ComparisonId(pick)))
        said = tr("Taken back in: it teaches again.")
        return self._after(changed, said, place, query, if_not=tr("Taken back in."))

    def ask_forget(self, pick: int) -> Update:
        try:
            seen = self._data.versions_that_saw(ComparisonId(pick))
        except ChatError as error:
            return {self.note: line(str(error))}
        return {
            self._pick.confirm_forget: gr.update(visible=True),
            self._pick.forget_text: words.forget_warning(seen),
        }

    def do_forget(self, pick: int, place: Place, *query: str) -> Update:
        done = self._try(lambda: self._data.forget(ComparisonId(pick)))
        if isinstance(done, str):
            return self._after(done, "", place, query)
        changed = self._try(lambda: self._data.detail(ComparisonId(pick)))
        return self._after(changed, words.forgotten_line(done), place, query)

    def ask_delete(self, pick: int) -> Update:
        try:
            seen = self._data.versions_that_saw_chat(ComparisonId(pick))
        except ChatError as error:
            return {self.note: line(str(error))}
        return {
            self._pick.confirm_delete: gr.update(visible=True),
            self._pick.delete_text: words.delete_warning(seen),
        }

    def do_delete_with_lessons(self, pick: int, place: Place, *query: str) -> Update:
        return self._deleted(pick, place, query, unlearn=True)

    def do_delete(self, pick: int, place: Place, *query: str) -> Update:
        return self._deleted(pick, place, query, unlearn=False)

    def _deleted(self, pick: int, place: Place, query: tuple[str, ...], *, unlearn: bool) -> Update:
        try:
            chat = self._data.detail(ComparisonId(pick)).comparison.conversation_id
            done = self._data.delete_chat(chat, unlearn=unlearn)
        except ChatError as error:
            return {self.note: line(str(error))}
        return self._listed(place, query) | {self.note: line(words.deleted_line(done))}

    @staticmethod
    def _try(change: Any) -> Any:  # noqa: ANN401 - what the service returns, or a sentence
        try:
            return change()
        except ChatError as error:
            return str(error)

    def _after(
        self,
        changed: PickDetail | str,
        said: str,
        place: Place,
        query: tuple[str, ...],
        *,
        if_not: str = "",
    ) -> Update:
        """The list and the pick as they are now, and what was done or why it was not.

        ``if_not`` is what to say where nothing learns from the pick, with the reason.
        """
        if isinstance(changed, str):
            return {self.note: line(changed)}
        if if_not and not words.is_learned_from(changed):
            said = f"{if_not} {words.state_of(changed)}"
        listed = self._listed(place, query, keep_detail=True)
        return listed | self._pick.draw(changed) | {self.note: line(said)}
