"""Choices between replies of two different versions: how often the newer one won.

Such pairs come from comparisons that the person asked for, blind; each counts once, by its newest
answer.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from storage.answer_rows import RELEASED
from storage.database import Reader
from storage.records import PolicyVersionId
from storage.sqlite import fetch


@dataclass(frozen=True, slots=True, kw_only=True)
class Duel:
    """What was chosen between ``newer`` and ``older``, over all pairs of theirs."""

    newer: PolicyVersionId
    older: PolicyVersionId
    won: int
    lost: int
    tied: int
    """About the same, or both bad."""

    @property
    def decided(self) -> int:
        return self.won + self.lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One shadow duel."""

    live: PolicyVersionId
    """The version that served then."""
    rival: PolicyVersionId
    won: float
    """1 where the live version's reply was chosen, 0 where the rival's, 0.5 for neither."""


class DuelReader:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def all(self) -> list[Duel]:
        """Return every pair of versions that was chosen between, by newer, then older."""
        found = fetch(
            self._reader.read(),
            """
            SELECT max(first_version, second_version) AS newer,
                   min(first_version, second_version) AS older,
                   sum(choice = CASE WHEN first_version > second_version
                                     THEN 'first' ELSE 'second' END) AS won,
                   sum(choice = CASE WHEN first_version > second_version
                                     THEN 'second' ELSE 'first' END) AS lost,
                   sum(choice IN ('tie', 'both_bad')) AS tied
              FROM pick_list
             WHERE first_version <> second_version
               AND reason NOT IN ('imported', 'edited', 'written')
               AND choice IN ('first', 'second', 'tie', 'both_bad')
             GROUP BY newer, older ORDER BY newer, older
            """,
        )
        return [
            Duel(
                newer=PolicyVersionId(row["newer"]),
                older=PolicyVersionId(row["older"]),
                won=row["won"],
                lost=row["lost"],
                tied=row["tied"],
            )
            for row in found
        ]

    def of_live_line(self) -> list[Outcome]:
        """Return the answered shadow duels of the serving line of versions, oldest first.

        What was excluded or forgotten is no evidence; of chats that only measure it is.
        Where a version of it speaks again after it had been gone back from, only those since then:
        who lets it speak again knows what was said before.
        """
        found = fetch(
            self._reader.read(),
            """
            SELECT max(first_version, second_version) AS live,
                   min(first_version, second_version) AS rival, choice,
                   CASE WHEN first_version > second_version
                        THEN 'first' ELSE 'second' END AS mine
              FROM pick_list
             WHERE reason = 'duel' AND first_version <> second_version
               AND choice IN ('first', 'second', 'tie', 'both_bad') AND flag = ?
               AND comparison_id NOT IN (SELECT comparison_id FROM forgotten)
               AND max(first_version, second_version) IN (SELECT version FROM lineage)
               AND (SELECT created_ms FROM preferences p WHERE p.seq = pick_list.seq) > (
                 SELECT coalesce(max(back.created_ms), 0)
                   FROM version_states back
                   JOIN version_states away ON away.version = back.version AND away.id < back.id
                  WHERE back.state = 'active' AND away.state = 'rolled_back'
                    AND back.version IN (SELECT version FROM lineage))
             ORDER BY seq
            """,
            [RELEASED],
        )
        return [
            Outcome(
                live=PolicyVersionId(row["live"]),
                rival=PolicyVersionId(row["rival"]),
                won=_won(row["choice"], row["mine"]),
            )
            for row in found
        ]


def _won(choice: str, mine: str) -> float:
    if choice in ("first", "second"):
        return float(choice == mine)
    return 0.5


def between(duels: Iterable[Duel], one: PolicyVersionId, other: PolicyVersionId) -> Duel | None:
    """Return what was chosen between these two, if anything was."""
    wanted = (max(one, other), min(one, other))
    return next((duel for duel in duels if (duel.newer, duel.older) == wanted), None)
