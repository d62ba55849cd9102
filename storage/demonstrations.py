"""Replies that a person wrote: one made better, one better than both of a pair, one of a dialogue.

Each is a candidate by the person, is shown in the conversation, and is the better one of a pair
with every finished reply it stands against. That pair and its answer go the way of a choice: into
``comparisons`` and the hash chain of ``preferences``. Who stands first is drawn from the pair's
random token, since the person saw no order. The model reads the text later (``unread``, ``read``);
until then its pairs wait.
"""

from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from storage.answer_rows import append_answer, newest_answer, question_of, receipt_of
from storage.conversation_rows import random_key
from storage.database import Reader, Store
from storage.errors import StorageError, UnknownTurnError
from storage.inserts import add_cache, add_written, insert, show_candidate
from storage.records import (
    LOCAL_USER,
    AskReason,
    CandidateId,
    Choice,
    Completion,
    FinishReason,
    Message,
    PolicyVersionId,
    Receipt,
    Sampling,
    Turn,
    TurnId,
    UserId,
)
from storage.rows import TEMPORARY_USER, TURNS, messages_to, turn_of
from storage.sqlite import fetch
from storage.text import clean_text

_FINISHED = (FinishReason.STOP, FinishReason.LENGTH)


class EmptyReplyError(StorageError):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """A person's reply whose tokens and features are still to be made."""

    id: CandidateId
    prompt: tuple[Message, ...]
    text: str
    version: PolicyVersionId


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenReply:
    """A reply that a person wrote in an ordinary chat, in place of one of the policy's."""

    prompt: tuple[Message, ...]
    text: str
    key: str
    """Of its conversation."""
    held_out: bool
    """It measures, and never trains."""


class DemonstrationReader:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def written(self) -> list[WrittenReply]:
        """Return the replies of chats that teach, oldest first, but for those taken back.

        Dialogues of which a person wrote both sides are elsewhere (storage/dialogues.py).
        """
        with self._reader.snapshot() as db:
            found = fetch(
                db,
                """
                SELECT c.prompt_turn_id, body, v.key, v.held_out FROM candidates c
                  JOIN texts USING (text_id)
                  JOIN turns t ON t.turn_id = c.prompt_turn_id
                  JOIN conversations v USING (conversation_id)
                  JOIN users u USING (user_id)
                 WHERE c.author = 'person' AND body IS NOT NULL AND v.learn = 1
                   AND v.purpose = 'chat' AND v.imported = 0 AND u.status = 'active'
                   AND NOT EXISTS (
                     SELECT 1 FROM comparisons x LEFT JOIN newest n USING (comparison_id)
                      WHERE c.candidate_id IN (x.first_id, x.second_id)
                        AND (n.choice = 'withdrawn'
                             AND c.candidate_id = max(x.first_id, x.second_id)
                             OR x.comparison_id IN (SELECT comparison_id FROM forgotten)))
                 ORDER BY c.candidate_id
                """,
            )
            prompts = messages_to(db, {row["prompt_turn_id"] for row in found})
            return [
                WrittenReply(
                    prompt=prompts[TurnId(row["prompt_turn_id"])],
                    text=row["body"],
                    key=row["key"],
                    held_out=bool(row["held_out"]),
                )
                for row in found
            ]


class DemonstrationLog:
    """Each method is one transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def edit(self, turn_id: TurnId, text: str) -> Turn:
        """Put a person's text beside the reply it makes better, and show it.

        A text that stands there already is shown and nothing is written. Raises UnknownTurnError
        and EmptyReplyError.
        """
        body = _body(text)
        with self._store.write() as db:
            found = fetch(
                db,
                f"""
                {TURNS} JOIN conversations v USING (conversation_id)
                 WHERE role = 'assistant' AND v.erased_ms IS NULL
                   AND parent_id = (SELECT parent_id FROM turns WHERE turn_id = ?)
                 ORDER BY turn_id
                """,  # noqa: S608 - a constant
                [turn_id],
            )
            siblings = [turn_of(row) for row in found]
            original = next((one for one in siblings if one.id == turn_id), None)
            if original is None or original.parent_id is None or original.candidate_id is None:
                raise UnknownTurnError(f"There is no reply {turn_id} (any more).")
            if _said(original.message.content) == body:
                return original
            same = next((one for one in siblings if _said(one.message.content) == body), None)
            turn = same or self._shown(db, original.parent_id, body)
            if same is None and turn.candidate_id is not None:
                self._prefer(db, turn.candidate_id, original.candidate_id, AskReason.EDITED)
            db.execute(
                "UPDATE conversations SET head_turn_id = ? WHERE conversation_id = ?",
                [turn.id, turn.conversation_id],
            )
            return turn

    def write_better(
        self, token: str, text: str, *, decision_ms: int, user_id: UserId = LOCAL_USER
    ) -> Receipt:
        """Keep a reply better than both of an open question, and go on with it.

        The question itself is skipped: nothing is said of one reply against the other. If it was
        answered before, nothing is written and the receipt says what is stored. Raises
        UnknownComparisonError and EmptyReplyError.
        """
        body = _body(text)
        with self._store.write() as db:
            question = question_of(db, token, user_id)
            newest = newest_answer(db, question["comparison_id"])
            if newest:
                return receipt_of(newest, already_saved=True)
            now_ms = self._store.now_ms()
            receipt = append_answer(
                db, question, Choice.SKIP, decision_ms=decision_ms, now_ms=now_ms
            )
            turn = self._shown(db, question["prompt_turn_id"], body)
            if turn.candidate_id is not None:
                for other in (question["first_id"], question["second_id"]):
                    self._prefer(db, turn.candidate_id, other, AskReason.WRITTEN)
            return receipt

    def reply(
        self, prompt_turn_id: TurnId, text: str, *, suggestion: CandidateId | None = None
    ) -> Turn:
        """Answer a message in the policy's place, and show it: the other side of a dialogue.

        A ``suggestion`` of the policy's, to the same message, that the person let stand is shown
        itself; one that was edited or replaced is worse than what the person wrote. Raises
        UnknownTurnError and EmptyReplyError.
        """
        body = _body(text)
        with self._store.write() as db:
            open_ = fetch(
                db,
                """
                SELECT 1 FROM turns JOIN conversations v USING (conversation_id)
                 WHERE turn_id = ? AND role = 'user' AND v.erased_ms IS NULL
                """,
                [prompt_turn_id],
            )
            if not open_:
                raise UnknownTurnError(f"There is no message {prompt_turn_id} (any more).")
            suggested = fetch(
                db,
                """
                SELECT body FROM candidates JOIN texts USING (text_id)
                 WHERE candidate_id = ? AND prompt_turn_id = ?
                """,
                [suggestion, prompt_turn_id],
            )
            if suggestion is not None and suggested and _said(suggested[0]["body"]) == body:
                return show_candidate(db, suggestion, self._store.now_ms())
            turn = self._shown(db, prompt_turn_id, body)
            if suggestion is not None and suggested and turn.candidate_id is not None:
                self._prefer(db, turn.candidate_id, suggestion, AskReason.EDITED)
            return turn

    def unread(self) -> list[Unread]:
        """Return the replies that the model has not read, oldest first."""
        with self._store.snapshot() as db:
            found = fetch(
                db,
                """
                SELECT candidate_id, prompt_turn_id, body, version FROM candidates
                  JOIN texts USING (text_id)
                 WHERE author = 'person' AND body IS NOT NULL
                   AND candidate_id NOT IN (SELECT candidate_id FROM candidate_cache)
                 ORDER BY candidate_id
                """,
            )
            prompts = messages_to(db, {row["prompt_turn_id"] for row in found})
            return [
                Unread(
                    id=CandidateId(row["candidate_id"]),
                    prompt=prompts[TurnId(row["prompt_turn_id"])],
                    text=row["body"],
                    version=PolicyVersionId(row["version"]),
                )
                for row in found
            ]

    def read(self, candidate_id: CandidateId, completion: Completion) -> None:
        """Keep what the model made of a text; from now on its pairs count. Idempotent."""
        with self._store.write() as db:
            waiting = fetch(
                db,
                """
                SELECT 1 FROM candidates JOIN texts USING (text_id)
                 WHERE candidate_id = :id AND author = 'person' AND body = :text
                   AND NOT EXISTS (SELECT 1 FROM candidate_cache WHERE candidate_id = :id)
                """,
                {"id": candidate_id, "text": completion.text},
            )
            if waiting:
                add_cache(db, candidate_id, completion)

    # --- Private -----------------------------------------------------------------------------

    def _shown(self, db: Database, prompt_turn_id: TurnId, body: str) -> Turn:
        """Insert the person's candidate and the turn that shows it."""
        [row] = fetch(
            db,
            """
            SELECT user_id, (SELECT version FROM active_pointer) AS version
              FROM turns JOIN conversations USING (conversation_id) WHERE turn_id = ?
            """,
            [prompt_turn_id],
        )
        written = Completion(
            text=body,
            token_ids=(),
            logprobs=(),
            finish_reason=FinishReason.STOP,
            policy_version=PolicyVersionId(row["version"]),
            seed=0,
            sampling=Sampling(),
        )
        now_ms = self._store.now_ms()
        owner = UserId(row["user_id"])
        candidate = add_written(db, prompt_turn_id, owner, written, now_ms)
        return show_candidate(db, candidate.id, now_ms)

    def _prefer(
        self, db: Database, better: CandidateId, worse: CandidateId, reason: AskReason
    ) -> None:
        """Insert the pair and its answer, unless the worse reply was cut off.

        Nor in a temporary chat, which never teaches: a pair would list it, and outlive it in files.
        """
        [other] = fetch(
            db,
            """
            SELECT finish, user_id FROM candidates c JOIN turns t ON t.turn_id = c.prompt_turn_id
              JOIN conversations USING (conversation_id) WHERE c.candidate_id = ?
            """,
            [worse],
        )
        if other["finish"] not in _FINISHED or other["user_id"].startswith(TEMPORARY_USER):
            return
        token, now_ms = random_key(), self._store.now_ms()
        better_first = ord(token[0]) % 2 == 0
        pair = (better, worse) if better_first else (worse, better)
        values: dict[str, Any] = {
            "token": token,
            "user_id": other["user_id"],
            "first_id": pair[0],
            "second_id": pair[1],
            "reason": reason,
            "propensity": 1.0,
            "disagreement": 0.0,
            "first_better_prob": 0.5,
            "created_ms": now_ms,
        }
        insert(db, "comparisons", values)
        choice = Choice.FIRST if better_first else Choice.SECOND
        append_answer(db, question_of(db, token), choice, decision_ms=0, now_ms=now_ms)


def _said(text: str) -> str:
    """As a reply that a person leaves as it is comes back from the page."""
    return clean_text(text).strip()


def _body(text: str) -> str:
    body = _said(text)
    if not body:
        raise EmptyReplyError("Write the reply first; this one is empty.")
    return body
