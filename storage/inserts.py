"""The rows that several logs write.

Every function takes the connection of a transaction that its caller holds.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

from sqlite_utils import Database

from storage.columns import packed, params_json, unpacked
from storage.errors import UnknownTurnError
from storage.records import (
    Author,
    Candidate,
    CandidateId,
    Completion,
    FinishReason,
    Role,
    Turn,
    TurnId,
    TurnState,
    UserId,
)
from storage.rows import TURNS, candidates_by_id, turn_of
from storage.sqlite import fetch, translated
from storage.text import storable_text


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
                params_json(completion.sampling, completion.style),
                text_id,
                completion.finish_reason,
                completion.reward_mean,
                completion.reward_std,
                now_ms,
            )
        )
        logp = packed("f", completion.logprobs)
        caches.append((candidate_id, packed("i", completion.token_ids), logp, completion.feature))
        added.append(
            Candidate(
                id=CandidateId(candidate_id),
                prompt_turn_id=prompt_turn_id,
                completion=replace(completion, text=body, logprobs=unpacked("f", logp)),
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
            "params_json": params_json(completion.sampling, completion.style),
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
            "token_ids": packed("i", completion.token_ids),
            "token_logp": packed("f", completion.logprobs),
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
