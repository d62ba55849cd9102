"""The answers to comparisons: an append-only log in which the newest answer to each one counts.

A first answer is idempotent: its key follows from the question, so a double click, a second tab or
a retry after a lost acknowledgement finds the stored answer and changes nothing. A change of mind
and an undo are new rows that supersede the newest one. Which picks a version has learned follows
from the rounds on the serving lineage (the view ``eligible``), so a roll-back frees them by itself.
"""

from dataclasses import dataclass

from sqlite_utils import Database

from storage import chain, next_picks
from storage.answer_rows import (
    EXCLUDED,
    RELEASED,
    append_answer,
    flag_of,
    newest_answer,
    question_of,
    receipt_of,
    stored_with,
)
from storage.database import Reader, Store
from storage.errors import UnansweredError
from storage.inserts import insert, show_candidate
from storage.records import (
    LOCAL_USER,
    CandidateId,
    CandidatePool,
    Choice,
    Comparison,
    ComparisonId,
    ConversationId,
    Preference,
    PreferenceId,
    Receipt,
    TurnId,
    UserId,
)
from storage.rows import candidates_by_id, comparisons_by_id, messages_to, preferences_of
from storage.sqlite import Row, fetch


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackCounts:
    """How much was asked and answered, in all conversations that are not erased."""

    replies: int
    """Times the policy spoke here: a plain reply counts one, and so does a pair."""
    asked: int
    """Pairs shown."""
    answered: int
    """Of these and of what came out of files, answered and not withdrawn, whatever the choice."""
    decided: int
    """Of these, with a winner."""
    first_chosen: int
    """Of these, where it was the first."""
    waiting: int
    """Picks that the serving version has not learned: ``len(unlearned())``."""


class FeedbackReader:
    """Answers as the learner and the page read them."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def preferences(self) -> list[Preference]:
        """Return the answers that count and may train, with or without a winner, by id."""
        return self._preferences("SELECT * FROM live WHERE held_out = 0 ORDER BY seq")

    def held_out(self) -> list[Preference]:
        """Return the answers that count and only measure, by id."""
        return self._preferences("SELECT * FROM live WHERE held_out = 1 ORDER BY seq")

    def unlearned(self) -> list[Preference]:
        """Return the picks that may train and that the serving version has not learned, by id."""
        return self._preferences("SELECT * FROM eligible ORDER BY seq")

    def due(self, attempted: PreferenceId) -> int:
        """Return how many of ``unlearned()`` start a round (storage/next_picks.py says which).

        ``attempted`` is the newest pick that a round has tried.
        """
        return next_picks.count_due(self._reader.read(), attempted)

    def next_picks(self, attempted: PreferenceId, limit: int) -> list[Preference]:
        """Return those of ``unlearned()`` that a round of at most ``limit`` takes, by id."""
        with self._reader.snapshot() as db:
            return next_picks.next_picks(db, attempted, limit)

    def open_question(self, conversation_id: ConversationId) -> Comparison | None:
        """Return the newest unanswered comparison about the message at the head, if any."""
        with self._reader.snapshot() as db:
            found = fetch(
                db,
                """
                SELECT c.comparison_id
                  FROM conversations v
                  JOIN candidates a ON a.prompt_turn_id = v.head_turn_id
                  JOIN comparisons c ON c.first_id = a.candidate_id
                 WHERE v.conversation_id = ?
                   AND NOT EXISTS (SELECT 1 FROM preferences p
                                    WHERE p.comparison_id = c.comparison_id)
                 ORDER BY c.comparison_id DESC LIMIT 1
                """,
                [conversation_id],
            )
            ids = [ComparisonId(row["comparison_id"]) for row in found]
            return comparisons_by_id(db, ids)[ids[0]] if ids else None

    def comparison(self, token: str) -> Comparison:
        """Return what was asked. Raises UnknownComparisonError."""
        with self._reader.snapshot() as db:
            id_ = ComparisonId(question_of(db, token)["comparison_id"])
            return comparisons_by_id(db, [id_])[id_]

    def answer_of(self, comparison_id: ComparisonId) -> Preference | None:
        """Return the newest answer, WITHDRAWN included; None if there was never one."""
        with self._reader.snapshot() as db:
            newest = newest_answer(db, comparison_id)
            return preferences_of(db, [newest])[0] if newest else None

    def pools(
        self, *, limit: int, with_held_out: bool = False, with_cut: bool = False
    ) -> list[CandidatePool]:
        """Return the newest ``limit`` messages with two or more finished, featured candidates.

        Conversations that must not teach are left out, and held-out ones unless they are asked for,
        as are candidates that an early choice cut. Newest message first.
        """
        with self._reader.snapshot() as db:
            found = fetch(
                db,
                """
                SELECT c.prompt_turn_id, group_concat(c.candidate_id) AS candidate_ids
                  FROM candidates c
                  JOIN candidate_cache USING (candidate_id)
                  JOIN turns t ON t.turn_id = c.prompt_turn_id
                  JOIN conversations USING (conversation_id)
                 WHERE (finish IN ('stop', 'length') OR finish = 'aborted' AND ?)
                   AND feature IS NOT NULL AND learn = 1 AND held_out <= ?
                 GROUP BY c.prompt_turn_id HAVING count(*) >= 2
                 ORDER BY c.prompt_turn_id DESC LIMIT ?
                """,
                [with_cut, with_held_out, limit],
            )
            ids = {
                TurnId(row["prompt_turn_id"]): sorted(map(int, row["candidate_ids"].split(",")))
                for row in found
            }
            prompts = messages_to(db, ids)
            candidates = candidates_by_id(db, (one for pool in ids.values() for one in pool))
            return [
                CandidatePool(
                    prompt_turn_id=turn_id,
                    prompt=prompts[turn_id],
                    candidates=tuple(candidates[CandidateId(one)] for one in pool),
                )
                for turn_id, pool in ids.items()
            ]

    def counts(self) -> FeedbackCounts:
        [row] = fetch(
            self._reader.read(),
            """
            WITH answers AS (
                   SELECT choice, count(*) AS n,
                          count(*) FILTER (WHERE reason <> 'imported') AS here FROM pick_list
                    WHERE reason NOT IN ('edited', 'written') GROUP BY choice)
            SELECT (SELECT coalesce(sum(replies), 0) FROM plain_replies
                      JOIN conversations USING (conversation_id) WHERE imported = 0)
                     + coalesce(sum(here), 0) AS replies,
                   coalesce(sum(here), 0) AS asked,
                   coalesce(sum(n) FILTER (WHERE choice <> 'withdrawn'), 0) AS answered,
                   coalesce(sum(n) FILTER (WHERE choice IN ('first', 'second')), 0) AS decided,
                   coalesce(sum(n) FILTER (WHERE choice = 'first'), 0) AS first_chosen,
                   (SELECT count(*) FROM eligible) AS waiting
              FROM answers
            """,
        )
        return FeedbackCounts(**dict(row))

    def _preferences(self, sql: str) -> list[Preference]:
        with self._reader.snapshot() as db:
            return preferences_of(db, fetch(db, sql))


class FeedbackLog(FeedbackReader):
    """Writes answers. A returned receipt means committed and on disk."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._store = store

    def answer(
        self,
        token: str,
        choice: Choice,
        *,
        decision_ms: int,
        continue_with: CandidateId,
        user_id: UserId = LOCAL_USER,
    ) -> Receipt:
        """Keep the first answer to a comparison, and go on with one of its two replies.

        The reply becomes the head where the head still is the message it answers. If there was an
        answer before, nothing is written and the receipt says what is stored. Raises
        UnknownComparisonError, also to somebody who was not asked.
        """
        _check_answer(choice)
        with self._store.write() as db:
            question = question_of(db, token, user_id)
            if continue_with not in (question["first_id"], question["second_id"]):
                raise ValueError(f"candidate {continue_with} is not of comparison {token!r}")
            newest = newest_answer(db, question["comparison_id"])
            if newest:
                return receipt_of(newest, already_saved=True)
            receipt = self._append(db, question, choice, decision_ms, superseded=None)
            if question["head_turn_id"] == question["prompt_turn_id"]:
                show_candidate(db, continue_with, self._store.now_ms())
            return receipt

    def change(
        self, token: str, choice: Choice, *, decision_ms: int, user_id: UserId = LOCAL_USER
    ) -> Receipt:
        """Replace the answer, also a withdrawn one. Raises UnansweredError before the first."""
        _check_answer(choice)
        return self._supersede(token, choice, decision_ms, user_id)

    def withdraw(self, token: str, *, user_id: UserId = LOCAL_USER) -> Receipt:
        """Undo the answer: it no longer counts. Raises UnansweredError before the first."""
        return self._supersede(token, Choice.WITHDRAWN, 0, user_id)

    def withdraw_act(self, token: str, *, user_id: UserId = LOCAL_USER) -> Receipt:
        """Undo the answer together with all that the same act of the person stored.

        A better reply in their own words is a skipped question and a pair with each of its two
        replies: the token of any of the three takes all of them back, the question only while it
        is still skipped. Raises UnansweredError before the first answer.
        """
        with self._store.write() as db:
            question = question_of(db, token, user_id)
            receipt = self._replace(db, question, Choice.WITHDRAWN, 0)
            for other in stored_with(db, question):
                self._replace(db, other, Choice.WITHDRAWN, 0)
            return receipt

    def exclude(self, token: str, *, user_id: UserId = LOCAL_USER) -> None:
        """Leave the answer out of every later fit; ``include`` takes it back in."""
        self._set_flag(token, EXCLUDED, user_id)

    def include(self, token: str, *, user_id: UserId = LOCAL_USER) -> None:
        """Let an answer count again, whoever or whatever had excluded it."""
        self._set_flag(token, RELEASED, user_id)

    def verify_chain(self) -> None:
        """Raise BrokenChainError, naming the first answer or text that was edited."""
        with self._store.snapshot() as db:
            chain.verify(db)

    def _set_flag(self, token: str, flag: str, user_id: UserId) -> None:
        with self._store.write() as db:
            newest = newest_answer(db, question_of(db, token, user_id)["comparison_id"])
            if newest is None:
                raise UnansweredError("This pair was not answered yet: pick a reply first.")
            if flag_of(db, newest["seq"]) != flag:
                self._flag(db, newest["seq"], flag)

    def _supersede(self, token: str, choice: Choice, decision_ms: int, user_id: UserId) -> Receipt:
        with self._store.write() as db:
            return self._replace(db, question_of(db, token, user_id), choice, decision_ms)

    def _replace(self, db: Database, question: Row, choice: Choice, decision_ms: int) -> Receipt:
        newest = newest_answer(db, question["comparison_id"])
        if newest is None:
            raise UnansweredError("This pair was not answered yet: pick a reply first.")
        if newest["choice"] == choice:
            return receipt_of(newest, already_saved=True)
        receipt = self._append(db, question, choice, decision_ms, superseded=newest["seq"])
        flag = flag_of(db, newest["seq"])
        if flag != RELEASED:  # what was excluded stays excluded, whatever it says now
            self._flag(db, receipt.preference_id, flag)
        return receipt

    def _flag(self, db: Database, seq: int, flag: str) -> None:
        insert(
            db,
            "preference_flags",
            {"seq": seq, "flag": flag, "created_ms": self._store.now_ms()},
        )

    def _append(
        self,
        db: Database,
        question: Row,
        choice: Choice,
        decision_ms: int,
        *,
        superseded: int | None,
    ) -> Receipt:
        return append_answer(
            db,
            question,
            choice,
            decision_ms=decision_ms,
            superseded=superseded,
            now_ms=self._store.now_ms(),
        )


def _check_answer(choice: Choice) -> None:
    if choice is Choice.WITHDRAWN:
        raise ValueError("an answer is withdrawn by withdraw()")
