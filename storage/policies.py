"""The policy versions and what each descends from: a tree rooted at the base model."""

import hashlib
import json
from collections.abc import Iterable

from sqlite_utils import Database

from storage.errors import AdapterError, UnknownVersionError
from storage.manifest import adapter_folder, round_folder, verify
from storage.records import BASE_VERSION, LOCAL_USER, PolicyVersion, PolicyVersionId
from storage.round_log import RoundReader
from storage.rows import moment
from storage.sqlite import Row, fetch

_VERSIONS = """
    SELECT version, v.parent, v.created_ms, coalesce(metrics_json, '{}') AS metrics_json
      FROM policy_versions v LEFT JOIN rounds ON number = version
"""


class PolicyReader(RoundReader):
    """Versions, and the rounds that made them."""

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

    def versions(
        self, *, limit: int | None = None, kept: bool = False, also: PolicyVersionId | None = None
    ) -> list[PolicyVersion]:
        """Return the versions, oldest first, whether or not they may serve; the newest if limited.

        With ``kept`` only those whose files are there, or should be. The base, the serving version
        and ``also`` are always among them.
        """
        found = fetch(
            self._reader.read(),
            f"""
            SELECT * FROM (
              SELECT * FROM ({_VERSIONS}
                     WHERE NOT ? OR version NOT IN (SELECT version FROM pruned_versions)
                     ORDER BY version DESC LIMIT ?)
              UNION SELECT * FROM ({_VERSIONS}
                     WHERE version IN (SELECT ? UNION SELECT 0
                                       UNION SELECT version FROM active_pointer)))
             ORDER BY version
            """,  # noqa: S608 - a constant
            [kept, -1 if limit is None else limit, also],
        )
        return [self._version(row) for row in found]

    def nearest_among(
        self, versions: Iterable[PolicyVersionId]
    ) -> dict[PolicyVersionId, PolicyVersionId]:
        """Return for each of these versions its nearest ancestor among them, if it has one."""
        found = fetch(self._reader.read(), "SELECT version, parent FROM policy_versions")
        parent, among = {row["version"]: row["parent"] for row in found}, set(versions)
        nearest: dict[int, int] = {}
        for version in sorted(parent):  # a parent has the smaller number
            above = parent[version]
            if above is not None:
                known = above if above in among else nearest.get(above)
                if known is not None:
                    nearest[version] = known
        return {version: PolicyVersionId(nearest[version]) for version in among & nearest.keys()}

    def servable(self) -> list[PolicyVersionId]:
        """Return the versions that may be activated, the base first."""
        return servable_in(self._reader.read())

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
               AND one.value NOT IN (SELECT version FROM pruned_versions)
            """,
            [json.dumps(list(versions))],
        )
        return {PolicyVersionId(row["version"]) for row in found}

    def nearest_servable(self, version: PolicyVersionId) -> PolicyVersion:
        """Return this version if it may be activated, else its nearest ancestor that may."""
        return self.get(nearest_servable_in(self._reader.read(), version))

    def pruned(self) -> list[PolicyVersionId]:
        """Return the versions whose files are not kept any more (storage/pruning.py)."""
        found = fetch(self._reader.read(), "SELECT version FROM pruned_versions ORDER BY version")
        return [PolicyVersionId(row["version"]) for row in found]

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

    def database_id(self) -> str:
        """Return what tells this database from any other, also from a new one in its folder."""
        found = fetch(self._reader.read(), "SELECT salt FROM users WHERE user_id = ?", [LOCAL_USER])
        return hashlib.sha256(found[0]["salt"] or b"").hexdigest()[:32]

    def base_of(self, version: PolicyVersionId) -> str | None:
        """Return the digest of the base model that a version was made for; None for the base."""
        found = fetch(
            self._reader.read(),
            "SELECT base_sha256 FROM policy_versions WHERE version = ?",
            [version],
        )
        return found[0]["base_sha256"] if found else None

    def verify(self, version: PolicyVersionId, *, contents: bool = True) -> None:
        """Raise AdapterError unless the version's folder is the one that was recorded.

        Without ``contents`` only names and sizes are compared. The base has no folder.
        """
        found = fetch(
            self._reader.read(),
            """
            SELECT manifest_sha256, version IN (SELECT version FROM pruned_versions) AS pruned
              FROM policy_versions WHERE version = ? AND version > 0
            """,
            [version],
        )
        if not found:
            raise UnknownVersionError(f"There is no policy version {version} with a folder.")
        if found[0]["pruned"]:
            raise AdapterError(
                f"Version {version} is not kept any more, to save space: "
                "choose one that may still speak."
            )
        folder = round_folder(self.rounds, version)
        verify(folder, contents=contents, sha256=found[0]["manifest_sha256"])

    def _version(self, row: Row) -> PolicyVersion:
        version = PolicyVersionId(row["version"])
        return PolicyVersion(
            id=version,
            parent=None if row["parent"] is None else PolicyVersionId(row["parent"]),
            adapter_path=None if version == BASE_VERSION else adapter_folder(self.rounds, version),
            created_at=moment(row["created_ms"]),
            metrics=json.loads(row["metrics_json"]),
        )


def servable_in(db: Database) -> list[PolicyVersionId]:
    """Return the versions that may be activated, the base first."""
    found = fetch(db, "SELECT version FROM servable ORDER BY version")
    return [PolicyVersionId(row["version"]) for row in found]


def nearest_servable_in(db: Database, version: PolicyVersionId) -> PolicyVersionId:
    """Return this version if it may be activated, else its nearest ancestor that may."""
    found = fetch(
        db,
        """
        WITH RECURSIVE l (version) AS (
          SELECT ?
          UNION ALL
          SELECT v.parent FROM policy_versions v JOIN l USING (version) WHERE v.parent IS NOT NULL)
        SELECT max(version) AS version FROM l WHERE version IN (SELECT version FROM servable)
        """,
        [version],
    )
    return PolicyVersionId(found[0]["version"])
