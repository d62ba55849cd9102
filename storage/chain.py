"""The hash chain over answers and rankings: an edit behind the schema's back becomes visible.

Each row's hash covers the hash before it, the answer, the question as it was put, who wrote the
replies and how, and digests of their texts and of the message they answer. Digests are salted per
person and outlive their texts, so the chain verifies after an erasure, too. What it cannot show is
that its newest rows were cut off.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from heapq import merge
from operator import itemgetter
from typing import Any

from sqlite_utils import Database

from storage.errors import BrokenChainError
from storage.inserts import text_digest
from storage.sqlite import Row, fetch

GENESIS = bytes(32)

_ANSWER = ("idem_key", "user_id", "choice", "supersedes", "decide_ms", "created_ms")

_QUESTIONS = """
    SELECT c.token, c.reason, c.propensity, c.disagreement, c.first_better_prob,
           c.created_ms AS asked_ms, hex(t.digest) AS prompt_digest,
           a.version AS first_version, a.seed AS first_seed, a.params_json AS first_params,
           hex(ta.digest) AS first_digest,
           b.version AS second_version, b.seed AS second_seed, b.params_json AS second_params,
           hex(tb.digest) AS second_digest
      FROM comparisons c
      JOIN candidates a ON a.candidate_id = c.first_id
      JOIN candidates b ON b.candidate_id = c.second_id
      JOIN texts ta ON ta.text_id = a.text_id
      JOIN texts tb ON tb.text_id = b.text_id
      JOIN turns ON turns.turn_id = a.prompt_turn_id
      JOIN texts t ON t.text_id = turns.text_id
     WHERE c.comparison_id = ?
"""

_RANKING = (
    "idem_key",
    "user_id",
    "state",
    "overall",
    "relevance",
    "informativeness",
    "harmlessness",
    "honesty",
    "supersedes",
    "decide_ms",
    "created_ms",
    "after_seq",
)

_SLATES = """
    SELECT s.token, s.answers, s.imported, s.created_ms AS asked_ms, hex(t.digest) AS prompt_digest
      FROM slates s
      JOIN turns ON turns.turn_id = s.prompt_turn_id
      JOIN texts t ON t.text_id = turns.text_id
     WHERE s.slate_id = ?
"""

_SLATE_ANSWERS = """
    SELECT a.place, c.author, c.version, c.seed, c.params_json, hex(t.digest) AS digest
      FROM slate_answers a
      JOIN candidates c USING (candidate_id)
      JOIN texts t ON t.text_id = c.text_id
     WHERE a.slate_id = ? ORDER BY a.place
"""


def last_hash(db: Database) -> bytes:
    """Return the hash that the next row must name as the one before it."""
    return fetch(db, "SELECT row_hash FROM chain_end")[0]["row_hash"]


def row_hash(db: Database, answer: Mapping[str, Any] | Row) -> bytes:
    """Return the hash of an answer: a row of ``preferences``, or the values that become one."""
    [question] = fetch(db, _QUESTIONS, [answer["comparison_id"]])
    return _hash(answer["prev_hash"], {name: answer[name] for name in _ANSWER} | dict(question))


def ranking_hash(db: Database, ranking: Mapping[str, Any] | Row) -> bytes:
    """Return the hash of a ranking: a row of ``rankings``, or the values that become one."""
    [slate] = fetch(db, _SLATES, [ranking["slate_id"]])
    answers = [dict(row) for row in fetch(db, _SLATE_ANSWERS, [ranking["slate_id"]])]
    content = {name: ranking[name] for name in _RANKING} | dict(slate) | {"shown": answers}
    return _hash(ranking["prev_hash"], content)


def verify(db: Database) -> None:
    """Raise BrokenChainError, naming the first text or answer that was edited."""
    for text in fetch(
        db,
        """
        SELECT text_id, body, digest, salt FROM texts JOIN users ON user_id = owner_id
         WHERE body IS NOT NULL AND salt IS NOT NULL ORDER BY text_id
        """,
    ):
        if text_digest(text["salt"], text["body"]) != text["digest"]:
            raise BrokenChainError(
                f"Text {text['text_id']} was changed outside of twofold: restore a backup."
            )
    before = GENESIS
    for row, hashed, name in _in_order(db):
        if row["prev_hash"] != before or hashed(db, row) != row["row_hash"]:
            raise BrokenChainError(f"{name} was changed outside of twofold: restore a backup.")
        before = row["row_hash"]


def _in_order(
    db: Database,
) -> Iterator[tuple[Row, Callable[[Database, Row], bytes], str]]:
    """Yield answers and rankings, each with what hashes it and its name, as they were given."""
    answers = (
        ((row["seq"], 0), row, row_hash, f"Answer {row['seq']}")
        for row in fetch(db, "SELECT * FROM preferences ORDER BY seq")
    )
    rankings = (
        (
            (row["after_seq"], row["ranking_id"]),
            row,
            ranking_hash,
            f"Ranking {row['ranking_id']}",
        )
        for row in fetch(db, "SELECT * FROM rankings ORDER BY ranking_id")
    )
    for _, row, hashed, name in merge(answers, rankings, key=itemgetter(0)):
        yield row, hashed, name


def _hash(before: bytes, content: Mapping[str, Any]) -> bytes:
    return hashlib.sha256(before + json.dumps(content, sort_keys=True).encode()).digest()
