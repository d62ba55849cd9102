"""Recorded choices between two replies, read from JSON lines and split by what was asked.

A row has ``prompt`` or ``messages``, ``chosen`` and ``rejected``. Optional are ``history`` (the
messages before ``prompt``), ``group`` or ``tree`` (rows that must stay on one side of a split) and
``set`` (where the row comes from, to take only some).
"""

import gzip
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learner.evaluation.options import RewardEvalError
from learner.families import family_of
from storage.records import Message, Role

POOL_SHARE = 0.7
"""Share of prompt families whose pairs may be labelled; the rest measures."""

_ROW = '{"prompt" or "messages": ..., "chosen": "...", "rejected": "..."}'


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedPair:
    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    family: str
    """Pairs of one family are about the same request and stay on one side of a split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedPairs:
    pairs: list[RecordedPair]
    defective: int
    """Rows left out: one side empty, or both the same."""


def read_pairs(path: Path, *, only_set: str | None) -> RecordedPairs:
    """Read a file, gzipped if its name ends in .gz. Raises RewardEvalError naming the line."""
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8") as lines
        ):
            rows = [_row(line, f"{path}, line {n}") for n, line in enumerate(lines, 1)]
    except OSError as error:
        raise RewardEvalError(f"{path} cannot be read ({error.strerror or error}).") from error
    if only_set is not None:
        rows = [row for row in rows if row.get("set") == only_set]
    pairs = [pair for row in rows if (pair := _pair(row)) is not None]
    if not pairs:
        of_set = f" of the set {only_set}" if only_set else ""
        raise RewardEvalError(f"{path} has no usable pairs{of_set}.")
    return RecordedPairs(pairs=pairs, defective=len(rows) - len(pairs))


def split_by_family(pairs: Sequence[RecordedPair], salt: str) -> tuple[list[int], list[int]]:
    """Indices of the pool and of the held-out part.

    Families enter the pool in an order that follows from ``salt``, until it has its share of the
    pairs; so its size hardly varies, although some families are large.
    """
    members: dict[str, list[int]] = {}
    for index, pair in enumerate(pairs):
        members.setdefault(pair.family, []).append(index)
    order = sorted(members, key=lambda f: hashlib.sha256(f"{salt}/{f}".encode()).digest())
    pool: list[int] = []
    held_out: list[int] = []
    for family in order:
        side = pool if len(pool) < POOL_SHARE * len(pairs) else held_out
        side += members[family]
    return sorted(pool), sorted(held_out)


def content_digest(pairs: Iterable[RecordedPair]) -> str:
    """Hex digest of all texts in order: what cached features belong to."""
    digest = hashlib.sha256()
    for pair in pairs:
        texts = [f"{m.role}:{m.content}" for m in pair.prompt] + [pair.chosen, pair.rejected]
        digest.update(json.dumps(texts).encode())
    return digest.hexdigest()


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
        complete = {"chosen", "rejected"} <= row.keys() and bool(
            {"prompt", "messages"} & row.keys()
        )
    except (ValueError, AttributeError) as error:
        raise RewardEvalError(f"{where}: expected {_ROW}.") from error
    if not complete:
        raise RewardEvalError(f"{where}: expected {_ROW}.")
    return row


def _pair(row: dict[str, Any]) -> RecordedPair | None:
    chosen, rejected = row["chosen"].strip(), row["rejected"].strip()
    if not chosen or not rejected or chosen == rejected:
        return None
    said = row.get("messages") or [
        *row.get("history", []),
        {"role": "user", "content": row["prompt"]},
    ]
    prompt = tuple(Message(role=Role(m["role"]), content=m["content"]) for m in said)
    return RecordedPair(
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        family=str(row.get("group") or row.get("tree") or family_of(prompt[0].content)),
    )
