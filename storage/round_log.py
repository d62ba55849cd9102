"""Every round that was tried, accepted or not, and the folders that are no rows yet.

How a folder comes to be and becomes a row is in storage/rounds.py.
"""

import json
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from storage.database import Reader
from storage.errors import AdapterError, UnknownVersionError
from storage.inserts import insert
from storage.manifest import read, round_folders
from storage.records import PolicyVersionId, PreferenceId, RoundReport, RoundStatus
from storage.sqlite import fetch


class RoundReader:
    """The rounds' log; ``rounds`` is the folder with the rounds' folders."""

    def __init__(self, reader: Reader, rounds: Path) -> None:
        self._reader = reader
        self.rounds = rounds

    def rounds_log(self, *, limit: int | None = None) -> list[RoundReport]:
        """Return the collected rounds, oldest first; only the newest ``limit`` if given."""
        return self._reports(
            "SELECT * FROM (SELECT * FROM rounds ORDER BY number DESC LIMIT ?) ORDER BY number",
            -1 if limit is None else limit,
        )

    def round(self, number: int) -> RoundReport | None:
        """Return one collected round, None if there is none of this number."""
        found = self._reports("SELECT * FROM rounds WHERE number = ?", number)
        return found[0] if found else None

    def picks_in(self, number: int) -> int:
        """Return how many picks a round was trained on."""
        sql = "SELECT count(*) AS n FROM round_items WHERE number = ?"
        return fetch(self._reader.read(), sql, [number])[0]["n"]

    def learned(self) -> int:
        """Return how many picks the serving version and its ancestors were trained on."""
        # Each pick is learned once on a lineage (the schema's round_items_once): no DISTINCT.
        sql = """
            SELECT count(*) AS n FROM lineage CROSS JOIN round_items ON number = version
        """
        return fetch(self._reader.read(), sql)[0]["n"]

    def config_of(self, number: int) -> dict[str, Any]:
        """Return the learner's settings in a round. Raises UnknownVersionError."""
        found = fetch(
            self._reader.read(), "SELECT config_json FROM rounds WHERE number = ?", [number]
        )
        if not found:
            raise UnknownVersionError(f"There is no round {number}.")
        return json.loads(found[0]["config_json"])

    def version_of_run(self, run_id: int) -> PolicyVersionId | None:
        """Return the version that this run of a training phase made."""
        found = fetch(
            self._reader.read(),
            """
            SELECT max(number) AS version FROM rounds
             WHERE status = 'accepted' AND json_extract(config_json, '$.run_id') = ?
            """,
            [run_id],
        )
        version = found[0]["version"]
        return None if version is None else PolicyVersionId(version)

    def next_round(self) -> int:
        """Return a number that neither a row nor a folder has."""
        [row] = fetch(self._reader.read(), "SELECT coalesce(max(number), 0) AS number FROM rounds")
        return 1 + max([row["number"], *round_folders(self.rounds)])

    def attempted_through(self) -> PreferenceId:
        """Return the newest pick that an accepted or refused round knew of, 0 if none did.

        Rounds whose folders are not collected yet count; failed ones do not.
        """
        [row] = fetch(
            self._reader.read(),
            """
            SELECT coalesce(max(attempted_through), 0) AS seq FROM rounds WHERE status <> 'failed'
            """,
        )
        return PreferenceId(max([row["seq"], *map(_attempted_through, self.waiting().values())]))

    def waiting(self) -> dict[int, Path]:
        """Return the folders without a row, by round number, in order."""
        found = fetch(self._reader.read(), "SELECT number FROM rounds")
        collected = {row["number"] for row in found}
        folders = round_folders(self.rounds)
        return {number: folders[number] for number in sorted(folders.keys() - collected)}

    def forgotten(self) -> int:
        """Return how many choices, rankings and chats were forgotten so far.

        Read it before what a round learns from: one that began with fewer is not kept.
        """
        return forgotten_in(self._reader.read())

    def forgotten_rounds(self) -> list[int]:
        """Return the rounds that learned from something forgotten: their files are to be gone."""
        sql = "SELECT number FROM forgotten_rounds ORDER BY number"
        return [row["number"] for row in fetch(self._reader.read(), sql)]

    def _reports(self, sql: str, value: int) -> list[RoundReport]:
        db = self._reader.read()
        rounds = fetch(db, sql, [value])
        items: dict[int, list[PreferenceId]] = {}
        ends = [rounds[0]["number"], rounds[-1]["number"]] if rounds else [0, 0]
        of = "SELECT number, seq FROM round_items WHERE number BETWEEN ? AND ? ORDER BY number, seq"
        for row in fetch(db, of, ends):
            items.setdefault(row["number"], []).append(PreferenceId(row["seq"]))
        return [
            RoundReport(
                number=row["number"],
                parent=PolicyVersionId(row["parent"]),
                status=RoundStatus(row["status"]),
                preference_ids=tuple(items.get(row["number"], ())),
                attempted_through=PreferenceId(row["attempted_through"]),
                update_rule=row["update_rule"],
                seed=row["seed"],
                reason=row["reason"],
                metrics=json.loads(row["metrics_json"]),
                seconds=row["seconds"],
            )
            for row in rounds
        ]


def insert_round(
    db: Database, report: RoundReport, manifest_sha256: str, config_json: str, now_ms: int
) -> None:
    """Keep a round with the picks it was trained on. The caller holds the transaction."""
    insert(
        db,
        "rounds",
        {
            "number": report.number,
            "parent": report.parent,
            "status": report.status,
            "attempted_through": report.attempted_through,
            "update_rule": report.update_rule,
            "seed": report.seed,
            "reason": report.reason,
            "metrics_json": json.dumps(dict(report.metrics)),
            "config_json": config_json,
            "seconds": report.seconds,
            "manifest_sha256": manifest_sha256,
            "created_ms": now_ms,
        },
    )
    for seq in report.preference_ids:
        insert(db, "round_items", {"number": report.number, "seq": seq})


def forgotten_in(db: Database) -> int:
    """The same for the caller's connection. Nothing is ever taken off these lists."""
    sql = """
        SELECT (SELECT count(*) FROM forgotten) + (SELECT count(*) FROM forgotten_slates)
               + (SELECT count(*) FROM forgotten_dialogues) AS n
    """
    return fetch(db, sql)[0]["n"]


def _attempted_through(folder: Path) -> int:
    try:
        report, _ = read(folder)
    except AdapterError:
        return 0  # collected as failed, or swept
    return 0 if report.status is RoundStatus.FAILED else report.attempted_through
