"""What every event of the Chat tab ends with: the page drawn as the store says it is now.

Events overlap: a page may turn to another chat while the answer to something it asked before is
still on its way. The server therefore knows which chat each page shows, and draws no other.
"""

from collections.abc import Callable

import gradio as gr

from chat_app.errors import ChatError
from chat_app.service import ChatService
from chat_app.ui_layout import ChatLayout
from chat_app.ui_parts import Update
from storage.records import ConversationId


class PageDrawing:
    def __init__(self, service: ChatService, layout: ChatLayout) -> None:
        self._service = service
        self._layout = layout
        self._temporary: dict[str, ConversationId] = {}  # by the session of their page
        self._open: dict[str, str] = {}  # which chat each page shows, by its session
        self._following: dict[str, object] = {}  # what follows the reply there, by its session

    def id(self, key: str) -> ConversationId:
        """Raises ChatError where there is no such conversation."""
        return self._service.conversation(key).id

    @property
    def nothing(self) -> Update:
        """An update that changes nothing."""
        return {self._layout.note: gr.skip()}

    def drawn(self, key: str, request: gr.Request, *, note: str = "") -> Update:
        """The conversation of ``key``, or an empty one and why where it is gone."""
        try:
            view = self._service.view(self.id(key))
        except ChatError as error:
            return self.empty(request, note=note or str(error), was=key)
        update = self._layout.draw(view, self._service.status(), mark=view.mark, note=note)
        return update if self.shows(key, request) else self.nothing

    def without_unfinished(self, update: Update, *, changing: bool, saved: str) -> Update:
        """The same update without what a person may be filling in just now.

        ``changing``: an answer is being changed, so the pair belongs to them as well. ``saved`` is
        the token of the answer whose reasons the page shows.
        """
        kept = self._layout.unfinished(update, changing=changing, saved=saved)
        return {part: value for part, value in update.items() if part not in kept}

    def empty(self, request: gr.Request, *, note: str = "", was: str = "") -> Update:
        """No conversation, for a page that shows that of ``was``."""
        mark = self._service.revisions.mark(None)
        update = self._layout.draw(None, self._service.status(), mark=mark, note=note)
        if not self.shows(was, request):
            return self.nothing
        self.turned_to("", request)
        return update

    def done(self, change: Callable[[], object], key: str, request: gr.Request) -> Update:
        """Make a change and draw what came of it, or why it could not be made."""
        note = ""
        try:
            change()
        except ChatError as error:
            note = str(error)
        return self.drawn(key, request, note=note)

    def done_beside(
        self, change: Callable[[], object], saved: str, key: str, request: gr.Request
    ) -> Update:
        """As ``done``, of what says nothing of the last answer: its reasons stay as filled in."""
        update = self.done(change, key, request)
        kept = self._layout.filled_in(update, saved)
        return {part: value for part, value in update.items() if part not in kept}

    # --- Which chat a page shows -----------------------------------------------------------------

    def turned_to(self, key: str, request: gr.Request) -> None:
        """The page of this request shows the chat of ``key`` from now on."""
        self._open[request.session_hash or ""] = key

    def arrived(self, key: str, request: gr.Request) -> None:
        """The page of this request begins with this chat, unless it has turned already."""
        self._open.setdefault(request.session_hash or "", key)

    def shows(self, key: str, request: gr.Request) -> bool:
        """Whether it still does. Gradio's cancelling may come too late for what is on its way."""
        return self._open.get(request.session_hash or "", key) == key

    # --- What follows a reply for a page ---------------------------------------------------------

    def begin_to_follow(self, request: gr.Request) -> object:
        """A mark of the event that follows the reply for the page of this request from now on."""
        self._following[request.session_hash or ""] = mark = object()
        return mark

    def follows(self, mark: object, request: gr.Request) -> bool:
        """Whether no newer event does, and the page is still there."""
        return self._following.get(request.session_hash or "") is mark

    # --- Temporary conversations -----------------------------------------------------------------

    def holds(self, session: str | None, conversation_id: ConversationId) -> None:
        """The page of this session has begun a temporary conversation."""
        if session is not None:
            self._temporary[session] = conversation_id

    def leave(self, key: str, *, now: str) -> None:
        """The page turns from one conversation to another; a temporary one ends there."""
        if key and key != now:
            try:
                self._service.shelf.end_temporary(self.id(key))
            except ChatError:
                return  # it is gone already

    def closed(self, request: gr.Request) -> None:
        """The page was closed, reloaded or lost."""
        self._open.pop(request.session_hash or "", None)
        self._following.pop(request.session_hash or "", None)
        conversation_id = self._temporary.pop(request.session_hash or "", None)
        if conversation_id is not None:
            try:
                self._service.shelf.end_temporary(conversation_id)
            except ChatError:
                return
