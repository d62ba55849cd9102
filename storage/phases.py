"""Runs of training phases: what each was made of, what it measured step by step, how it ended.

A run is found again by its key, the digest of all that decides its result; one without an end may
go on from its last checkpoint. Metrics are the one log here whose rows change: steps that are taken
again are written again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NewType

from storage.database import Reader, Store
from storage.inserts import insert
from storage.records import PolicyVersionId
from storage.rows import moment
from storage.sqlite import Row, fetch

PhaseRunId = NewType("PhaseRunId", int)


class PhaseStatus(StrEnum):
    OPEN = "open"
    """It runs, or it was interrupted and may go on."""
    FINISHED = "finished"
    ABANDONED = "abandoned"
    """Begun afresh by a person's word; it never goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseStart:
    """What a run is made of."""

    run_key: str
    kind: str
    parent: PolicyVersionId
    base_sha256: str
    data_sha256: str
    config: Mapping[str, Any]
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseEnd:
    status: PhaseStatus
    version: PolicyVersionId | None = None
    """The policy version that it made."""
    product: str | None = None
    """The folder of what it made that is no policy version: a model, a reward model."""
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseRecord:
    id: PhaseRunId
    start: PhaseStart
    began_at: datetime
    end: PhaseEnd | None

    @property
    def status(self) -> PhaseStatus:
        return PhaseStatus.OPEN if self.end is None else self.end.status


_RUNS = """
    SELECT r.*, e.status, e.version, e.product, e.reason, e.seconds
      FROM phase_runs r LEFT JOIN phase_ends e USING (run_id)
"""


class PhaseReader:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def runs(self) -> list[PhaseRecord]:
        """Return all runs, oldest first."""
        found = fetch(self._reader.read(), f"{_RUNS} ORDER BY run_id")
        return [_record(row) for row in found]

    def find(self, run_key: str) -> PhaseRecord | None:
        """Return the newest run of this key that was not abandoned."""
        found = fetch(
            self._reader.read(),
            f"{_RUNS} WHERE run_key = ? AND status IS NOT 'abandoned' ORDER BY run_id DESC LIMIT 1",
            [run_key],
        )
        return _record(found[0]) if found else None

    def metrics(self, run_id: PhaseRunId) -> dict[str, list[tuple[int, float]]]:
        """Return each metric's curve: (step, value), by step."""
        curves: dict[str, list[tuple[int, float]]] = {}
        for row in fetch(
            self._reader.read(),
            "SELECT step, name, value FROM phase_metrics WHERE run_id = ? ORDER BY step, name",
            [run_id],
        ):
            curves.setdefault(row["name"], []).append((row["step"], row["value"]))
        return curves


class PhaseLog(PhaseReader):
    """Each method is one transaction."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._store = store

    def begin(self, start: PhaseStart) -> PhaseRunId:
        """Open a run."""
        with self._store.write() as db:
            run_id = insert(
                db,
                "phase_runs",
                {
                    "run_key": start.run_key,
                    "kind": start.kind,
                    "parent": start.parent,
                    "base_sha256": start.base_sha256,
                    "data_sha256": start.data_sha256,
                    "config_json": json.dumps(dict(start.config)),
                    "seed": start.seed,
                    "created_ms": self._store.now_ms(),
                },
            )
        return PhaseRunId(run_id)

    def record(self, run_id: PhaseRunId, rows: Mapping[int, Mapping[str, float]]) -> None:
        """Keep metrics by step; a step taken again replaces what it said."""
        with self._store.write() as db:
            db.conn.executemany(
                """
                INSERT INTO phase_metrics (run_id, step, name, value) VALUES (?, ?, ?, ?)
                ON CONFLICT DO UPDATE SET value = excluded.value
                """,
                [
                    (run_id, step, name, value)
                    for step, metrics in rows.items()
                    for name, value in metrics.items()
                ],
            )

    def end(self, run_id: PhaseRunId, end: PhaseEnd) -> None:
        if end.status is PhaseStatus.OPEN:
            raise ValueError("a run ends finished or abandoned")
        with self._store.write() as db:
            insert(
                db,
                "phase_ends",
                {
                    "run_id": run_id,
                    "status": end.status,
                    "version": end.version,
                    "product": end.product,
                    "reason": end.reason,
                    "seconds": end.seconds,
                    "created_ms": self._store.now_ms(),
                },
            )


def _record(row: Row) -> PhaseRecord:
    return PhaseRecord(
        id=PhaseRunId(row["run_id"]),
        start=PhaseStart(
            run_key=row["run_key"],
            kind=row["kind"],
            parent=PolicyVersionId(row["parent"]),
            base_sha256=row["base_sha256"],
            data_sha256=row["data_sha256"],
            config=json.loads(row["config_json"]),
            seed=row["seed"],
        ),
        began_at=moment(row["created_ms"]),
        end=None
        if row["status"] is None
        else PhaseEnd(
            status=PhaseStatus(row["status"]),
            version=None if row["version"] is None else PolicyVersionId(row["version"]),
            product=row["product"],
            reason=row["reason"],
            seconds=row["seconds"],
        ),
    )
