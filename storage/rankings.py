"""The log of rankings: append-only and idempotent, in the hash chain of the answers.

A first ranking's key follows from the slate alone, as an answer's does from its question
(storage/feedback.py); a change of mind and an undo are new rows that supersede the newest one.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from storage.conversation_rows import random_key
from storage.database import Reader, Store
from storage.errors import UnansweredError
from storage.ranking_rows import (
    add_slate,
    append_ranking,
    asked_slate,
    newest_ranking,
    orders_of,
    rankings_of,
    receipt_of,
    slates_by_id,
)
from storage.records import LOCAL_USER, Candidate, CandidateId, TurnId, UserId
from storage.rows import candidates_by_id
from storage.slates import (
    MAX_ANSWERS,
    MIN_ANSWERS,
    Orders,
    Ranking,
    RankingId,
    RankingReceipt,
    RankingState,
    Slate,
    SlateId,
)
from storage.sqlite import fetch


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingCounts:
    """How much was ranked, in all conversations that are not erased."""

    asked: int
    """Slates that were ever put before somebody, erased ones too."""
    ranked: int
    """Slates whose newest answer is an order."""
    skipped: int
    answers: int
    """Of the ranked slates."""
    pairs: int
    """Of the ranked slates, overall, tied ones included."""
    own_criteria: int
    """Of the ranked slates, those with an order of their own on some criterion."""


class RankingReader:
    """Rankings as the learner and the page read them."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def rankings(self) -> list[Ranking]:
        """Return the rankings that count and may train, by id."""
        return self._rankings("SELECT * FROM live_rankings WHERE held_out = 0 ORDER BY ranking_id")

    def held_out(self) -> list[Ranking]:
        """Return the rankings that count and only measure, by id."""
        return self._rankings("SELECT * FROM live_rankings WHERE held_out = 1 ORDER BY ranking_id")

    def slate(self, token: str) -> Slate:
        """Return what was put before a person. Raises UnknownSlateError."""
        with self._reader.snapshot() as db:
            id_ = SlateId(asked_slate(db, token)["slate_id"])
            return slates_by_id(db, [id_])[id_]

    def answer_of(self, slate_id: SlateId) -> Ranking | None:
        """Return the newest ranking, whatever its state; None if there was never one."""
        with self._reader.snapshot() as db:
            newest = newest_ranking(db, slate_id)
            return rankings_of(db, [newest])[0] if newest else None

    def known_answers(self, prompt_turn_id: TurnId) -> list[Candidate]:
        """Return the whole replies to a message that there are, those a person saw first."""
        with self._reader.snapshot() as db:
            found = fetch(
                db,
                """
                SELECT c.candidate_id FROM candidates c JOIN texts USING (text_id)
                 WHERE c.prompt_turn_id = ? AND body IS NOT NULL AND finish IN ('stop', 'length')
                 ORDER BY EXISTS (SELECT 1 FROM turns t WHERE t.candidate_id = c.candidate_id) DESC,
                          c.candidate_id
                """,
                [prompt_turn_id],
            )
            ids = [CandidateId(row["candidate_id"]) for row in found]
            known = candidates_by_id(db, ids)
            return [known[id_] for id_ in ids]

    def open_slate(self, *, user_id: UserId = LOCAL_USER) -> Slate | None:
        """Return the newest slate that a person was shown and never answered, if any."""
        with self._reader.snapshot() as db:
            found = fetch(
                db,
                """
                SELECT s.slate_id FROM slates s
                  JOIN turns t ON t.turn_id = s.prompt_turn_id JOIN conversations v
                 USING (conversation_id)
                 WHERE s.user_id = ? AND v.erased_ms IS NULL
                   AND NOT EXISTS (SELECT 1 FROM rankings r WHERE r.slate_id = s.slate_id)
                 ORDER BY s.slate_id DESC LIMIT 1
                """,
                [user_id],
            )
            ids = [SlateId(row["slate_id"]) for row in found]
            return slates_by_id(db, ids)[ids[0]] if ids else None

    def page(self, *, before: RankingId | None = None, limit: int = 30) -> list[Ranking]:
        """Return the newest ranking of each slate, newest first, those taken back included."""
        return self._rankings(
            """
            SELECT r.* FROM newest_rankings r JOIN slates s USING (slate_id)
              JOIN turns t ON t.turn_id = s.prompt_turn_id
              JOIN conversations v USING (conversation_id)
             WHERE v.erased_ms IS NULL AND (:before IS NULL OR r.ranking_id < :before)
             ORDER BY r.ranking_id DESC LIMIT :limit
            """,
            {"before": before, "limit": limit},
        )

    def counts(self) -> RankingCounts:
        [row] = fetch(
            self._reader.read(),
            """
            SELECT (SELECT count(*) FROM slates) AS asked,
                   count(*) FILTER (WHERE r.state = 'ranked') AS ranked,
                   count(*) FILTER (WHERE r.state = 'skipped') AS skipped,
                   coalesce(sum(s.answers) FILTER (WHERE r.state = 'ranked'), 0) AS answers,
                   coalesce(sum(s.answers * (s.answers - 1) / 2)
                            FILTER (WHERE r.state = 'ranked'), 0) AS pairs,
                   count(coalesce(r.relevance, r.informativeness, r.harmlessness, r.honesty))
                     AS own_criteria
              FROM newest_rankings r JOIN slates s USING (slate_id)
              JOIN turns t ON t.turn_id = s.prompt_turn_id
              JOIN conversations v USING (conversation_id)
             WHERE v.erased_ms IS NULL
            """,
        )
        return RankingCounts(**dict(row))

    def meta_of(self, slates: Iterable[SlateId]) -> dict[SlateId, str]:
        """Return what the file said of each of these slates that came out of one."""
        sql = """
            SELECT slate_id, meta_json FROM imported_slates
             WHERE slate_id IN (SELECT value FROM json_each(?))
        """
        found = fetch(self._reader.read(), sql, [json.dumps(list(slates))])
        return {SlateId(row["slate_id"]): row["meta_json"] for row in found}

    def _rankings(self, sql: str, values: dict[str, Any] | None = None) -> list[Ranking]:
        with self._reader.snapshot() as db:
            return rankings_of(db, fetch(db, sql, values or {}))


class RankingLog(RankingReader):
    """Writes them; each method is one transaction. A returned receipt means on disk."""

    def __init__(self, store: Store, *, new_key: Callable[[], str] = random_key) -> None:
        super().__init__(store)
        self._store = store
        self._new_key = new_key

    def ask(self, prompt_turn_id: TurnId, answers: Sequence[CandidateId]) -> Slate:
        """Keep 2 to 9 stored replies to one message as a slate, in the order shown.

        Raises UnknownTurnError, and InvariantError where one answers another message.
        """
        if not MIN_ANSWERS <= len(answers) <= MAX_ANSWERS:
            raise ValueError(f"a slate has {MIN_ANSWERS} to {MAX_ANSWERS} answers, not {answers}")
        with self._store.write() as db:
            slate_id = add_slate(
                db,
                prompt_turn_id,
                answers,
                token=self._new_key(),
                imported=False,
                now_ms=self._store.now_ms(),
            )
            return slates_by_id(db, [slate_id])[slate_id]

    def rank(
        self, token: str, orders: Orders, *, decision_ms: int, user_id: UserId = LOCAL_USER
    ) -> RankingReceipt:
        """Keep the first answer to a slate; one that is there already stands, and is returned.

        Raises UnknownSlateError, also to somebody who was not asked, and InvariantError where the
        orders are of another number of answers.
        """
        return self._first(token, RankingState.RANKED, orders, decision_ms, user_id)

    def skip(
        self, token: str, *, decision_ms: int = 0, user_id: UserId = LOCAL_USER
    ) -> RankingReceipt:
        """Keep that nothing was said of a slate; as ``rank``."""
        return self._first(token, RankingState.SKIPPED, None, decision_ms, user_id)

    def change(
        self, token: str, orders: Orders, *, decision_ms: int, user_id: UserId = LOCAL_USER
    ) -> RankingReceipt:
        """Replace the answer, also one skipped or taken back. Raises UnansweredError before it."""
        return self._supersede(token, RankingState.RANKED, orders, decision_ms, user_id)

    def withdraw(self, token: str, *, user_id: UserId = LOCAL_USER) -> RankingReceipt:
        """Undo the answer: it no longer counts. Raises UnansweredError before the first."""
        return self._supersede(token, RankingState.WITHDRAWN, None, 0, user_id)

    # --- Private -----------------------------------------------------------------------------

    def _first(
        self,
        token: str,
        state: RankingState,
        orders: Orders | None,
        decision_ms: int,
        user_id: UserId,
    ) -> RankingReceipt:
        with self._store.write() as db:
            slate = asked_slate(db, token, user_id)
            newest = newest_ranking(db, slate["slate_id"])
            if newest:
                return receipt_of(newest, already_saved=True)
            return append_ranking(
                db, slate, state, orders, decision_ms=decision_ms, now_ms=self._store.now_ms()
            )

    def _supersede(
        self,
        token: str,
        state: RankingState,
        orders: Orders | None,
        decision_ms: int,
        user_id: UserId,
    ) -> RankingReceipt:
        with self._store.write() as db:
            slate = asked_slate(db, token, user_id)
            newest = newest_ranking(db, slate["slate_id"])
            if newest is None:
                raise UnansweredError("These answers were not ranked yet: order them first.")
            if newest["state"] == state and orders_of(newest) == orders:
                return receipt_of(newest, already_saved=True)
            return append_ranking(
                db,
                slate,
                state,
                orders,
                decision_ms=decision_ms,
                superseded=newest["ranking_id"],
                now_ms=self._store.now_ms(),
            )
