"""Rows into records, many at a time, and the few rows that several logs write.

Every function takes the connection, so the same code serves a reader and a transaction. Ids travel
as one JSON list, so that a thousand answers take a handful of queries and not thousands. Text that
was erased reads as empty, and its tokens as none.
"""

import hashlib
import json
import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, cast

from sqlite_utils import Database

from storage.errors import UnknownTurnError
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
    Sampling,
    Turn,
    TurnId,
    TurnState,
    UserId,
)
from storage.sqlite import Row, fetch, translated
from storage.text import storable_text

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


def text_digest(salt: bytes, body: str) -> bytes:
    """Return SHA-256 of the owner's salt and the text, which stays when the text is erased."""
    return hashlib.sha256(salt + body.encode()).digest()


def add_text(db: Database, owner: UserId, text: str) -> int:
    """Insert a text and return its id. The caller holds the transaction."""
    body = storable_text(text)
    [(salt,)] = fetch(db, "SELECT salt FROM users WHERE user_id = ?", [owner])
    return insert(db, "texts", {"owner_id": owner, "body": body, "digest": text_digest(salt, body)})


def add_candidates(
    db: Database, prompt_turn_id: TurnId, completions: Sequence[Completion], now_ms: int
) -> list[Candidate]:
    """Insert completions with their caches, a table at a time. The caller holds the transaction.

    The ids are taken ahead of the rows: nobody else can write before the transaction ends. The
    records returned are what a reader will find, without reading it back. Raises UnknownTurnError.
    """
    found = fetch(
        db,
        """
        SELECT user_id, salt, coalesce((SELECT max(text_id) FROM texts), 0),
               coalesce((SELECT max(candidate_id) FROM candidates), 0)
          FROM turns t JOIN conversations v USING (conversation_id) JOIN users USING (user_id)
         WHERE t.turn_id = ? AND v.erased_ms IS NULL
        """,
        [prompt_turn_id],
    )
    if not found:
        raise UnknownTurnError(f"There is no message {prompt_turn_id} (any more).")
    owner, salt, text_id, candidate_id = found[0]
    texts: list[tuple[object, ...]] = []
    rows: list[tuple[object, ...]] = []
    caches: list[tuple[object, ...]] = []
    added: list[Candidate] = []
    for completion in completions:
        text_id, candidate_id = text_id + 1, candidate_id + 1
        body = storable_text(completion.text)
        texts.append((text_id, owner, body, text_digest(salt, body)))
        rows.append(
            (
                candidate_id,
                prompt_turn_id,
                completion.policy_version,
                completion.seed,
                _params_json(completion.sampling, completion.style),
                text_id,
                completion.finish_reason,
                completion.reward_mean,
                completion.reward_std,
                now_ms,
            )
        )
        logp = _packed("f", completion.logprobs)
        caches.append((candidate_id, _packed("i", completion.token_ids), logp, completion.feature))
        added.append(
            Candidate(
                id=CandidateId(candidate_id),
                prompt_turn_id=prompt_turn_id,
                completion=replace(completion, text=body, logprobs=_unpacked("f", logp)),
            )
        )
    with translated():
        db.conn.executemany(
            "INSERT INTO texts (text_id, owner_id, body, digest) VALUES (?, ?, ?, ?)", texts
        )
        db.conn.executemany(
            """
            INSERT INTO candidates (candidate_id, prompt_turn_id, version, seed, params_json,
                                    text_id, finish, reward_mean, reward_std, created_ms)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,
            rows,
        )
        db.conn.executemany(
            """
            INSERT INTO candidate_cache (candidate_id, token_ids, token_logp, feature)
            VALUES (?, ?, ?, ?)
            """,
            caches,
        )
    return added


def add_written(
    db: Database, prompt_turn_id: TurnId, owner: UserId, completion: Completion, now_ms: int
) -> Candidate:
    """Insert a reply that a person wrote, without its cache. The caller holds the transaction."""
    candidate_id = insert(
        db,
        "candidates",
        {
            "prompt_turn_id": prompt_turn_id,
            "author": Author.PERSON,
            "version": completion.policy_version,
            "seed": completion.seed,
            "params_json": _params_json(completion.sampling, completion.style),
            "text_id": add_text(db, owner, completion.text),
            "finish": completion.finish_reason,
            "created_ms": now_ms,
        },
    )
    return candidates_by_id(db, [candidate_id])[CandidateId(candidate_id)]


def add_cache(db: Database, candidate_id: int, completion: Completion) -> None:
    """Insert the tokens and features of a candidate. The caller holds the transaction."""
    insert(
        db,
        "candidate_cache",
        {
            "candidate_id": candidate_id,
            "token_ids": _packed("i", completion.token_ids),
            "token_logp": _packed("f", completion.logprobs),
            "feature": completion.feature,
        },
    )


def add_turn(
    db: Database,
    *,
    conversation_id: int,
    parent_id: int | None,
    role: Role,
    text_id: int,
    candidate_id: int | None = None,
    state: TurnState = TurnState.FINAL,
    now_ms: int,
) -> Turn:
    """Insert a turn; the head moves to it where it still is the parent. Needs a transaction."""
    turn_id = insert(
        db,
        "turns",
        {
            "conversation_id": conversation_id,
            "parent_id": parent_id,
            "role": role,
            "text_id": text_id,
            "candidate_id": candidate_id,
            "state": state,
            "created_ms": now_ms,
        },
    )
    db.execute(
        "UPDATE conversations SET head_turn_id = ? WHERE conversation_id = ? AND head_turn_id IS ?",
        [turn_id, conversation_id, parent_id],
    )
    return turn_of(fetch(db, f"{TURNS} WHERE turn_id = ?", [turn_id])[0])


def show_candidate(db: Database, candidate_id: CandidateId, now_ms: int) -> Turn:
    """Insert the assistant turn that shows a candidate. The caller holds the transaction."""
    [row] = fetch(
        db,
        """
        SELECT conversation_id, prompt_turn_id, candidates.text_id, finish
          FROM candidates JOIN turns ON turn_id = prompt_turn_id WHERE candidates.candidate_id = ?
        """,
        [candidate_id],
    )
    return add_turn(
        db,
        conversation_id=row["conversation_id"],
        parent_id=row["prompt_turn_id"],
        role=Role.ASSISTANT,
        text_id=row["text_id"],
        candidate_id=candidate_id,
        state=TurnState.ABORTED if row["finish"] == FinishReason.ABORTED else TurnState.FINAL,
        now_ms=now_ms,
    )


def insert(db: Database, table: str, values: Mapping[str, object]) -> int:
    """Insert one row and return its rowid."""
    columns = ", ".join(values)
    marks = ", ".join(f":{column}" for column in values)
    sql = f"INSERT INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608 - names are literals
    return cast("int", db.execute(sql, dict(values)).lastrowid)


def _candidate(row: Row) -> Candidate:
    sampling, style = _params(row["params_json"])
    return Candidate(
        id=CandidateId(row["candidate_id"]),
        prompt_turn_id=TurnId(row["prompt_turn_id"]),
        author=Author(row["author"]),
        completion=Completion(
            text=row["body"] or "",
            token_ids=_unpacked("i", row["token_ids"] or b""),
            logprobs=_unpacked("f", row["token_logp"] or b""),
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


@lru_cache(maxsize=64)
def _params_json(sampling: Sampling, style: str | None) -> str:
    """How a reply was drawn. Where there was no style nothing is said of it."""
    return json.dumps(asdict(sampling) | ({"style": style} if style else {}))


def _params(text: str) -> tuple[Sampling, str | None]:
    params = json.loads(text)
    style = params.pop("style", None)
    return Sampling(**params), style


def _packed(kind: str, values: Iterable[float]) -> bytes:
    numbers = array(kind, values)  # "i" is int32 and "f" float32 wherever Python runs
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _unpacked(kind: str, blob: bytes) -> tuple[Any, ...]:
    numbers = array(kind, blob)
    if sys.byteorder == "big":
        numbers.byteswap()
    return tuple(numbers)


def _json_list(ids: Iterable[int]) -> str:
    return json.dumps(list(ids))
