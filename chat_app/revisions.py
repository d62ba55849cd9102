"""Which page is out of date: counters that a page compares with those it was drawn from.

A page asks every other second, and the answer comes out of memory: it costs nothing while nothing
happens, and no page has to hold a connection of the few that a browser allows a server. A mark is
``server.list.status.conversation.count``; after a restart none is known any more.

Answers to one page can cross, so a mark may be drawn beside another chat than its own: a page keeps
it ``with_key``, and says with it which chat it shows.
"""

import secrets
from threading import Lock

from storage.records import ConversationId


def with_key(mark: str, key: str) -> str:
    """The mark of a page that was drawn with the chat of ``key``."""
    return f"{mark}.{key}"


class Revisions:
    def __init__(self) -> None:
        self.server = secrets.token_hex(4)
        self._lock = Lock()
        self._list = 0
        self._status = 0
        self._counts: dict[ConversationId, int] = {}

    def changed(self, conversation_id: ConversationId) -> None:
        """Something was said, written, chosen or renamed there."""
        with self._lock:
            self._counts[conversation_id] = self._counts.get(conversation_id, 0) + 1
            self._list += 1

    def status_changed(self) -> None:
        """A pick was saved or learned, another version speaks, or the learner does otherwise."""
        with self._lock:
            self._status += 1

    def mark(self, conversation_id: ConversationId | None) -> str:
        """What a page that is drawn now has seen."""
        with self._lock:
            count = 0 if conversation_id is None else self._counts.get(conversation_id, 0)
            parts = (self.server, self._list, self._status, conversation_id or 0, count)
        return ".".join(map(str, parts))

    def news(self, seen: str, key: str) -> dict[str, bool]:
        """What of a page with this mark is out of date: ``server``, ``list``, ``status``, ``chat``.

        ``seen`` is a mark ``with_key``, and ``key`` the chat that the page shows. A mark that makes
        no sense is out of date in everything but the server.
        """
        server, _, rest = seen.partition(".")
        *numbers, drawn_with = rest.split(".")
        try:
            list_, status, conversation_id, count = map(int, numbers)
        except ValueError:
            server, list_, status, conversation_id, count = self.server, -1, -1, 0, -1
        with self._lock:
            known = self._counts.get(ConversationId(conversation_id), 0)
            return {
                "server": server != self.server,
                "list": list_ != self._list,
                "status": status != self._status,
                "chat": count != known or drawn_with != key,
            }
