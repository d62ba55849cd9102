"""Rows into records, many at a time. What several logs write is in storage/inserts.py.

Every function takes the connection, so the same code serves a reader and a transaction. Ids travel
as one JSON list, so that a thousand answers take a handful of queries and not thousands. Text that
was erased reads as empty, and its tokens as none.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime

from sqlite_utils import Database

from storage.columns import params, unpacked
from storage.records import (
    AskReason,
    Author,
    Candidate,
    CandidateId,
    Choice,
    Comparison,
    ComparisonId,
    Completion,
    Conversation,
    ConversationId,
    FinishReason,
    Message,
    PolicyVersionId,
    Preference,
    PreferenceId,
    Purpose,
    Question,
    Role,
    Turn,
    TurnId,
    TurnState,
)
from storage.sqlite import Row, fetch

TEMPORARY_USER = "temporary-"
"""A temporary conversation belongs to a person of its own, whose id begins so."""

CONVERSATIONS = """
    SELECT conversation_id, key, user_id, title, created_ms, learn, held_out, purpose, head_turn_id
      FROM conversations WHERE erased_ms IS NULL
"""
TURNS = """
    SELECT turn_id, conversation_id, parent_id, role, body, state, candidate_id, turns.created_ms
      FROM turns JOIN texts USING (text_id)
"""


def moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def conversation_of(row: Row) -> Conversation:
    """Return the record of a row of ``CONVERSATIONS``."""
    return Conversation(
        id=ConversationId(row["conversation_id"]),
        key=row["key"],
        title=row["title"],
        started_at=moment(row["created_ms"]),
        learn=bool(row["learn"]),
        held_out=bool(row["held_out"]),
        purpose=Purpose(row["purpose"]),
        temporary=row["user_id"].startswith(TEMPORARY_USER),
    )


def turn_of(row: Row) -> Turn:
    """Return the record of a row of ``TURNS``."""
    return Turn(
        id=TurnId(row["turn_id"]),
        conversation_id=ConversationId(row["conversation_id"]),
        parent_id=None if row["parent_id"] is None else TurnId(row["parent_id"]),
        message=Message(role=Role(row["role"]), content=row["body"] or ""),
        state=TurnState(row["state"]),
        candidate_id=None if row["candidate_id"] is None else CandidateId(row["candidate_id"]),
        created_at=moment(row["created_ms"]),
    )


def messages_to(db: Database, turn_ids: Iterable[int]) -> dict[TurnId, tuple[Message, ...]]:
    """Return for each turn the messages from the root to it, itself included."""
    wanted = set(turn_ids)
    paths: dict[int, tuple[Message, ...]] = {}
    for row in fetch(
        db,
        """
        SELECT turn_id, parent_id, role, body FROM turns JOIN texts USING (text_id)
         WHERE conversation_id IN (SELECT conversation_id FROM turns
                                    WHERE turn_id IN (SELECT value FROM json_each(?)))
         ORDER BY turn_id
        """,  # a parent comes before its children
        [_json_list(wanted)],
    ):
        message = Message(role=Role(row["role"]), content=row["body"] or "")
        paths[row["turn_id"]] = (*paths.get(row["parent_id"], ()), message)
    return {TurnId(turn_id): paths[turn_id] for turn_id in wanted}


def candidates_by_id(db: Database, ids: Iterable[int]) -> dict[CandidateId, Candidate]:
    return {
        CandidateId(row["candidate_id"]): _candidate(row)
        for row in fetch(
            db,
            """
            SELECT candidate_id, prompt_turn_id, author, version, seed, params_json, body, finish,
                   reward_mean, reward_std, token_ids, token_logp, feature
              FROM candidates JOIN texts USING (text_id)
              LEFT JOIN candidate_cache USING (candidate_id)
             WHERE candidate_id IN (SELECT value FROM json_each(?))
            """,
            [_json_list(ids)],
        )
    }


def comparisons_by_id(db: Database, ids: Iterable[int]) -> dict[ComparisonId, Comparison]:
    found = fetch(
        db,
        """
        SELECT c.*, a.prompt_turn_id, t.conversation_id
          FROM comparisons c
          JOIN candidates a ON a.candidate_id = c.first_id
          JOIN turns t ON t.turn_id = a.prompt_turn_id
         WHERE comparison_id IN (SELECT value FROM json_each(?))
        """,
        [_json_list(ids)],
    )
    candidates = candidates_by_id(
        db, (row[end] for row in found for end in ("first_id", "second_id"))
    )
    prompts = messages_to(db, {row["prompt_turn_id"] for row in found})
    return {
        ComparisonId(row["comparison_id"]): Comparison(
            id=ComparisonId(row["comparison_id"]),
            token=row["token"],
            conversation_id=ConversationId(row["conversation_id"]),
            prompt_turn_id=TurnId(row["prompt_turn_id"]),
            prompt=prompts[TurnId(row["prompt_turn_id"])],
            first=candidates[CandidateId(row["first_id"])],
            second=candidates[CandidateId(row["second_id"])],
            question=Question(
                reason=AskReason(row["reason"]),
                propensity=row["propensity"],
                disagreement=row["disagreement"],
                first_better_prob=row["first_better_prob"],
            ),
            asked_at=moment(row["created_ms"]),
        )
        for row in found
    }


def preferences_of(db: Database, found: Iterable[Row]) -> list[Preference]:
    """Return the records of rows of ``preferences``, in their order."""
    found = list(found)
    comparisons = comparisons_by_id(db, (row["comparison_id"] for row in found))
    return [
        Preference(
            id=PreferenceId(row["seq"]),
            comparison=comparisons[ComparisonId(row["comparison_id"])],
            choice=Choice(row["choice"]),
            decision_ms=row["decide_ms"],
            decided_at=moment(row["created_ms"]),
        )
        for row in found
    ]


def _candidate(row: Row) -> Candidate:
    sampling, style = params(row["params_json"])
    return Candidate(
        id=CandidateId(row["candidate_id"]),
        prompt_turn_id=TurnId(row["prompt_turn_id"]),
        author=Author(row["author"]),
        completion=Completion(
            text=row["body"] or "",
            token_ids=unpacked("i", row["token_ids"] or b""),
            logprobs=unpacked("f", row["token_logp"] or b""),
            finish_reason=FinishReason(row["finish"]),
            policy_version=PolicyVersionId(row["version"]),
            seed=row["seed"],
            sampling=sampling,
            style=style,
            feature=row["feature"],
            reward_mean=row["reward_mean"],
            reward_std=row["reward_std"],
        ),
    )


def _json_list(ids: Iterable[int]) -> str:
    return json.dumps(list(ids))
