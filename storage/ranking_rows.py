"""Slates and rankings as rows: into records, and the rows that the log and an import write.

Every function takes the connection, so the same code serves a reader and a transaction.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlite_utils import Database

from storage import chain
from storage.errors import UnknownSlateError, UnknownTurnError
from storage.inserts import insert
from storage.records import CandidateId, ConversationId, TurnId, UserId
from storage.rows import candidates_by_id, messages_to, moment
from storage.slates import (
    Criterion,
    Orders,
    Ranking,
    RankingId,
    RankingReceipt,
    RankingState,
    Ranks,
    Slate,
    SlateId,
)
from storage.sqlite import Row, fetch

_OTHERS = tuple(one for one in Criterion if one is not Criterion.OVERALL)


def add_slate(
    db: Database,
    prompt_turn_id: TurnId,
    answers: Sequence[CandidateId],
    *,
    token: str,
    imported: bool,
    now_ms: int,
) -> SlateId:
    """Insert a slate with its answers. The caller holds the transaction."""
    found = fetch(
        db,
        """
        SELECT user_id FROM turns JOIN conversations v USING (conversation_id)
         WHERE turn_id = ? AND v.erased_ms IS NULL
        """,
        [prompt_turn_id],
    )
    if not found:
        raise UnknownTurnError(f"There is no message {prompt_turn_id} (any more).")
    slate_id = insert(
        db,
        "slates",
        {
            "token": token,
            "user_id": found[0]["user_id"],
            "prompt_turn_id": prompt_turn_id,
            "answers": len(answers),
            "imported": imported,
            "created_ms": now_ms,
        },
    )
    for place, candidate_id in enumerate(answers, start=1):
        row = {"slate_id": slate_id, "place": place, "candidate_id": candidate_id}
        insert(db, "slate_answers", row)
    return SlateId(slate_id)


def append_ranking(
    db: Database,
    slate: Row,
    state: RankingState,
    orders: Orders | None,
    *,
    decision_ms: int,
    superseded: int | None = None,
    now_ms: int,
) -> RankingReceipt:
    """Add a ranking at the end of the chain. ``slate`` is its row; needs a transaction."""
    [(after_seq,)] = fetch(db, "SELECT coalesce(max(seq), 0) FROM preferences")
    row: dict[str, Any] = {
        "idem_key": f"{slate['token']}:{superseded or 0}",
        "slate_id": slate["slate_id"],
        "user_id": slate["user_id"],
        "state": state,
        "overall": None if orders is None else _digits(orders.overall),
        "supersedes": superseded,
        "decide_ms": decision_ms,
        "created_ms": now_ms,
        "after_seq": after_seq,
        "prev_hash": chain.last_hash(db),
    }
    for criterion in _OTHERS:
        ranks = None if orders is None else orders.criteria.get(criterion)
        row[criterion] = None if ranks is None else _digits(ranks)
    ranking_id = insert(db, "rankings", row | {"row_hash": chain.ranking_hash(db, row)})
    return RankingReceipt(ranking_id=RankingId(ranking_id), state=state, already_saved=False)


def slates_by_id(db: Database, ids: Iterable[int]) -> dict[SlateId, Slate]:
    found = fetch(
        db,
        """
        SELECT s.*, t.conversation_id,
               (SELECT json_group_array(candidate_id) FROM
                 (SELECT candidate_id FROM slate_answers a
                   WHERE a.slate_id = s.slate_id ORDER BY place)) AS candidate_ids
          FROM slates s JOIN turns t ON t.turn_id = s.prompt_turn_id
         WHERE s.slate_id IN (SELECT value FROM json_each(?))
        """,
        [json.dumps(list(ids))],
    )
    shown = {row["slate_id"]: json.loads(row["candidate_ids"]) for row in found}
    candidates = candidates_by_id(db, (one for some in shown.values() for one in some))
    prompts = messages_to(db, {row["prompt_turn_id"] for row in found})
    return {
        SlateId(row["slate_id"]): Slate(
            id=SlateId(row["slate_id"]),
            token=row["token"],
            conversation_id=ConversationId(row["conversation_id"]),
            prompt_turn_id=TurnId(row["prompt_turn_id"]),
            prompt=prompts[TurnId(row["prompt_turn_id"])],
            answers=tuple(candidates[CandidateId(one)] for one in shown[row["slate_id"]]),
            imported=bool(row["imported"]),
            asked_at=moment(row["created_ms"]),
        )
        for row in found
    }


def rankings_of(db: Database, found: Iterable[Row]) -> list[Ranking]:
    """Return the records of rows of ``rankings``, in their order."""
    found = list(found)
    slates = slates_by_id(db, {row["slate_id"] for row in found})
    return [
        Ranking(
            id=RankingId(row["ranking_id"]),
            slate=slates[SlateId(row["slate_id"])],
            state=RankingState(row["state"]),
            orders=orders_of(row),
            decision_ms=row["decide_ms"],
            decided_at=moment(row["created_ms"]),
        )
        for row in found
    ]


def slate_row(db: Database, slate_id: SlateId) -> Row:
    return fetch(db, "SELECT * FROM slates WHERE slate_id = ?", [slate_id])[0]


def asked_slate(db: Database, token: str, user_id: UserId | None = None) -> Row:
    found = fetch(
        db,
        """
        SELECT s.* FROM slates s
          JOIN turns t ON t.turn_id = s.prompt_turn_id
          JOIN conversations v ON v.conversation_id = t.conversation_id
         WHERE s.token = :token AND (:user IS NULL OR s.user_id = :user) AND v.erased_ms IS NULL
        """,
        {"token": token, "user": user_id},
    )
    if not found:
        raise UnknownSlateError("These answers are not known here (any more): reload the page.")
    return found[0]


def newest_ranking(db: Database, slate_id: int) -> Row | None:
    sql = "SELECT * FROM newest_rankings WHERE slate_id = ?"
    return next(iter(fetch(db, sql, [slate_id])), None)


def orders_of(row: Row) -> Orders | None:
    if row["overall"] is None:
        return None
    own = {one: _ranks(row[one]) for one in _OTHERS if row[one] is not None}
    return Orders(overall=_ranks(row["overall"]), criteria=own)


def _digits(ranks: Ranks) -> str:
    return "".join(map(str, ranks))


def _ranks(digits: str) -> Ranks:
    return tuple(map(int, digits))


def receipt_of(row: Row, *, already_saved: bool) -> RankingReceipt:
    return RankingReceipt(
        ranking_id=RankingId(row["ranking_id"]),
        state=RankingState(row["state"]),
        already_saved=already_saved,
    )
