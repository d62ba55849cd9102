"""The rows of conversations, their keys, and which of them are held out."""

import hashlib
import secrets

from sqlite_utils import Database

from storage.errors import UnknownConversationError, UnknownTurnError
from storage.records import ConversationId, Turn, TurnId, UserId
from storage.rows import CONVERSATIONS, TURNS, turn_of
from storage.sqlite import Row, fetch

HELD_OUT_SHARE = 0.1


def random_key() -> str:
    """Return 43 url-safe characters that nobody can guess."""
    return secrets.token_urlsafe(32)


def is_held_out(key: str) -> bool:
    """Return whether the conversation of this key only measures: true for a tenth of the keys."""
    first_8_bytes = hashlib.sha256(key.encode()).digest()[:8]
    return int.from_bytes(first_8_bytes, "big") < HELD_OUT_SHARE * 2**64


def conversation_row(db: Database, conversation_id: ConversationId) -> Row:
    found = fetch(db, f"{CONVERSATIONS} AND conversation_id = ?", [conversation_id])
    if not found:
        raise UnknownConversationError(f"There is no conversation {conversation_id} (any more).")
    return found[0]


def leave_other_reply(db: Database, prompt_turn_id: TurnId) -> None:
    """Move the head to the prompt where it is a reply to it, for what is written in its place."""
    db.execute(
        """
        UPDATE conversations SET head_turn_id = :prompt
         WHERE conversation_id = (SELECT conversation_id FROM turns WHERE turn_id = :prompt)
           AND head_turn_id IN (SELECT turn_id FROM turns
                                 WHERE parent_id = :prompt AND role = 'assistant')
        """,
        {"prompt": prompt_turn_id},
    )


def turn_in(db: Database, turn_id: TurnId) -> Turn:
    found = fetch(
        db,
        f"""
        {TURNS} JOIN conversations v USING (conversation_id)
         WHERE turn_id = ? AND v.erased_ms IS NULL
        """,
        [turn_id],
    )
    if not found:
        raise UnknownTurnError(f"There is no message {turn_id} (any more).")
    return turn_of(found[0])


def owner_of(db: Database, conversation_id: ConversationId) -> UserId:
    sql = "SELECT user_id FROM conversations WHERE conversation_id = ?"
    return UserId(fetch(db, sql, [conversation_id])[0]["user_id"])
