"""What a person says beside choosing: thumbs on replies, strength and reasons of an answer.

Append-only: the newest thumb of a reply and the newest note of an answer count, and saying the
same again writes nothing.
"""

import json
from collections.abc import Iterable

from sqlite_utils import Database

from storage.database import Reader, Store
from storage.errors import UnknownComparisonError, UnknownTurnError
from storage.inserts import add_text, insert
from storage.records import (
    CandidateId,
    Note,
    PreferenceId,
    RatedReply,
    Strength,
    Thumb,
    TurnId,
)
from storage.rows import candidates_by_id, messages_to, moment
from storage.sqlite import fetch
from storage.text import clean_text


class OpinionReader:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def thumbs(self, turn_ids: Iterable[TurnId]) -> dict[TurnId, Thumb]:
        """Return the thumbs of these replies; one that has none, or no more, is left out."""
        found = fetch(
            self._reader.read(),
            """
            SELECT turn_id, thumb, max(rating_id) FROM ratings
             WHERE turn_id IN (SELECT value FROM json_each(?)) GROUP BY turn_id
            """,  # SQLite takes the other columns from the row with the maximum
            [json.dumps(list(turn_ids))],
        )
        thumbs = {TurnId(row["turn_id"]): Thumb(row["thumb"]) for row in found}
        return {turn_id: thumb for turn_id, thumb in thumbs.items() if thumb is not Thumb.NONE}

    def rated(self) -> list[RatedReply]:
        """Return the replies with a thumb that may train, oldest thumb first.

        Held-out conversations and those that must not teach are left out, and replies that the
        model has not read yet.
        """
        return self._rated("v.learn = 1 AND v.held_out = 0 AND k.feature IS NOT NULL")

    def every_thumb(self) -> list[RatedReply]:
        """Return every reply with a thumb, of all chats that are learned from, oldest first."""
        return self._rated("v.learn = 1")

    def _rated(self, which: str) -> list[RatedReply]:
        with self._reader.snapshot() as db:
            found = fetch(
                db,
                f"""
                SELECT r.thumb, r.created_ms, t.candidate_id, c.prompt_turn_id, v.held_out
                  FROM (SELECT turn_id, thumb, created_ms, max(rating_id) AS rating_id
                          FROM ratings GROUP BY turn_id) r
                  JOIN turns t USING (turn_id)
                  JOIN conversations v USING (conversation_id)
                  JOIN candidates c USING (candidate_id)
                  LEFT JOIN candidate_cache k USING (candidate_id)
                 WHERE r.thumb <> 'none' AND v.erased_ms IS NULL AND {which}
                 ORDER BY r.rating_id
                """,  # noqa: S608 - SQLite takes the other columns from the row with the maximum
            )
            candidates = candidates_by_id(db, (row["candidate_id"] for row in found))
            prompts = messages_to(db, {row["prompt_turn_id"] for row in found})
            return [
                RatedReply(
                    prompt=prompts[TurnId(row["prompt_turn_id"])],
                    completion=candidates[CandidateId(row["candidate_id"])].completion,
                    thumb=Thumb(row["thumb"]),
                    rated_at=moment(row["created_ms"]),
                    held_out=bool(row["held_out"]),
                )
                for row in found
            ]

    def note(self, preference_id: PreferenceId) -> Note:
        """Return what was added to an answer, an empty note if nothing was."""
        return _note(self._reader.read(), preference_id)


class OpinionLog(OpinionReader):
    """Writes them; each method is one transaction and idempotent."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._store = store

    def rate(self, turn_id: TurnId, thumb: Thumb) -> None:
        """Keep a thumb on a reply; NONE takes it back. Raises UnknownTurnError."""
        with self._store.write() as db:
            found = fetch(
                db,
                """
                SELECT (SELECT thumb FROM ratings r WHERE r.turn_id = t.turn_id
                         ORDER BY rating_id DESC LIMIT 1) AS thumb
                  FROM turns t JOIN conversations v USING (conversation_id)
                 WHERE t.turn_id = ? AND t.role = 'assistant' AND v.erased_ms IS NULL
                """,
                [turn_id],
            )
            if not found:
                raise UnknownTurnError(f"There is no reply {turn_id} (any more).")
            if (found[0]["thumb"] or Thumb.NONE) != thumb:
                now_ms = self._store.now_ms()
                insert(db, "ratings", {"turn_id": turn_id, "thumb": thumb, "created_ms": now_ms})

    def annotate(self, preference_id: PreferenceId, note: Note) -> None:
        """Keep strength, reasons and a comment of an answer; the note before is replaced.

        Raises UnknownComparisonError where there is no such answer, or its chat was erased.
        """
        note = Note(
            strength=note.strength,
            reasons=tuple(sorted(set(note.reasons))),
            comment=clean_text(note.comment).strip(),
        )
        with self._store.write() as db:
            owner = fetch(  # what was erased is in no pick_list
                db,
                """
                SELECT p.user_id FROM preferences p JOIN pick_list USING (comparison_id)
                 WHERE p.seq = ?
                """,
                [preference_id],
            )
            if not owner:
                raise UnknownComparisonError("This choice is not here (any more): reload the list.")
            if _note(db, preference_id) == note:
                return
            comment_id = add_text(db, owner[0]["user_id"], note.comment) if note.comment else None
            insert(
                db,
                "preference_notes",
                {
                    "seq": preference_id,
                    "strength": note.strength,
                    "reasons_json": json.dumps(note.reasons),
                    "comment_id": comment_id,
                    "created_ms": self._store.now_ms(),
                },
            )


def notes_of(db: Database, preference_ids: Iterable[int]) -> dict[int, Note]:
    """Return the newest note of each answer that has one."""
    found = fetch(
        db,
        """
        SELECT seq, strength, reasons_json, body, max(note_id) FROM preference_notes
          LEFT JOIN texts ON text_id = comment_id
         WHERE seq IN (SELECT value FROM json_each(?)) GROUP BY seq
        """,
        [json.dumps([int(one) for one in preference_ids])],
    )
    return {
        row["seq"]: Note(
            strength=row["strength"] and Strength(row["strength"]),
            reasons=tuple(json.loads(row["reasons_json"])),
            comment=row["body"] or "",
        )
        for row in found
    }


def _note(db: Database, preference_id: PreferenceId) -> Note:
    return notes_of(db, [preference_id]).get(preference_id, Note())
