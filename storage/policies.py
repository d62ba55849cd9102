"""Which policy version serves, what it descends from, and every round that was tried.

``active_pointer`` is the truth about who speaks; an activation moves it and counts its epoch up.
Versions form a tree rooted at the base model. A version that was rejected or tainted never serves
again, which the schema enforces; its descendants may, since each holds its weights itself.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from storage.database import Reader, Store
from storage.errors import (
    AdapterError,
    NoteTooLongError,
    NotServableError,
    UnknownVersionError,
)
from storage.manifest import adapter_folder, read, round_folder, round_folders, verify
from storage.records import (
    BASE_VERSION,
    PolicyVersion,
    PolicyVersionId,
    PreferenceId,
    RoundReport,
    RoundStatus,
)
from storage.rows import insert, moment
from storage.sqlite import Row, fetch
from storage.text import clean_text

MAX_NOTE_CHARS = 2000

_VERSIONS = """
    SELECT version, v.parent, v.created_ms, coalesce(metrics_json, '{}') AS metrics_json
      FROM policy_versions v LEFT JOIN rounds ON number = version
"""


class PolicyReader:
    """Versions and rounds; ``rounds`` is the folder with the rounds' folders."""

    def __init__(self, reader: Reader, rounds: Path) -> None:
        self._reader = reader
        self.rounds = rounds

    def current(self) -> PolicyVersion:
        """Return the version that serves."""
        [row] = fetch(self._reader.read(), f"{_VERSIONS} JOIN active_pointer USING (version)")
        return self._version(row)

    def get(self, version: PolicyVersionId) -> PolicyVersion:
        """Return a version. Raises UnknownVersionError."""
        found = fetch(self._reader.read(), f"{_VERSIONS} WHERE version = ?", [version])
        if not found:
            raise UnknownVersionError(f"There is no policy version {version}.")
        return self._version(found[0])

    def versions(self, *, limit: int | None = None) -> list[PolicyVersion]:
        """Return the versions, oldest first, whether or not they may serve; the newest if limited.

        The base and the serving version are always among them.
        """
        found = fetch(
            self._reader.read(),
            f"""
            SELECT * FROM (
              SELECT * FROM ({_VERSIONS} ORDER BY version DESC LIMIT ?)
              UNION SELECT * FROM ({_VERSIONS}
                     WHERE version IN (SELECT 0 UNION SELECT version FROM active_pointer)))
             ORDER BY version
            """,  # noqa: S608 - a constant
            [-1 if limit is None else limit],
        )
        return [self._version(row) for row in found]

    def servable(self) -> list[PolicyVersionId]:
        """Return the versions that may be activated, the base first."""
        return _servable(self._reader.read())

    def servable_among(self, versions: Iterable[PolicyVersionId]) -> set[PolicyVersionId]:
        """Return those of these versions that may be activated."""
        found = fetch(
            self._reader.read(),
            """
            SELECT one.value AS version FROM json_each(?) one
             WHERE EXISTS (SELECT 1 FROM version_states s
                            WHERE s.version = one.value AND s.state = 'ready')
               AND NOT EXISTS (SELECT 1 FROM version_states s
                                WHERE s.version = one.value
                                  AND s.state IN ('rejected', 'tainted'))
            """,
            [json.dumps(list(versions))],
        )
        return {PolicyVersionId(row["version"]) for row in found}

    def reference_of(self, version: PolicyVersion) -> PolicyVersion:
        """Return the version that lessons on ``version`` are held near.

        That is the newest one on its line that pretraining or fine-tuning made, the base if none
        did: what a person trained on purpose is no drift.
        """
        found = fetch(
            self._reader.read(),
            """
            WITH RECURSIVE l (version) AS (
              SELECT ?
              UNION ALL
              SELECT v.parent FROM policy_versions v JOIN l USING (version)
               WHERE v.parent IS NOT NULL)
            SELECT coalesce(max(number), 0) AS version FROM rounds
             WHERE number IN (SELECT version FROM l) AND update_rule IN ('pretrain', 'sft')
            """,
            [version.id],
        )
        return self.get(PolicyVersionId(found[0]["version"]))

    def lineage(self) -> tuple[PolicyVersionId, ...]:
        """Return the serving version and its ancestors, the base last."""
        found = fetch(self._reader.read(), "SELECT version FROM lineage ORDER BY version DESC")
        return tuple(PolicyVersionId(row["version"]) for row in found)

    def learned(self) -> int:
        """Return how many picks the serving version and its ancestors were trained on."""
        # Each pick is learned once on a lineage (the schema's round_items_once): no DISTINCT.
        sql = """
            SELECT count(*) AS n FROM lineage CROSS JOIN round_items ON number = version
        """
        return fetch(self._reader.read(), sql)[0]["n"]

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

    def picks_in(self, number: int) -> int:
        """Return how many picks a round was trained on."""
        sql = "SELECT count(*) AS n FROM round_items WHERE number = ?"
        return fetch(self._reader.read(), sql, [number])[0]["n"]

    def config_of(self, number: int) -> dict[str, Any]:
        """Return the learner's settings in a round. Raises UnknownVersionError."""
        found = fetch(
            self._reader.read(), "SELECT config_json FROM rounds WHERE number = ?", [number]
        )
        if not found:
            raise UnknownVersionError(f"There is no round {number}.")
        return json.loads(found[0]["config_json"])

    def version_of_run(self, run_key: str) -> PolicyVersionId | None:
        """Return the newest version that a training phase of this run key made."""
        found = fetch(
            self._reader.read(),
            """
            SELECT max(number) AS version FROM rounds
             WHERE status = 'accepted' AND json_extract(config_json, '$.run_key') = ?
            """,
            [run_key],
        )
        version = found[0]["version"]
        return None if version is None else PolicyVersionId(version)

    def last_states(self) -> dict[PolicyVersionId, tuple[str, str]]:
        """Return for each version the newest entry of its log: the state and its reason."""
        found = fetch(
            self._reader.read(),
            """
            SELECT version, state, reason FROM version_states
             WHERE id IN (SELECT max(id) FROM version_states GROUP BY version)
            """,
        )
        return {PolicyVersionId(row["version"]): (row["state"], row["reason"]) for row in found}

    def notes(self) -> dict[PolicyVersionId, str]:
        """Return what was noted about versions, the newest note of each."""
        found = fetch(
            self._reader.read(),
            """
            SELECT version, body FROM version_notes
             WHERE note_id IN (SELECT max(note_id) FROM version_notes GROUP BY version)
               AND body <> ''
            """,
        )
        return {PolicyVersionId(row["version"]): row["body"] for row in found}

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

    def verify(self, version: PolicyVersionId, *, contents: bool = True) -> None:
        """Raise AdapterError unless the version's folder is the one that was recorded.

        Without ``contents`` only names and sizes are compared. The base has no folder.
        """
        found = fetch(
            self._reader.read(),
            "SELECT manifest_sha256 FROM policy_versions WHERE version = ? AND version > 0",
            [version],
        )
        if not found:
            raise UnknownVersionError(f"There is no policy version {version} with a folder.")
        folder = round_folder(self.rounds, version)
        verify(folder, contents=contents, sha256=found[0]["manifest_sha256"])

    def waiting(self) -> dict[int, Path]:
        """Return the folders without a row, by round number, in order."""
        found = fetch(self._reader.read(), "SELECT number FROM rounds")
        collected = {row["number"] for row in found}
        folders = round_folders(self.rounds)
        return {number: folders[number] for number in sorted(folders.keys() - collected)}

    def _version(self, row: Row) -> PolicyVersion:
        version = PolicyVersionId(row["version"])
        return PolicyVersion(
            id=version,
            parent=None if row["parent"] is None else PolicyVersionId(row["parent"]),
            adapter_path=None if version == BASE_VERSION else adapter_folder(self.rounds, version),
            created_at=moment(row["created_ms"]),
            metrics=json.loads(row["metrics_json"]),
        )


class PolicyRegistry(PolicyReader):
    """Turns rounds into rows and moves the pointer."""

    def __init__(self, store: Store, rounds: Path) -> None:
        super().__init__(store, rounds)
        self._store = store

    def record(
        self,
        report: RoundReport,
        manifest_sha256: str,
        base_sha256: str,
        config_json: str,
        *,
        began_ms: int | None = None,
    ) -> None:
        """Keep a finished round; an accepted one becomes a version and serves from now on.

        It does so only if it is to go live and its parent serves still; after a roll-back it is
        kept without serving.
        One transaction. Raises InvariantError where the report contradicts what is stored, and
        AdapterError where something was forgotten since the round began.
        """
        with self._store.write() as db:
            now_ms = self._store.now_ms()
            if report.version is not None and began_ms is not None:
                _check_nothing_forgotten(db, began_ms)
            _insert_round(db, report, manifest_sha256, config_json, now_ms)
            version = report.version
            if version is None:
                return
            insert(
                db,
                "policy_versions",
                {
                    "version": version,
                    "parent": report.parent,
                    "manifest_sha256": manifest_sha256,
                    "base_sha256": base_sha256,
                    "created_ms": now_ms,
                },
            )
            for state in ("written", "verified", "ready"):
                self._log(db, version, state, report.reason)
            if report.goes_live and _active(db) == report.parent:
                self._point_to(db, version, report.reason)

    def activate(self, version: PolicyVersionId, *, reason: str) -> None:
        """Let an older or newer version serve, by hand.

        Raises UnknownVersionError, NotServableError, or AdapterError for a broken folder.
        """
        if version != BASE_VERSION:
            self.verify(version)
        with self._store.write() as db:
            if version not in _servable(db):
                raise NotServableError(f"Version {version} was rejected: choose another one.")
            if version != _active(db):
                self._point_to(db, version, reason)

    def note(self, version: PolicyVersionId, text: str) -> None:
        """Note something about a version; an empty text takes the note away."""
        body = clean_text(text).strip()
        if len(body) > MAX_NOTE_CHARS:
            raise NoteTooLongError(
                f"A note has at most {MAX_NOTE_CHARS:,} characters; this one has {len(body):,}."
            )
        self.get(version)
        with self._store.write() as db:
            row = {"version": version, "body": body, "created_ms": self._store.now_ms()}
            insert(db, "version_notes", row)

    def reject(self, version: PolicyVersionId, *, reason: str) -> None:
        """Never let this version serve again; its nearest servable ancestor takes over."""
        self._ban(version, "rejected", reason)

    def taint(self, version: PolicyVersionId, *, reason: str) -> None:
        """The same for a version whose folder is broken."""
        self._ban(version, "tainted", reason)

    def ban(
        self, db: Database, versions: Sequence[PolicyVersionId], state: str, reason: str
    ) -> PolicyVersionId:
        """Let none of these versions serve again, in the caller's transaction; return who serves.

        That is the nearest servable ancestor where the serving version is among them.
        """
        for version in versions:
            self._log(db, version, state, reason)
        active = _active(db)
        if active in versions:
            servable = _servable(db)
            line = fetch(db, "SELECT version FROM lineage ORDER BY version DESC")
            active = next(row["version"] for row in line if row["version"] in servable)
            self._point_to(db, active, reason)
        return PolicyVersionId(active)

    def _ban(self, version: PolicyVersionId, state: str, reason: str) -> None:
        if self.get(version).id == BASE_VERSION:
            raise ValueError("the base model cannot be rejected: everything falls back to it")
        with self._store.write() as db:
            self.ban(db, [version], state, reason)

    def _point_to(self, db: Database, version: PolicyVersionId, reason: str) -> None:
        before = _active(db)
        rolled_back = before not in _ancestors(db, version)
        db.execute(
            "UPDATE active_pointer SET version = ?, epoch = epoch + 1, changed_ms = ?",
            [version, self._store.now_ms()],
        )
        self._log(db, before, "rolled_back" if rolled_back else "retired", reason)
        self._log(db, version, "active", reason)

    def _log(self, db: Database, version: PolicyVersionId, state: str, reason: str) -> None:
        now_ms = self._store.now_ms()
        insert(
            db,
            "version_states",
            {"version": version, "state": state, "reason": reason, "created_ms": now_ms},
        )


def _insert_round(
    db: Database, report: RoundReport, manifest_sha256: str, config_json: str, now_ms: int
) -> None:
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


def _check_nothing_forgotten(db: Database, began_ms: int) -> None:
    sql = """
        SELECT 1 FROM forgotten WHERE created_ms >= :began
        UNION ALL SELECT 1 FROM forgotten_slates WHERE created_ms >= :began
        UNION ALL SELECT 1 FROM forgotten_dialogues WHERE created_ms >= :began LIMIT 1
    """
    if fetch(db, sql, {"began": began_ms}):
        raise AdapterError("Something was forgotten while it was made, so it is not kept.")


def _active(db: Database) -> PolicyVersionId:
    return PolicyVersionId(fetch(db, "SELECT version FROM active_pointer")[0]["version"])


def _servable(db: Database) -> list[PolicyVersionId]:
    found = fetch(db, "SELECT version FROM servable ORDER BY version")
    return [PolicyVersionId(row["version"]) for row in found]


def _ancestors(db: Database, version: PolicyVersionId) -> set[int]:
    found = fetch(
        db,
        """
        WITH RECURSIVE l (version) AS (
          SELECT parent FROM policy_versions WHERE version = ?
          UNION ALL
          SELECT v.parent FROM policy_versions v JOIN l USING (version))
        SELECT version FROM l WHERE version IS NOT NULL
        """,
        [version],
    )
    return {row["version"] for row in found}


def _attempted_through(folder: Path) -> int:
    try:
        report, _ = read(folder)
    except AdapterError:
        return 0  # collected as failed, or swept
    return 0 if report.status is RoundStatus.FAILED else report.attempted_through
