"""How asking and choosing went, newest part first to be read: figures for the Learning page.

Each query reads a bounded, indexed end of the log, so that a long history costs no more than a
short one. Pairs out of a file and comparisons that the person asked for say nothing about when
twofold asks, and are left out.
"""

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass

from sqlite_utils import Database

from storage.database import Reader
from storage.records import AskReason
from storage.sqlite import Row, fetch

_ASKED = "('burn_in', 'uncertain', 'random', 'always')"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """A choice with a winner, and what the judges had said before."""

    first_better_prob: float
    disagreement: float
    first_won: bool
    held_out: bool
    first_words: int
    second_words: int

    @property
    def foreseen(self) -> bool:
        return (self.first_better_prob > 0.5) == self.first_won

    @property
    def longer_won(self) -> bool | None:
        """None where both are as long, counted in words."""
        if self.first_words == self.second_words:
            return None
        return (self.first_words > self.second_words) == self.first_won


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyEvent:
    """The policy spoke: with a question or without."""

    asked: bool
    disagreement: float | None
    """Of the pair, where it was a question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskDecision:
    """A reply before which it was decided whether to ask."""

    reason: AskReason | None
    """None where nothing was asked."""
    disagreement: float | None
    """Of the pair, where it was a question."""
    answers: int
    """Those that the reward ensemble learns from: to this question, and to all other pairs that
    came before the next decision."""

    @property
    def asked(self) -> bool:
        return self.reason is not None


class TrendReader:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def forecasts(self, limit: int) -> list[Forecast]:
        """Return the newest ``limit`` choices with a winner, oldest first."""
        found = fetch(
            self._reader.read(),
            f"""
            SELECT c.first_better_prob, c.disagreement, l.choice = 'first' AS first_won,
                   l.held_out, x.first, x.second
              FROM (SELECT * FROM pick_list
                     WHERE choice IN ('first', 'second') AND reason IN {_ASKED}
                     ORDER BY comparison_id DESC LIMIT ?) l
              JOIN comparisons c USING (comparison_id)
              JOIN comparison_texts x USING (comparison_id)
             ORDER BY l.comparison_id
            """,  # noqa: S608 - a constant
            [limit],
        )
        return [_forecast(row) for row in found]

    def replies(self, limit: int) -> list[ReplyEvent]:
        """Return the newest ``limit`` replies and pairs that were shown, oldest first."""
        found = fetch(
            self._reader.read(),
            f"""
            SELECT * FROM (
              SELECT created_ms AS at, comparison_id AS id, 1 AS asked, disagreement
                FROM (SELECT * FROM comparisons WHERE reason IN {_ASKED}
                       ORDER BY comparison_id DESC LIMIT :limit)
              UNION ALL
              SELECT created_ms, turn_id, 0, NULL
                FROM (SELECT t.* FROM turns t JOIN conversations v USING (conversation_id)
                       WHERE t.role = 'assistant' AND v.imported = 0
                         AND t.candidate_id NOT IN (SELECT first_id FROM comparisons)
                         AND t.candidate_id NOT IN (SELECT second_id FROM comparisons)
                       ORDER BY t.turn_id DESC LIMIT :limit))
             ORDER BY at DESC, id DESC LIMIT :limit
            """,  # noqa: S608 - a constant
            {"limit": limit},
        )
        return [
            ReplyEvent(asked=bool(row["asked"]), disagreement=row["disagreement"])
            for row in reversed(found)
        ]

    def decisions(self, limit: int) -> list[AskDecision]:
        """Return the newest ``limit`` decisions whether to ask, oldest first.

        Where every reply was to be a question there was none to make. Where none was to be one, the
        log has no word of it: such replies look like any other without a question, and so does one
        whose question was skipped while it was written. A reply that no judge saw, as those that
        came with a simulated prompt, was no decision. A duel after a question of the former kind
        is taken to be of that kind.
        """
        with self._reader.snapshot() as db:
            found = fetch(
                db,
                """
                SELECT * FROM (
                  SELECT first_id AS at, reason, disagreement
                    FROM (SELECT * FROM comparisons c
                           WHERE reason IN ('burn_in', 'uncertain', 'random')
                              OR (reason = 'duel' AND 'always' IS NOT
                                   (SELECT reason FROM comparisons
                                     WHERE comparison_id < c.comparison_id
                                       AND reason IN ('burn_in', 'uncertain', 'random', 'always')
                                     ORDER BY comparison_id DESC LIMIT 1))
                           ORDER BY comparison_id DESC LIMIT :limit)
                  UNION ALL
                  SELECT candidate_id, NULL, NULL
                    FROM (SELECT t.* FROM turns t JOIN conversations v USING (conversation_id)
                                                  JOIN candidates a USING (candidate_id)
                           WHERE t.role = 'assistant' AND v.imported = 0 AND a.author = 'policy'
                             AND a.reward_mean IS NOT NULL AND v.learn = 1 AND v.purpose = 'chat'
                             AND NOT EXISTS (SELECT 1 FROM comparisons
                                              WHERE first_id = t.candidate_id
                                                AND reason NOT IN ('edited', 'written'))
                             AND NOT EXISTS (SELECT 1 FROM comparisons
                                              WHERE second_id = t.candidate_id
                                                AND reason NOT IN ('edited', 'written'))
                           ORDER BY t.turn_id DESC LIMIT :limit))
                 ORDER BY at DESC LIMIT :limit
                """,
                {"limit": limit},
            )[::-1]
            if not found:
                return []
            places = [row["at"] for row in found]
            answers = Counter(bisect_right(places, at) - 1 for at in _answered_since(db, places[0]))
            return [
                AskDecision(
                    reason=AskReason(row["reason"]) if row["reason"] else None,
                    disagreement=row["disagreement"],
                    answers=answers[i],
                )
                for i, row in enumerate(found)
            ]


def _answered_since(db: Database, candidate_id: int) -> list[int]:
    """The newer reply of each pair with an answer that trains, from this candidate on.

    Ids of candidates grow with time, and a pair is asked about or follows from what a person wrote
    when the newer one is stored: so they tell where between the replies an answer lies.
    """
    found = fetch(
        db,
        """
        SELECT max(first_id, second_id) AS at FROM comparisons c
         WHERE (first_id >= :since OR second_id >= :since)
           AND EXISTS (SELECT 1 FROM live l
                        WHERE l.comparison_id = c.comparison_id
                          AND l.held_out = 0 AND l.choice <> 'skip')
        """,
        {"since": candidate_id},
    )
    return [row["at"] for row in found]


def _forecast(row: Row) -> Forecast:
    return Forecast(
        first_better_prob=row["first_better_prob"],
        disagreement=row["disagreement"],
        first_won=bool(row["first_won"]),
        held_out=bool(row["held_out"]),
        first_words=len((row["first"] or "").split()),
        second_words=len((row["second"] or "").split()),
    )
