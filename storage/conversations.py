"""Conversations as trees of turns, and every candidate that was written for them.

A retry is a sibling, so nothing that was said is ever overwritten; ``head`` is the leaf now shown,
and the path from the root to it is what the person reads. Whether a conversation is held out
follows from its random key, so it is fixed before the first word.
"""

import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from sqlite_utils import Database

from storage.conversation_rows import (
    conversation_row,
    is_held_out,
    leave_other_reply,
    owner_of,
    random_key,
    turn_in,
)
from storage.database import Reader, Store
from storage.errors import UnknownTurnError
from storage.inserts import add_candidates, add_text, add_turn, insert, show_candidate
from storage.records import (
    LOCAL_USER,
    Candidate,
    CandidateId,
    Comparison,
    ComparisonId,
    Completion,
    Conversation,
    ConversationId,
    Message,
    Purpose,
    Question,
    Role,
    Turn,
    TurnId,
    UserId,
)
from storage.rows import (
    CONVERSATIONS,
    TEMPORARY_USER,
    TURNS,
    candidates_by_id,
    comparisons_by_id,
    conversation_of,
    messages_to,
    turn_of,
)
from storage.search_index import after_erasing
from storage.sqlite import fetch
from storage.text import clean_text, title_of

_A_CHAT = "imported = 0 AND purpose <> 'ranking'"
MOST_WORDS, MOST_LETTERS = 16, 200
"""What a search looks for: each word reads all texts, and SQLite takes neither more at will."""
_LIKE, _ESCAPED = re.compile(r"([%_\\])"), r"\\\1"
_HAS_WORD = r"""
    (title LIKE ? ESCAPE '\' OR conversation_id IN (
      SELECT conversation_id FROM turns JOIN texts USING (text_id) WHERE body LIKE ? ESCAPE '\'))
"""


class ConversationReader:
    """Conversations that were not erased. An unknown id raises an UnknownError."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def list(self, *, limit: int = 200, user_id: UserId = LOCAL_USER) -> list[Conversation]:
        """Return a person's chats, newest first; not those out of a file or made for a ranking."""
        found = fetch(
            self._reader.read(),
            f"""
            {CONVERSATIONS} AND {_A_CHAT} AND user_id = ? ORDER BY conversation_id DESC LIMIT ?
            """,
            [user_id, limit],
        )
        return [conversation_of(row) for row in found]

    def search(
        self, words: str, *, limit: int = 200, user_id: UserId = LOCAL_USER
    ) -> "list[Conversation]":
        """Return the conversations, newest first, in which every word occurs, in any branch.

        Of what was pasted in, the first words are looked for, and of each its beginning.
        """
        some = dict.fromkeys(word[:MOST_LETTERS] for word in clean_text(words).split())
        patterns = [f"%{_LIKE.sub(_ESCAPED, word)}%" for word in islice(some, MOST_WORDS)]
        everywhere = f" AND {_HAS_WORD}" * len(patterns)
        found = fetch(
            self._reader.read(),
            f"{CONVERSATIONS} AND {_A_CHAT} AND user_id = ?{everywhere} "
            "ORDER BY conversation_id DESC LIMIT ?",
            [user_id, *(pattern for one in patterns for pattern in (one, one)), limit],
        )
        return [conversation_of(row) for row in found]

    def get(self, conversation_id: ConversationId) -> Conversation:
        return conversation_of(conversation_row(self._reader.read(), conversation_id))

    def by_key(self, key: str) -> Conversation | None:
        """Return the conversation of the page's address, None if there is none."""
        found = fetch(self._reader.read(), f"{CONVERSATIONS} AND key = ?", [key])
        return conversation_of(found[0]) if found else None

    def path(self, conversation_id: ConversationId) -> "list[Turn]":
        """Return the turns now shown, from the root to the head; empty before the first."""
        with self._reader.snapshot() as db:
            conversation_row(db, conversation_id)
            found = fetch(
                db,
                f"""
                WITH RECURSIVE path (turn_id) AS (
                  SELECT head_turn_id FROM conversations
                   WHERE conversation_id = ? AND head_turn_id IS NOT NULL
                  UNION ALL
                  SELECT parent_id FROM path JOIN turns USING (turn_id) WHERE parent_id IS NOT NULL)
                {TURNS} WHERE turn_id IN path ORDER BY turn_id
                """,  # noqa: S608 - a constant; a parent's id is smaller than its child's
                [conversation_id],
            )
            return [turn_of(row) for row in found]

    def all_turns(self, conversation_id: ConversationId) -> "list[Turn]":
        """Return every turn of every branch, oldest first."""
        with self._reader.snapshot() as db:
            conversation_row(db, conversation_id)
            found = fetch(
                db, f"{TURNS} WHERE conversation_id = ? ORDER BY turn_id", [conversation_id]
            )
            return [turn_of(row) for row in found]

    def candidates(self, ids: Iterable[CandidateId]) -> dict[CandidateId, Candidate]:
        """Return these candidates by id; an unknown id is left out."""
        return candidates_by_id(self._reader.read(), ids)

    def messages(self, turn_id: TurnId) -> tuple[Message, ...]:
        """Return what was said from the root to this turn, itself included."""
        with self._reader.snapshot() as db:
            turn_in(db, turn_id)
            return messages_to(db, [turn_id])[turn_id]

    def siblings(self, turn_id: TurnId) -> "list[Turn]":
        """Return the turns that stand where this one stands, itself included, oldest first."""
        with self._reader.snapshot() as db:
            turn = turn_in(db, turn_id)
            found = fetch(
                db,
                f"{TURNS} WHERE conversation_id = ? AND parent_id IS ? ORDER BY turn_id",
                [turn.conversation_id, turn.parent_id],
            )
            return [turn_of(row) for row in found]


class ConversationLog(ConversationReader):
    """Writes them, too. Every method is one transaction: it has happened, or it has not.

    ``new_key`` makes the keys of conversations and the tokens of comparisons.
    """

    def __init__(self, store: Store, *, new_key: Callable[[], str] = random_key) -> None:
        super().__init__(store)
        self._store = store
        self._new_key = new_key

    def start(
        self,
        *,
        learn: bool = True,
        temporary: bool = False,
        instructions: str = "",
        purpose: Purpose = Purpose.CHAT,
        user_id: UserId = LOCAL_USER,
    ) -> Conversation:
        """Begin a conversation; with ``learn`` off its answers never train.

        ``instructions`` open it as a message of the system. A ``temporary`` one never trains, is
        in no list, and belongs to a person of its own, whose salt goes when it is erased.
        """
        key = self._new_key()
        with self._store.write() as db:
            if temporary:
                learn, user_id = False, self._temporary_person(db)
            conversation_id = insert(
                db,
                "conversations",
                {
                    "key": key,
                    "user_id": user_id,
                    "learn": learn,
                    "held_out": is_held_out(key),
                    "purpose": purpose,
                    "created_ms": self._store.now_ms(),
                },
            )
            body = clean_text(instructions).strip()
            if body:
                add_turn(
                    db,
                    conversation_id=conversation_id,
                    parent_id=None,
                    role=Role.SYSTEM,
                    text_id=add_text(db, user_id, body),
                    now_ms=self._store.now_ms(),
                )
            return conversation_of(conversation_row(db, ConversationId(conversation_id)))

    def erase_temporary(self) -> None:
        """Erase every temporary conversation that is left; a killed server leaves them behind."""
        left = fetch(
            self._store.read(),
            f"{CONVERSATIONS} AND substr(user_id, 1, ?) = ?",
            [len(TEMPORARY_USER), TEMPORARY_USER],
        )
        for row in left:
            self.erase(ConversationId(row["conversation_id"]))

    def rename(self, conversation_id: ConversationId, title: str) -> None:
        """Set the title; an empty one lets the next message title the conversation."""
        with self._store.write() as db:
            conversation_row(db, conversation_id)
            db.execute(
                "UPDATE conversations SET title = ? WHERE conversation_id = ?",
                [title_of(clean_text(title)), conversation_id],
            )

    def set_learn(self, conversation_id: ConversationId, learn: bool) -> None:
        """Let the conversation's answers, past ones included, teach or not from the next round."""
        with self._store.write() as db:
            conversation_row(db, conversation_id)
            db.execute(
                "UPDATE conversations SET learn = ? WHERE conversation_id = ?",
                [learn, conversation_id],
            )

    def say(self, conversation_id: ConversationId, text: str) -> Turn:
        """Add a person's message under the head; the first one titles the conversation."""
        body = clean_text(text)
        with self._store.write() as db:
            row = conversation_row(db, conversation_id)
            if not row["title"]:
                db.execute(
                    "UPDATE conversations SET title = ? WHERE conversation_id = ?",
                    [title_of(body), conversation_id],
                )
            return add_turn(
                db,
                conversation_id=conversation_id,
                parent_id=row["head_turn_id"],
                role=Role.USER,
                text_id=add_text(db, owner_of(db, conversation_id), body),
                now_ms=self._store.now_ms(),
            )

    def reply(self, prompt_turn_id: TurnId, completion: Completion) -> Turn:
        """Keep a reply and show it: the head moves to it from the prompt or another reply to it."""
        with self._store.write() as db:
            candidate = self._add(db, prompt_turn_id, [completion])[0]
            leave_other_reply(db, prompt_turn_id)
            return show_candidate(db, candidate.id, self._store.now_ms())

    def ask(
        self, prompt_turn_id: TurnId, first: Completion, second: Completion, question: Question
    ) -> Comparison:
        """Keep two replies, in the order shown, and the question about them.

        The head stays at the prompt, or goes back to it from another reply.
        """
        with self._store.write() as db:
            candidates = self._add(db, prompt_turn_id, [first, second])
            leave_other_reply(db, prompt_turn_id)
            comparison_id = insert(
                db,
                "comparisons",
                {
                    "token": self._new_key(),
                    "user_id": owner_of(db, turn_in(db, prompt_turn_id).conversation_id),
                    "first_id": candidates[0].id,
                    "second_id": candidates[1].id,
                    "reason": question.reason,
                    "propensity": question.propensity,
                    "disagreement": question.disagreement,
                    "first_better_prob": question.first_better_prob,
                    "created_ms": self._store.now_ms(),
                },
            )
            return comparisons_by_id(db, [comparison_id])[ComparisonId(comparison_id)]

    def add_candidates(
        self, prompt_turn_id: TurnId, completions: Sequence[Completion]
    ) -> "list[Candidate]":
        """Keep replies that are not shown, for the learner."""
        with self._store.write() as db:
            return self._add(db, prompt_turn_id, completions)

    def rewind(self, conversation_id: ConversationId, turn_id: TurnId | None) -> None:
        """Show the conversation up to this turn; None is before its first message.

        The next message or reply becomes a sibling of what followed.
        """
        with self._store.write() as db:
            conversation_row(db, conversation_id)
            if turn_id is not None and turn_in(db, turn_id).conversation_id != conversation_id:
                raise UnknownTurnError(f"Message {turn_id} belongs to another conversation.")
            db.execute(
                "UPDATE conversations SET head_turn_id = ? WHERE conversation_id = ?",
                [turn_id, conversation_id],
            )

    def erase(self, conversation_id: ConversationId) -> None:
        """Erase all that was said, and its tokens and features; ids and digests stay.

        Its answers never train again. What a version has learned from them stays in that version.
        """
        with self._store.write() as db:
            self.erase_in(db, conversation_id)
        self._store.checkpoint()

    def erase_without_slate(self) -> None:
        """Erase messages for a ranking that never got its answers, as where a kill came between.

        No page shows them, so nobody could. While no answers are being written.
        """
        lost = fetch(
            self._store.read(),
            """
            SELECT conversation_id FROM conversations v
             WHERE purpose = ? AND erased_ms IS NULL
               AND NOT EXISTS (SELECT 1 FROM slates s JOIN turns t ON t.turn_id = s.prompt_turn_id
                                WHERE t.conversation_id = v.conversation_id)
            """,
            [Purpose.RANKING],
        )
        for row in lost:
            self.erase(ConversationId(row["conversation_id"]))

    def erase_in(self, db: Database, conversation_id: ConversationId) -> None:
        """The same in the caller's transaction; the caller has the store make a checkpoint."""
        owner = conversation_row(db, conversation_id)["user_id"]
        now_ms = self._store.now_ms()
        db.execute(
            """
            UPDATE texts SET body = NULL, erased_ms = :now
             WHERE erased_ms IS NULL AND text_id IN (
              SELECT text_id FROM turns WHERE conversation_id = :id
              UNION
              SELECT c.text_id FROM candidates c JOIN turns t ON t.turn_id = c.prompt_turn_id
               WHERE t.conversation_id = :id
              UNION
              SELECT n.comment_id FROM preference_notes n
                JOIN preferences p USING (seq) JOIN comparisons USING (comparison_id)
                JOIN candidates c ON c.candidate_id = first_id
                JOIN turns t ON t.turn_id = c.prompt_turn_id
               WHERE t.conversation_id = :id)
            """,
            {"now": now_ms, "id": conversation_id},
        )
        db.execute(
            """
            UPDATE conversations SET title = '', learn = 0, head_turn_id = NULL, erased_ms = ?
             WHERE conversation_id = ?
            """,
            [now_ms, conversation_id],
        )
        after_erasing(db)
        if owner.startswith(TEMPORARY_USER):
            # Without its salt, what digests are left can be matched with nothing.
            db.execute("UPDATE users SET status = 'erased', salt = NULL WHERE user_id = ?", [owner])

    def _temporary_person(self, db: Database) -> UserId:
        user_id = UserId(TEMPORARY_USER + secrets.token_hex(8))
        salt, now_ms = secrets.token_bytes(16), self._store.now_ms()
        insert(db, "users", {"user_id": user_id, "salt": salt, "created_ms": now_ms})
        return user_id

    def _add(
        self, db: Database, prompt_turn_id: TurnId, completions: Sequence[Completion]
    ) -> "list[Candidate]":
        return add_candidates(db, prompt_turn_id, completions, self._store.now_ms())
