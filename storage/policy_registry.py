"""Which policy version serves: rounds become versions, and the pointer moves.

``active_pointer`` is the truth about who speaks; an activation moves it and counts its epoch up.
A version that was rejected or tainted never serves again, which the schema enforces; its
descendants may, since each holds its weights itself. Whoever comes to serve is read in full: before
it does, or, where a ban in the caller's transaction made it serve, right after.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from sqlite_utils import Database

from storage.database import Store
from storage.errors import AdapterError, NoteTooLongError, NotServableError, UnreadableError
from storage.inserts import insert
from storage.policies import PolicyReader, nearest_servable_in, servable_in
from storage.records import BASE_VERSION, PolicyVersionId, RoundReport
from storage.round_log import forgotten_in, insert_round
from storage.sqlite import fetch
from storage.text import clean_text

log = logging.getLogger(__name__)

MAX_NOTE_CHARS = 2000


class PolicyRegistry(PolicyReader):
    """Turns rounds into rows and moves the pointer."""

    def __init__(self, store: Store, rounds: Path) -> None:
        super().__init__(store, rounds)
        self.store = store

    def record(
        self,
        report: RoundReport,
        manifest_sha256: str,
        base_sha256: str,
        config_json: str,
        *,
        forgotten: int | None = None,
    ) -> None:
        """Keep a finished round; an accepted one becomes a version and serves from now on.

        It does so only if it is to go live and its parent serves still; after a roll-back it is
        kept without serving.
        One transaction. Raises InvariantError where the report contradicts what is stored, and
        AdapterError where more is forgotten by now than when the round began.
        """
        with self.store.write() as db:
            now_ms = self.store.now_ms()
            if report.version is not None and forgotten is not None:
                _check_nothing_forgotten(db, forgotten)
            insert_round(db, report, manifest_sha256, config_json, now_ms)
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
        try:
            if version != BASE_VERSION:
                self.verify(version)
        except UnreadableError:
            if version in self.servable():
                raise
            # It may not speak in any case: that is to be told, not to put a forgotten folder back.
        with self.store.write() as db:
            if version not in servable_in(db):
                raise NotServableError(f"Version {version} was rejected: choose another one.")
            if version != _active(db):
                self._point_to(db, version, reason)

    def go_back(self, version: PolicyVersionId, *, reason: str) -> PolicyVersionId | None:
        """Take a version off the live line: its nearest ancestor that may speak and is sound does.

        An ancestor that is broken is tainted, one that cannot be read now is passed over; the base
        always speaks. Returns who does, or None, and moves nothing, where the live version does not
        come from this one: somebody else was quicker.
        """
        for ancestor in sorted(_ancestors(self._reader.read(), version), reverse=True):
            if ancestor not in self.servable() or self._fault_of(ancestor) is not None:
                continue
            with self.store.write() as db:
                active = _active(db)
                if version != active and version not in _ancestors(db, active):
                    return None
                if ancestor in servable_in(db):
                    self._point_to(db, ancestor, reason)
                    return ancestor
        return None  # nothing is before the base

    def ensure_sound(self) -> PolicyVersionId:
        """Read the version that serves in full, go back while that fails, and return who serves."""
        while (fault := self._fault_of(live := self.current().id)) is not None:
            self.go_back(live, reason=fault)
        return live

    def note(self, version: PolicyVersionId, text: str) -> None:
        """Note something about a version; an empty text takes the note away."""
        body = clean_text(text).strip()
        if len(body) > MAX_NOTE_CHARS:
            raise NoteTooLongError(
                f"A note has at most {MAX_NOTE_CHARS:,} characters; this one has {len(body):,}."
            )
        self.get(version)
        with self.store.write() as db:
            row = {"version": version, "body": body, "created_ms": self.store.now_ms()}
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

        That is the nearest servable ancestor where the serving version is among them. Its files are
        not read here: ``ensure_sound`` is to follow once the transaction is committed.
        """
        for version in versions:
            self._log(db, version, state, reason)
        active = _active(db)
        if active in versions:
            active = nearest_servable_in(db, active)
            self._point_to(db, active, reason)
        return PolicyVersionId(active)

    def _ban(self, version: PolicyVersionId, state: str, reason: str) -> None:
        if self.get(version).id == BASE_VERSION:
            raise ValueError("the base model cannot be rejected: everything falls back to it")
        with self.store.write() as db:
            moved = _active(db) != self.ban(db, [version], state, reason)
        if moved:
            self.ensure_sound()

    def _fault_of(self, version: PolicyVersionId) -> str | None:
        """Read a version's folder in full and say what is wrong with it; taint it if broken."""
        if version == BASE_VERSION:
            return None
        try:
            self.verify(version)
        except UnreadableError as error:
            log.warning("Version %d cannot speak now: %s", version, error)
            return str(error)
        except AdapterError as error:
            log.warning("Version %d is broken: %s", version, error)
            with self.store.write() as db:
                if version in servable_in(db):  # else its files were to go, while they were read
                    self.ban(db, [version], "tainted", str(error))
            return str(error)
        return None

    def _point_to(self, db: Database, version: PolicyVersionId, reason: str) -> None:
        before = _active(db)
        rolled_back = before not in _ancestors(db, version)
        db.execute(
            "UPDATE active_pointer SET version = ?, epoch = epoch + 1, changed_ms = ?",
            [version, self.store.now_ms()],
        )
        self._log(db, before, "rolled_back" if rolled_back else "retired", reason)
        self._log(db, version, "active", reason)

    def _log(self, db: Database, version: PolicyVersionId, state: str, reason: str) -> None:
        now_ms = self.store.now_ms()
        insert(
            db,
            "version_states",
            {"version": version, "state": state, "reason": reason, "created_ms": now_ms},
        )


def _check_nothing_forgotten(db: Database, before: int) -> None:
    if forgotten_in(db) > before:
        raise AdapterError("Something was forgotten while it was made, so it is not kept.")


def _active(db: Database) -> PolicyVersionId:
    return PolicyVersionId(fetch(db, "SELECT version FROM active_pointer")[0]["version"])


def _ancestors(db: Database, version: PolicyVersionId) -> set[PolicyVersionId]:
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
    return {PolicyVersionId(row["version"]) for row in found}
