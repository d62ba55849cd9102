"""The branches of a conversation's tree: a message said anew, a reply written again.

Nothing is overwritten: what was said before stays in a branch of its own. A branch is named by its
last message of the person; the replies to that message are siblings within it.
"""

from sqlite_utils import Database

from storage.database import Reader, Store
from storage.errors import UnknownTurnError
from storage.inserts import add_text, add_turn, show_candidate
from storage.records import CandidateId, ConversationId, Role, Turn, TurnId, UserId
from storage.rows import TURNS, turn_of
from storage.sqlite import fetch
from storage.text import clean_text


class BranchReader:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def branches(self, conversation_id: ConversationId) -> list[TurnId]:
        """Return the last message of each branch, in the order they were said."""
        found = fetch(
            self._reader.read(),
            """
            SELECT u.turn_id FROM turns u
             WHERE u.conversation_id = ? AND u.role = 'user'
               AND NOT EXISTS (SELECT 1 FROM turns n WHERE n.parent_id = u.turn_id
                                  AND n.role = 'user')
               AND NOT EXISTS (SELECT 1 FROM turns a JOIN turns n ON n.parent_id = a.turn_id
                                WHERE a.parent_id = u.turn_id AND n.role = 'user')
             ORDER BY u.turn_id
            """,
            [conversation_id],
        )
        return [TurnId(row["turn_id"]) for row in found]

    def replies_to(self, turn_id: TurnId) -> list[TurnId]:
        """Return the replies to a message that were shown, oldest first."""
        found = fetch(
            self._reader.read(),
            "SELECT turn_id FROM turns WHERE parent_id = ? AND role = 'assistant' ORDER BY turn_id",
            [turn_id],
        )
        return [TurnId(row["turn_id"]) for row in found]


class BranchLog(BranchReader):
    """Moves between branches, and begins new ones; each method is one transaction."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._store = store

    def show(self, turn_id: TurnId) -> None:
        """Show the conversation with this turn in it, as far as its newest branch goes.

        Raises UnknownTurnError.
        """
        with self._store.write() as db:
            turn, _ = _turn(db, turn_id)
            db.execute(
                """
                WITH RECURSIVE down (turn_id) AS (
                  SELECT :turn
                  UNION ALL
                  SELECT (SELECT max(n.turn_id) FROM turns n WHERE n.parent_id = down.turn_id)
                    FROM down WHERE down.turn_id IS NOT NULL)
                UPDATE conversations SET head_turn_id = (SELECT max(turn_id) FROM down)
                 WHERE conversation_id = :conversation
                """,
                {"turn": turn_id, "conversation": turn.conversation_id},
            )

    def show_reply(self, candidate_id: CandidateId) -> None:
        """Show a stored reply in its place, as a turn of its own if it was never shown there."""
        with self._store.write() as db:
            found = fetch(db, "SELECT turn_id FROM turns WHERE candidate_id = ?", [candidate_id])
            if found:
                turn, _ = _turn(db, found[0]["turn_id"])
            else:
                [row] = fetch(
                    db,
                    "SELECT prompt_turn_id FROM candidates WHERE candidate_id = ?",
                    [candidate_id],
                )
                _turn(db, row["prompt_turn_id"])
                turn = show_candidate(db, candidate_id, self._store.now_ms())
            db.execute(
                "UPDATE conversations SET head_turn_id = ? WHERE conversation_id = ?",
                [turn.id, turn.conversation_id],
            )

    def say_instead(self, turn_id: TurnId, text: str) -> Turn:
        """Add a person's message beside this one, and show the conversation up to it."""
        with self._store.write() as db:
            turn, owner = _turn(db, turn_id)
            if turn.message.role is not Role.USER:
                raise UnknownTurnError(f"Message {turn_id} is not one of yours.")
            db.execute(
                "UPDATE conversations SET head_turn_id = ? WHERE conversation_id = ?",
                [turn.parent_id, turn.conversation_id],
            )
            return add_turn(
                db,
                conversation_id=turn.conversation_id,
                parent_id=turn.parent_id,
                role=Role.USER,
                text_id=add_text(db, owner, clean_text(text)),
                now_ms=self._store.now_ms(),
            )


def _turn(db: Database, turn_id: TurnId) -> tuple[Turn, UserId]:
    """Return a turn and whose it is. Raises UnknownTurnError."""
    found = fetch(
        db,
        f"{TURNS} JOIN conversations v USING (conversation_id) "
        "WHERE turn_id = ? AND v.erased_ms IS NULL",
        [turn_id],
    )
    if not found:
        raise UnknownTurnError(f"There is no message {turn_id} (any more).")
    turn = turn_of(found[0])
    sql = "SELECT user_id FROM conversations WHERE conversation_id = ?"
    return turn, UserId(fetch(db, sql, [turn.conversation_id])[0]["user_id"])
