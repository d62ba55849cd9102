"""Demonstrations: dialogues of which a person wrote both sides, as InstructGPT's labelers did.

A dialogue is a conversation that teaches. Its replies are the person's own, or suggestions of the
policy that the person let stand. It is a demonstration from the moment its writer calls it
finished; going on and finishing again replaces it, and taking it back is a new row. One reply
written in place of a suggestion goes the way of an edited reply (storage/demonstrations.py), so it
is also the better one of a pair.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import NewType

from sqlite_utils import Database

from storage.database import Reader, Store
from storage.errors import NotTeachingError, UnknownConversationError, UnknownTurnError
from storage.inserts import insert
from storage.records import ConversationId, Message, Purpose, Role, TurnId
from storage.rows import messages_to, moment
from storage.sqlite import Row, fetch

DemonstrationId = NewType("DemonstrationId", int)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """A finished dialogue: messages, oldest first, the last one a reply."""

    id: DemonstrationId
    conversation_id: ConversationId
    key: str
    """Of its conversation: names it in an export."""
    messages: tuple[Message, ...]
    imported: bool
    meta_json: str | None
    """What the file said of it, where it came out of one and is still as it was there."""
    held_out: bool
    """It measures, and never trains."""
    finished_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DemonstrationCounts:
    """Of all conversations that are not erased."""

    dialogues: int
    imported: int
    replies: int
    """Replies of the assistant in them."""


class DialogueReader:
    """Demonstrations as the trainer and the page read them."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def demonstrations(self) -> list[Demonstration]:
        """Return those that count and may train, by id."""
        return self._read("WHERE d.held_out = 0 ORDER BY demonstration_id")

    def held_out(self) -> list[Demonstration]:
        """Return those that count and only measure, by id."""
        return self._read("WHERE d.held_out = 1 ORDER BY demonstration_id")

    def newest(self, *, limit: int = 50) -> list[Demonstration]:
        """Return those that count, whether they train or measure, newest first."""
        return self._read("ORDER BY demonstration_id DESC LIMIT :limit", {"limit": limit})

    def of(self, conversation_id: ConversationId) -> Demonstration | None:
        """Return the demonstration that a conversation is, None while it is none."""
        found = self._read("WHERE d.conversation_id = :id", {"id": conversation_id})
        return found[0] if found else None

    def counts(self) -> DemonstrationCounts:
        db = self._reader.read()
        [row] = fetch(
            db,
            """
            WITH RECURSIVE path (turn_id) AS (
              SELECT turn_id FROM live_demonstrations
              UNION
              SELECT parent_id FROM path JOIN turns USING (turn_id) WHERE parent_id IS NOT NULL)
            SELECT (SELECT count(*) FROM live_demonstrations) AS dialogues,
                   (SELECT count(*) FROM live_demonstrations JOIN imported_dialogues
                     USING (conversation_id)) AS imported,
                   (SELECT count(*) FROM path JOIN turns USING (turn_id)
                     WHERE role = 'assistant') AS replies
            """,
        )
        return DemonstrationCounts(**dict(row))

    def _read(self, which: str, values: dict[str, object] | None = None) -> list[Demonstration]:
        with self._reader.snapshot() as db:
            found = fetch(
                db,
                f"""
                SELECT d.*, v.key, v.imported, m.meta_json FROM live_demonstrations d
                  JOIN conversations v USING (conversation_id)
                  LEFT JOIN imported_dialogues m
                    ON m.conversation_id = d.conversation_id AND d.supersedes IS NULL
                 {which}
                """,  # noqa: S608 - a constant
                values or {},
            )
            messages = messages_to(db, {row["turn_id"] for row in found})
            return [
                Demonstration(
                    id=DemonstrationId(row["demonstration_id"]),
                    conversation_id=ConversationId(row["conversation_id"]),
                    key=row["key"],
                    messages=messages[TurnId(row["turn_id"])],
                    imported=bool(row["imported"]),
                    meta_json=row["meta_json"],
                    held_out=bool(row["held_out"]),
                    finished_at=moment(row["created_ms"]),
                )
                for row in found
            ]


class DialogueLog(DialogueReader):
    """Writes them; each method is one transaction and idempotent."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._store = store

    def finish(self, conversation_id: ConversationId) -> DemonstrationId:
        """Call what is now shown of a dialogue finished, up to its last reply.

        Raises UnknownConversationError, NotTeachingError of another kind of conversation, and
        UnknownTurnError where there is no reply yet.
        """
        with self._store.write() as db:
            turn_id = _last_reply(db, conversation_id)
            newest = _newest(db, conversation_id)
            if newest and newest["state"] == "finished" and newest["turn_id"] == turn_id:
                return DemonstrationId(newest["demonstration_id"])
            return append_demonstration(
                db, conversation_id, turn_id, superseded=newest, now_ms=self._store.now_ms()
            )

    def take_back(self, conversation_id: ConversationId) -> None:
        """No longer use the dialogue; one that was never finished stays as it is."""
        with self._store.write() as db:
            newest = _newest(db, conversation_id)
            if newest and newest["state"] == "finished":
                append_demonstration(
                    db,
                    conversation_id,
                    TurnId(newest["turn_id"]),
                    state="withdrawn",
                    superseded=newest,
                    now_ms=self._store.now_ms(),
                )


def append_demonstration(
    db: Database,
    conversation_id: ConversationId,
    turn_id: TurnId,
    *,
    state: str = "finished",
    superseded: Row | None = None,
    now_ms: int,
) -> DemonstrationId:
    """Insert one row of the log. The caller holds the transaction."""
    return DemonstrationId(
        insert(
            db,
            "demonstrations",
            {
                "conversation_id": conversation_id,
                "turn_id": turn_id,
                "state": state,
                "supersedes": superseded["demonstration_id"] if superseded else None,
                "created_ms": now_ms,
            },
        )
    )


def _last_reply(db: Database, conversation_id: ConversationId) -> TurnId:
    """Return the last reply that is shown."""
    found = fetch(
        db,
        "SELECT purpose FROM conversations WHERE conversation_id = ? AND erased_ms IS NULL",
        [conversation_id],
    )
    if not found:
        raise UnknownConversationError(f"There is no conversation {conversation_id} (any more).")
    if found[0]["purpose"] != Purpose.TEACHING:
        raise NotTeachingError("Only a teaching chat is an example; begin one to write both sides.")
    replies = fetch(
        db,
        """
        WITH RECURSIVE path (turn_id) AS (
          SELECT head_turn_id FROM conversations
           WHERE conversation_id = :id AND head_turn_id IS NOT NULL
          UNION ALL
          SELECT parent_id FROM path JOIN turns USING (turn_id) WHERE parent_id IS NOT NULL)
        SELECT max(turn_id) AS turn_id FROM turns WHERE turn_id IN path AND role = :role
        """,
        {"id": conversation_id, "role": Role.ASSISTANT},
    )
    if replies[0]["turn_id"] is None:
        raise UnknownTurnError("Write at least one reply first; an example ends with a reply.")
    return TurnId(replies[0]["turn_id"])


def _newest(db: Database, conversation_id: ConversationId) -> Row | None:
    sql = "SELECT * FROM newest_demonstrations WHERE conversation_id = ?"
    return next(iter(fetch(db, sql, [conversation_id])), None)
