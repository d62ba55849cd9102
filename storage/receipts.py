"""What became of each answer: the rounds that knew it, and whether what they made is live."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from storage.database import Reader
from storage.records import (
    AskReason,
    CandidateId,
    Choice,
    PreferenceId,
    RoundStatus,
    TurnId,
)
from storage.sqlite import Row, fetch


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A round that trained on an answer."""

    round: int
    status: RoundStatus
    live: bool
    """Whether the version it made is the serving one or an ancestor of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The newest answer to a pair, and its way so far."""

    id: PreferenceId
    token: str
    prompt_turn_id: TurnId
    first_id: CandidateId
    second_id: CandidateId
    reason: AskReason
    choice: Choice
    counts: bool
    """Whether it may teach: not taken back or doubted, read by the model, of a chat that does."""
    held_out: bool
    attempts: tuple[Attempt, ...]
    """Oldest first."""

    @property
    def pair(self) -> tuple[CandidateId, CandidateId]:
        return self.first_id, self.second_id


class ReceiptReader:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def of(self, prompt_turn_ids: Iterable[TurnId]) -> list[Answered]:
        """Return the answers about replies to these messages, oldest pair first."""
        with self._reader.snapshot() as db:
            found = fetch(
                db,
                """
                SELECT n.seq, n.choice, c.comparison_id, c.token, c.reason, c.first_id, c.second_id,
                       a.prompt_turn_id, v.held_out,
                       EXISTS (SELECT 1 FROM live l WHERE l.seq = n.seq) AS counts
                  FROM candidates a
                  JOIN comparisons c ON c.first_id = a.candidate_id
                  JOIN newest n USING (comparison_id)
                  JOIN turns t ON t.turn_id = a.prompt_turn_id
                  JOIN conversations v USING (conversation_id)
                 WHERE a.prompt_turn_id IN (SELECT value FROM json_each(?))
                 ORDER BY c.comparison_id
                """,
                [json.dumps(list(prompt_turn_ids))],
            )
            attempts: dict[int, list[Attempt]] = {}
            for row in fetch(
                db,
                """
                SELECT i.seq, r.number, r.status, r.number IN (SELECT version FROM lineage) AS live
                  FROM round_items i JOIN rounds r USING (number)
                 WHERE i.seq IN (SELECT value FROM json_each(?)) ORDER BY r.number
                """,
                [json.dumps([row["seq"] for row in found])],
            ):
                attempts.setdefault(row["seq"], []).append(
                    Attempt(
                        round=row["number"],
                        status=RoundStatus(row["status"]),
                        live=bool(row["live"]),
                    )
                )
            return [_answered(row, attempts.get(row["seq"], [])) for row in found]


def _answered(row: Row, attempts: list[Attempt]) -> Answered:
    return Answered(
        id=PreferenceId(row["seq"]),
        token=row["token"],
        prompt_turn_id=TurnId(row["prompt_turn_id"]),
        first_id=CandidateId(row["first_id"]),
        second_id=CandidateId(row["second_id"]),
        reason=AskReason(row["reason"]),
        choice=Choice(row["choice"]),
        counts=bool(row["counts"]),
        held_out=bool(row["held_out"]),
        attempts=tuple(attempts),
    )
