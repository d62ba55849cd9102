"""What a person marks in one reply: unsafe, private data, the wrong language and so on.

Append-only: the newest row of a reply names all of its labels, and saying the same again writes
nothing. They go when their chat is erased.
"""

import json
from collections.abc import Iterable

from sqlite_utils import Database

from storage.database import Reader, Store
from storage.errors import UnknownTurnError
from storage.inserts import insert
from storage.records import CandidateId, Label, LabelledReply, LabelSource, TurnId
from storage.rows import candidates_by_id, messages_to, moment
from storage.sqlite import fetch


class LabelReader:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def of(self, candidate_ids: Iterable[CandidateId]) -> dict[CandidateId, tuple[Label, ...]]:
        """Return the labels of these replies; one that has none, or no more, is left out."""
        return labels_of(self._reader.read(), candidate_ids)

    def every(self) -> list[LabelledReply]:
        """Return every reply with a label, of all chats that are learned from, oldest first."""
        with self._reader.snapshot() as db:
            found = fetch(
                db,
                """
                SELECT r.candidate_id, r.labels_json, r.source, r.created_ms, c.prompt_turn_id,
                       v.held_out
                  FROM (SELECT candidate_id, labels_json, source, created_ms,
                               max(label_id) AS label_id
                          FROM reply_labels GROUP BY candidate_id) r
                  JOIN candidates c USING (candidate_id)
                  JOIN turns t ON t.turn_id = c.prompt_turn_id
                  JOIN conversations v USING (conversation_id)
                 WHERE r.labels_json <> '[]' AND v.erased_ms IS NULL AND v.learn = 1
                 ORDER BY r.label_id
                """,  # SQLite takes the other columns from the row with the maximum
            )
            candidates = candidates_by_id(db, (row["candidate_id"] for row in found))
            prompts = messages_to(db, {row["prompt_turn_id"] for row in found})
            return [
                LabelledReply(
                    prompt=prompts[TurnId(row["prompt_turn_id"])],
                    completion=candidates[CandidateId(row["candidate_id"])].completion,
                    labels=_read(row["labels_json"]),
                    source=LabelSource(row["source"]),
                    labelled_at=moment(row["created_ms"]),
                    held_out=bool(row["held_out"]),
                )
                for row in found
            ]


class LabelLog(LabelReader):
    """Writes them; each call is one transaction and idempotent."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._store = store

    def label(self, turn_id: TurnId, labels: Iterable[Label]) -> None:
        """Keep these labels of a reply in place of those before; none takes them all back.

        Raises UnknownTurnError.
        """
        with self._store.write() as db:
            found = fetch(
                db,
                """
                SELECT candidate_id FROM turns t JOIN conversations v USING (conversation_id)
                 WHERE t.turn_id = ? AND t.role = 'assistant' AND v.erased_ms IS NULL
                """,
                [turn_id],
            )
            if not found:
                raise UnknownTurnError(f"There is no reply {turn_id} (any more).")
            candidate_id = CandidateId(found[0]["candidate_id"])
            add_labels(db, candidate_id, labels, LabelSource.PERSON, self._store.now_ms())


def add_labels(
    db: Database,
    candidate_id: CandidateId,
    labels: Iterable[Label],
    source: LabelSource,
    now_ms: int,
) -> None:
    """Insert the labels of a reply where they are news. The caller holds the transaction."""
    given = set(labels)
    ordered = tuple(label for label in Label if label in given)
    if labels_of(db, [candidate_id]).get(candidate_id, ()) == ordered:
        return
    insert(
        db,
        "reply_labels",
        {
            "candidate_id": candidate_id,
            "labels_json": json.dumps(ordered),
            "source": source,
            "created_ms": now_ms,
        },
    )


def labels_of(
    db: Database, candidate_ids: Iterable[CandidateId]
) -> dict[CandidateId, tuple[Label, ...]]:
    """Return the newest labels of each reply that has some."""
    found = fetch(
        db,
        """
        SELECT candidate_id, labels_json, max(label_id) FROM reply_labels
         WHERE candidate_id IN (SELECT value FROM json_each(?)) GROUP BY candidate_id
        """,
        [json.dumps([int(one) for one in candidate_ids])],
    )
    return {
        CandidateId(row["candidate_id"]): _read(row["labels_json"])
        for row in found
        if row["labels_json"] != "[]"
    }


def _read(labels_json: str) -> tuple[Label, ...]:
    return tuple(Label(one) for one in json.loads(labels_json))
