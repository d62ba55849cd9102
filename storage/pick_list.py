"""The questions as a list: filtered, searched, a page at a time, and one of them in full.

Pages are keyset pages over the question's id, newest first: a page costs the same wherever it
stands. The list is a narrow table that triggers keep (schema/m002.sql); the search is SQLite's
FTS5 over the message and both replies.
"""

import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from storage.answer_rows import RELEASED
from storage.database import Reader
from storage.errors import UnknownComparisonError
from storage.labels import labels_of
from storage.opinions import notes_of
from storage.records import (
    AskReason,
    Choice,
    Comparison,
    ComparisonId,
    ConversationId,
    Label,
    Note,
    PolicyVersionId,
    Preference,
    PreferenceId,
    RoundStatus,
)
from storage.rows import comparisons_by_id, moment, preferences_of
from storage.sqlite import Row, fetch
from storage.text import clean_text

START_CHARS = 160
"""Of each text the list shows this many characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PickFilter:
    """What to list; None or empty means any. Questions without an answer are never listed."""

    words: str = ""
    """All of them must occur, in the message or a reply; the last may be the start of a word."""
    choices: frozenset[Choice] = frozenset()
    reason: AskReason | None = None
    version: PolicyVersionId | None = None
    """The version that wrote one of the two replies."""
    held_out: bool | None = None
    counts: bool | None = None
    """Whether the answer is used: not excluded, forgotten or taken back, and of a chat that may be
    learned from."""
    whole: bool | None = None
    """Whether neither reply was cut off by hand."""
    since: datetime | None = None
    until: datetime | None = None
    """Asked before this moment."""
    conversation_id: ConversationId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PickRow:
    """A line of the list."""

    id: ComparisonId
    prompt: str
    """The start of the message, as the texts of the replies are."""
    first: str
    second: str
    choice: Choice
    reason: AskReason
    versions: tuple[PolicyVersionId, PolicyVersionId]
    """Who wrote the first and the second reply."""
    held_out: bool
    excluded: bool
    forgotten: bool
    asked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """A round that trained on an answer to the question."""

    number: int
    status: RoundStatus
    live: bool
    """Whether the version it made is on the serving lineage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PickDetail:
    row: PickRow
    comparison: Comparison
    conversation_key: str
    teaches: bool
    """Whether its conversation may be learned from."""
    answers: tuple[Preference, ...]
    """Every answer that was given, oldest first; the last one counts."""
    lessons: tuple[Lesson, ...]
    note: Note
    """What was added to the last answer."""
    labels: tuple[tuple[Label, ...], tuple[Label, ...]]
    """What is marked in the first and the second reply."""
    meta_json: str | None
    """What the file said of the pair, where it came out of one."""


class PickReader:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def page(
        self, only: PickFilter, *, before: ComparisonId | None = None, limit: int = 50
    ) -> list[PickRow]:
        """Return the newest ``limit`` picks, or those older than ``before``, newest first."""
        tables, where, values = _conditions(only)
        if before is not None:
            where.append(f"{_key(only)} < :before")
            values["before"] = before
        sql = (
            f"SELECT l.comparison_id FROM {tables} WHERE {' AND '.join(where)} "  # noqa: S608
            f"ORDER BY {_key(only)} DESC LIMIT :limit"
        )
        with self._reader.snapshot() as db:
            ids = fetch(db, sql, values | {"limit": limit})
            return self._rows([row["comparison_id"] for row in ids])

    def count(self, only: PickFilter) -> int:
        tables, where, values = _conditions(only)
        sql = f"SELECT count(*) AS n FROM {tables} WHERE {' AND '.join(where)}"  # noqa: S608
        return fetch(self._reader.read(), sql, values)[0]["n"]

    def answered(self, only: PickFilter, *, chunk: int = 200) -> Iterator[PickDetail]:
        """Yield every pick of the filter in full, oldest first, a chunk in memory at a time.

        A chunk is of one state: what is deleted meanwhile is whole in it or not there.
        """
        tables, where, values = _conditions(only)
        sql = (
            f"SELECT l.comparison_id FROM {tables} WHERE {' AND '.join(where)} "  # noqa: S608
            f"AND {_key(only)} > :after ORDER BY {_key(only)} LIMIT :limit"
        )
        after = 0
        while True:
            with self._reader.snapshot() as db:
                found = fetch(db, sql, values | {"after": after, "limit": chunk})
                ids = [row["comparison_id"] for row in found]
                details = self._details(ids)
            if not ids:
                return
            yield from details
            after = ids[-1]

    def detail(self, comparison_id: ComparisonId) -> PickDetail:
        """Return all there is about a question. Raises UnknownComparisonError."""
        with self._reader.snapshot():
            found = self._details([comparison_id])
        if not found:
            raise UnknownComparisonError("This choice is not here (any more): reload the list.")
        return found[0]

    def question_of(self, answer: PreferenceId) -> ComparisonId | None:
        """Return the question of an answer; None where its chat was erased."""
        found = fetch(
            self._reader.read(),
            """
            SELECT comparison_id FROM preferences JOIN pick_list USING (comparison_id)
             WHERE preferences.seq = ?
            """,
            [answer],
        )
        return ComparisonId(found[0]["comparison_id"]) if found else None

    def versions(self) -> list[PolicyVersionId]:
        """Return the versions that wrote a reply of the list, the base first."""
        found = fetch(
            self._reader.read(),
            """
            SELECT DISTINCT first_version AS version FROM pick_list
            UNION SELECT DISTINCT second_version FROM pick_list ORDER BY version
            """,
        )
        return [PolicyVersionId(row["version"]) for row in found]

    # --- Private -----------------------------------------------------------------------------

    def _rows(self, ids: list[int]) -> list[PickRow]:
        """Return the lines of these questions, newest first."""
        found = fetch(
            self._reader.read(),
            f"""
            SELECT l.*, substr(x.prompt, 1, {START_CHARS}) AS prompt,
                   substr(x.first, 1, {START_CHARS}) AS first,
                   substr(x.second, 1, {START_CHARS}) AS second,
                   EXISTS (SELECT 1 FROM forgotten f
                            WHERE f.comparison_id = l.comparison_id) AS forgotten
              FROM pick_list l JOIN comparison_texts x USING (comparison_id)
             WHERE l.comparison_id IN (SELECT value FROM json_each(?)) AND l.choice IS NOT NULL
             ORDER BY l.comparison_id DESC
            """,  # noqa: S608 - a constant
            [str(ids)],
        )
        return [_row(row) for row in found]

    def _details(self, ids: list[int]) -> list[PickDetail]:
        """Return these questions in full, oldest first; unanswered ones are left out.

        The caller holds a snapshot.
        """
        db = self._reader.read()
        rows = {row.id: row for row in self._rows(ids)}
        comparisons = comparisons_by_id(db, rows)
        answers: dict[int, list[Preference]] = {}
        wanted = str([int(one) for one in rows])
        for answer in preferences_of(
            db,
            fetch(
                db,
                "SELECT * FROM preferences WHERE comparison_id IN (SELECT value FROM json_each(?)) "
                "ORDER BY seq",
                [wanted],
            ),
        ):
            answers.setdefault(answer.comparison.id, []).append(answer)
        notes = notes_of(db, (given[-1].id for given in answers.values()))
        pairs = {id_: (one.first.id, one.second.id) for id_, one in comparisons.items()}
        labels = labels_of(db, (reply for pair in pairs.values() for reply in pair))
        lessons: dict[int, list[Lesson]] = {}
        for row in fetch(
            db,
            """
            SELECT DISTINCT p.comparison_id, r.number, r.status,
                   r.number IN (SELECT version FROM lineage) AS live
              FROM preferences p JOIN round_items i USING (seq) JOIN rounds r USING (number)
             WHERE p.comparison_id IN (SELECT value FROM json_each(?)) ORDER BY r.number
            """,
            [wanted],
        ):
            lessons.setdefault(row["comparison_id"], []).append(
                Lesson(
                    number=row["number"], status=RoundStatus(row["status"]), live=bool(row["live"])
                )
            )
        about = {
            row["comparison_id"]: row
            for row in fetch(
                db,
                """
                SELECT l.comparison_id, v.key, v.learn, m.meta_json FROM pick_list l
                  JOIN conversations v USING (conversation_id)
                  LEFT JOIN imported_pairs m USING (comparison_id)
                 WHERE l.comparison_id IN (SELECT value FROM json_each(?))
                """,
                [wanted],
            )
        }
        return [
            PickDetail(
                row=rows[id_],
                comparison=comparisons[id_],
                conversation_key=about[id_]["key"],
                teaches=bool(about[id_]["learn"]),
                answers=tuple(answers[id_]),
                lessons=tuple(lessons.get(id_, ())),
                note=notes.get(answers[id_][-1].id, Note()),
                labels=(labels.get(pairs[id_][0], ()), labels.get(pairs[id_][1], ())),
                meta_json=about[id_]["meta_json"],
            )
            for id_ in sorted(rows)
        ]


def search_query(words: str) -> str:
    """Return an FTS5 query for all of these words, the last as the start of one; may be empty.

    Words are told apart as FTS5's unicode61 does: letters, digits and what belongs to them.
    """
    kept = (char if _in_a_word(char) else " " for char in clean_text(words))
    tokens = [f'"{token}"' for token in "".join(kept).split()]
    return " ".join(tokens) + "*" if tokens else ""


def _in_a_word(char: str) -> bool:
    category = unicodedata.category(char)
    return category[0] in "LNM" or category == "Co"


def _key(only: PickFilter) -> str:
    # The search walks its own index in the order of its rowid, which is the question's id.
    return "s.rowid" if search_query(only.words) else "l.comparison_id"


def _conditions(only: PickFilter) -> tuple[str, list[str], dict[str, Any]]:
    """Return tables, conditions and values; what is typed in travels as values only."""
    tables, where, values = "pick_list l", ["l.choice IS NOT NULL"], dict[str, Any]()
    query = search_query(only.words)
    if query:
        tables = "comparison_search s CROSS JOIN pick_list l ON l.comparison_id = s.rowid"
        where.append("comparison_search MATCH :words")
        values["words"] = query
    elif only.words.strip():
        where.append("0")  # nothing but punctuation was asked for
    for name, condition, value in (
        ("choices", _ONE_OF, _json(only.choices)),
        ("reason", "l.reason = :reason", only.reason),
        ("version", ":version IN (l.first_version, l.second_version)", only.version),
        ("held_out", "l.held_out = :held_out", only.held_out),
        ("counts", f"({_COUNTS}) = :counts", only.counts),
        ("whole", f"({_WHOLE}) = :whole", only.whole),
        ("since", "l.asked_ms >= :since", _ms(only.since)),
        ("until", "l.asked_ms < :until", _ms(only.until)),
        ("conversation", "l.conversation_id = :conversation", only.conversation_id),
    ):
        if value is not None:
            where.append(condition)
            values[name] = value
    return tables, where, values


_ONE_OF = "l.choice IN (SELECT value FROM json_each(:choices))"
_COUNTS = f"""
    l.flag = '{RELEASED}' AND l.choice <> 'withdrawn'
    AND l.comparison_id NOT IN (SELECT comparison_id FROM forgotten)
    AND l.conversation_id NOT IN (SELECT conversation_id FROM conversations WHERE learn = 0)
"""  # noqa: S608 - a constant


_WHOLE = """
    NOT EXISTS (SELECT 1 FROM comparisons c
                  JOIN candidates a ON a.candidate_id IN (c.first_id, c.second_id)
                 WHERE c.comparison_id = l.comparison_id AND a.finish = 'aborted')
"""


def _json(choices: frozenset[Choice]) -> str | None:
    return json.dumps(sorted(choices)) if choices else None


def _ms(moment_: datetime | None) -> int | None:
    return None if moment_ is None else int(moment_.timestamp() * 1000)


def _row(row: Row) -> PickRow:
    return PickRow(
        id=ComparisonId(row["comparison_id"]),
        prompt=row["prompt"] or "",
        first=row["first"] or "",
        second=row["second"] or "",
        choice=Choice(row["choice"]),
        reason=AskReason(row["reason"]),
        versions=(PolicyVersionId(row["first_version"]), PolicyVersionId(row["second_version"])),
        held_out=bool(row["held_out"]),
        excluded=row["flag"] != RELEASED,
        forgotten=bool(row["forgotten"]),
        asked_at=moment(row["asked_ms"]),
    )
