"""The policy versions and what each descends from: a tree rooted at the base model."""

import json
from collections.abc import Iterable

from sqlite_utils import Database

from storage.errors import UnknownVersionError
from storage.manifest import adapter_folder, round_folder, verify
from storage.records import BASE_VERSION, PolicyVersion, PolicyVersionId
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
            "SELECT manifest_sha256 FROM policy_versions WHERE version = ? AND version > 0",
            [version],
        )
        if not found:
            raise UnknownVersionError(f"There is no policy version {version} with a folder.")
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
