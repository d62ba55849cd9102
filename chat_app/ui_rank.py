"""The Rank tab's events: a message, several answers to it, and the order a person puts them in.

The order is built in the browser (assets/rank.js) and travels with Save; everything else is drawn
from ``RankingDesk``, so that a reload, a second page or a restart find the same desk.
"""

from collections.abc import Iterator

import gradio as gr

from chat_app import wording_rank as words
from chat_app.errors import ChatError
from chat_app.service import ChatService
from chat_app.ui_parts import QUIET, STREAM, Update, line, show
from chat_app.ui_rank_desk import desk_html, orders_of
from chat_app.ui_rank_layout import RankLayout
from learner.protocols import Stage

FORGET = "(saved) => { window.twofold.rank.forget(saved) }"
WITH_ORDER = "(token, _) => [token, window.twofold.rank.value()]"


class RankPage:
    def __init__(self, service: ChatService, layout: RankLayout) -> None:
        self._desk = service.ranking
        self._layout = layout

    def bind(self, tab: gr.Tab) -> None:
        parts = self._layout
        draws = QUIET | {"outputs": parts.drawn}
        here = [parts.token, parts.saved_token]
        opened = tab.select(self.draw, here, **draws)
        begun = gr.on(
            [parts.write.click, parts.text.submit], self.begin, [parts.text, parts.count, *here],
            [parts.text, *parts.drawn], **QUIET,
        )  # fmt: skip
        for event in (opened, begun):
            event.then(self.watch, here, parts.drawn, **STREAM)
        parts.listen.click(self.watch, here, parts.drawn, **STREAM)
        parts.stop.click(self.end, None, None, **QUIET)
        parts.save.click(self.keep, [parts.token, parts.order], js=WITH_ORDER, **draws).then(
            None, [parts.saved_token], None, js=FORGET
        )
        parts.skip.click(self.pass_over, [parts.token], **draws)
        parts.undo.click(self.take_back, here, **draws)
        parts.change.click(self.reopen, [parts.saved_token], **draws)
        parts.list.input(self.open, [parts.list], **draws)
        parts.forget.click(
            self.ask_forget, [parts.token], [parts.confirm, parts.forget_text, parts.note], **QUIET
        )
        parts.forget_yes.click(self.do_forget, [parts.token], **draws)
        parts.forget_no.click(lambda: show(visible=False), None, parts.confirm, **QUIET)
        parts.delete.click(self.ask_delete, [parts.token], [*parts.deletion, parts.note], **QUIET)
        parts.delete_all.click(self.do_delete_with_lessons, [parts.token], **draws)
        parts.delete_only.click(self.do_delete, [parts.token], **draws)
        parts.delete_no.click(lambda: show(visible=False), None, parts.confirm_delete, **QUIET)

    # --- Events ------------------------------------------------------------------------------

    def draw(self, token: str = "", saved: str = "") -> Update:
        """The desk as it is; ``saved`` is the token of what was saved last on this page."""
        try:
            view = self._desk.view(token)
            done = self._desk.view(saved) if saved and saved != token else None
        except ChatError:  # what this page showed was deleted meanwhile
            view, done = self._desk.view(), None
        parts = self._layout
        update = parts.draw_desk(view) | parts.draw_saved(done)
        return update | parts.draw_list(view, self._desk.list(), self._desk.counts())

    def begin(self, text: str, count: int, token: str, saved: str) -> Update:
        try:
            self._desk.begin(text, count)
        except ChatError as error:
            return self.draw(token, saved) | {self._layout.failed: line(str(error))}
        return {self._layout.text: ""} | self.draw("", saved)

    def watch(self, token: str, saved: str) -> Iterator[Update]:
        """Follow the answers being written, if any, and draw their end."""
        task = self._desk.view().writing
        for draft in self._desk.watch():
            if draft.stage is Stage.DONE or task is None:
                continue
            update: Update = {self._layout.stage: line(words.stage_line(task, draft))}
            if not task.known:  # those that are there already get a place of their own in the end
                for pane, text in zip(self._layout.panes, draft.texts, strict=False):
                    update |= pane.draw_draft(text)
            yield update
        end = self.draw("" if task else token, saved)
        if not self._desk.view().failed:
            end.pop(self._layout.failed)  # what the event before this one had to say stays
        yield end

    def end(self) -> None:
        self._desk.stop()

    def keep(self, token: str, order: str) -> Update:
        """Save the order that the browser sends, or say what it lacks."""
        try:
            self._desk.save(token, orders_of(order))
        except ChatError as error:
            return self.draw(token) | {self._layout.note: line(str(error))}
        return self.draw("", token)

    def pass_over(self, token: str) -> Update:
        try:
            self._desk.skip(token)
        except ChatError as error:
            return self.draw(token) | {self._layout.note: line(str(error))}
        return self.draw("", token)

    def take_back(self, token: str, saved: str) -> Update:
        """Undo what was saved, and show it again as it was, to be put in order anew."""
        try:
            before = self._desk.view(saved).ranking
            self._desk.undo(saved)
        except ChatError as error:
            return self.draw(token) | {self._layout.failed: line(str(error))}
        update = self.draw(saved)
        if before is not None and before.orders is not None:
            update[self._layout.desk] = desk_html(self._desk.view(saved), before.orders)
        return update

    def reopen(self, saved: str) -> Update:
        return self.draw(saved)

    def open(self, token: str) -> Update:
        return self.draw(token)

    def ask_forget(self, token: str) -> Update:
        try:
            seen = self._desk.versions_that_saw(token)
        except ChatError as error:
            return {self._layout.note: line(str(error))}
        parts = self._layout
        return {parts.confirm: show(visible=True), parts.forget_text: words.forget_warning(seen)}

    def do_forget(self, token: str) -> Update:
        try:
            done = self._desk.forget(token)
        except ChatError as error:
            return self.draw(token) | {self._layout.note: line(str(error))}
        return self.draw() | {self._layout.failed: line(words.forgotten_line(done))}

    def ask_delete(self, token: str) -> Update:
        try:
            return self._layout.draw_deletion(self._desk.versions_that_saw_answers(token))
        except ChatError as error:
            return {self._layout.note: line(str(error))}

    def do_delete_with_lessons(self, token: str) -> Update:
        return self._deleted(token, unlearn=True)

    def do_delete(self, token: str) -> Update:
        return self._deleted(token, unlearn=False)

    def _deleted(self, token: str, *, unlearn: bool) -> Update:
        try:
            done = self._desk.delete(token, unlearn=unlearn)
        except ChatError as error:
            return self.draw(token) | {self._layout.note: line(str(error))}
        return self.draw() | {self._layout.failed: line(words.deleted_line(done))}
