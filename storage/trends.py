"""How asking and choosing went, newest part first to be read: figures for the Learning page.

Each query reads a bounded, indexed end of the log, so that a long history costs no more than a
short one. Pairs out of a file and comparisons that the person asked for say nothing about when
twofold asks, and are left out.
"""

from dataclasses import dataclass

from storage.database import Reader
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

    disagreement: float | None
    """Of the pair that was asked about; None where nothing was asked."""
    answered: bool
    """Whether the answer is one that the reward ensemble learns from."""

    @property
    def asked(self) -> bool:
        return self.disagreement is not None


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
        log has no word of it: such replies look like any other without a question.
        """
        found = fetch(
            self._reader.read(),
            """
            SELECT * FROM (
              SELECT c.first_id AS at, c.disagreement,
                     EXISTS (SELECT 1 FROM live l
                              WHERE l.comparison_id = c.comparison_id
                                AND l.held_out = 0 AND l.choice <> 'skip') AS answered
                FROM (SELECT * FROM comparisons
                       WHERE reason IN ('burn_in', 'uncertain', 'random')
                       ORDER BY comparison_id DESC LIMIT :limit) c
              UNION ALL
              SELECT candidate_id, NULL, 0
                FROM (SELECT t.* FROM turns t JOIN conversations v USING (conversation_id)
                       WHERE t.role = 'assistant' AND v.imported = 0
                         AND v.learn = 1 AND v.purpose = 'chat'
                         AND NOT EXISTS (SELECT 1 FROM comparisons WHERE first_id = t.candidate_id)
                         AND NOT EXISTS (SELECT 1 FROM comparisons WHERE second_id = t.candidate_id)
                       ORDER BY t.turn_id DESC LIMIT :limit))
             ORDER BY at DESC LIMIT :limit
            """,
            {"limit": limit},
        )
        return [
            AskDecision(disagreement=row["disagreement"], answered=bool(row["answered"]))
            for row in reversed(found)
        ]


def _forecast(row: Row) -> Forecast:
    return Forecast(
        first_better_prob=row["first_better_prob"],
        disagreement=row["disagreement"],
        first_won=bool(row["first_won"]),
        held_out=bool(row["held_out"]),
        first_words=len((row["first"] or "").split()),
        second_words=len((row["second"] or "").split()),
    )
