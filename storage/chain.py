"""The hash chain over the answers: an edit behind the schema's back becomes visible.

Each row's hash covers the hash before it, the answer, the question as it was put, who wrote both
replies and how, and digests of their texts and of the message they answer. Digests are salted per
person and outlive their texts, so the chain verifies after an erasure, too. What it cannot show is
that its newest rows were cut off.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sqlite_utils import Database

from storage.errors import BrokenChainError
from storage.rows import text_digest
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


def last_hash(db: Database) -> bytes:
    """Return the hash that the next row must name as the one before it."""
    found = fetch(db, "SELECT row_hash FROM preferences ORDER BY seq DESC LIMIT 1")
    return found[0]["row_hash"] if found else GENESIS


def row_hash(db: Database, answer: Mapping[str, Any] | Row) -> bytes:
    """Return the hash of an answer: a row of ``preferences``, or the values that become one."""
    [question] = fetch(db, _QUESTIONS, [answer["comparison_id"]])
    content = {name: answer[name] for name in _ANSWER} | dict(question)
    return hashlib.sha256(
        answer["prev_hash"] + json.dumps(content, sort_keys=True).encode()
    ).digest()


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
    for row in fetch(db, "SELECT * FROM preferences ORDER BY seq"):
        if row["prev_hash"] != before or row_hash(db, row) != row["row_hash"]:
            raise BrokenChainError(
                f"Answer {row['seq']} was changed outside of twofold: restore a backup."
            )
        before = row["row_hash"]
