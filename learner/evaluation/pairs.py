"""Recorded choices between two replies, read from JSON lines and split by what was asked.

A row has ``prompt`` or ``messages``, ``chosen`` and ``rejected``; each text may also be a list of
messages, as ``twofold export`` writes them. Optional are ``history`` (the messages before a
``prompt`` that is a text), ``group`` or ``tree`` (rows that must stay on one side of a split) and
``set`` (where the row comes from, to take only some).
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learner.evaluation.options import RewardEvalError
from learner.families import family_of_prompt
from learner.json_lines import json_lines, message_of
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
    rows = [(f"{path}, line {n}", row) for n, row in json_lines(path, RewardEvalError)]
    if only_set is not None:
        rows = [(where, row) for where, row in rows if row.get("set") == only_set]
    pairs = [pair for where, row in rows if (pair := _pair(row, where)) is not None]
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


def _pair(row: dict[str, Any], where: str) -> RecordedPair | None:
    """None where a side is empty, or both are the same."""
    try:
        chosen, rejected = (_reply(row[name]).strip() for name in ("chosen", "rejected"))
        prompt = _prompt(row)
    except (KeyError, TypeError, ValueError) as error:
        raise RewardEvalError(f"{where}: expected {_ROW}.") from error
    if not chosen or not rejected or chosen == rejected:
        return None
    return RecordedPair(
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        family=str(row.get("group") or row.get("tree") or family_of_prompt(prompt)),
    )


def _prompt(row: dict[str, Any]) -> tuple[Message, ...]:
    said = row.get("messages") or row["prompt"]
    if isinstance(said, str):
        said = [*(row.get("history") or []), {"role": Role.USER, "content": said}]
    prompt = tuple(map(message_of, said))
    if not prompt:
        raise ValueError("it asks nothing")
    return prompt


def _reply(said: Any) -> str:  # noqa: ANN401 - whatever JSON may hold
    """A text, or the one message of a list."""
    if isinstance(said, list):
        [said] = said
        return message_of({"role": Role.ASSISTANT} | said).content
    if not isinstance(said, str):
        raise TypeError(f"{said!r} is no text")
    return said
