"""The only module that imports SQLite: which library, which settings, which errors.

Two SQLite libraries on one file in one process break each other's locks, so the library is the
one that sqlite-utils takes: pysqlite3 where it is installed, else Python's own. Some versions can
lose commits in WAL mode (the "WAL-reset bug", https://sqlite.org/wal.html); with those the file
falls back to a rollback journal, which is slower and safe.

Every connection reads its settings back after setting them, since SQLite ignores what it cannot
do, and a store with ``synchronous`` off loses answers without a word.
"""

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3  # pyright: ignore[reportPrivateImportUsage]

from storage.errors import (
    BusyError,
    DamagedDatabaseError,
    DataFolderError,
    DiskError,
    DiskFullError,
    ForeignDatabaseError,
    InvariantError,
    NewerDatabaseError,
    UnfitSqliteError,
    UnknownError,
)
from storage.migrations import SCHEMA_VERSION

APPLICATION_ID = 0x32464C44  # "2FLD"
BUSY_TIMEOUT_MS = 5_000

Row = sqlite3.Row

# Order matters: switching to WAL can itself be BUSY, so the timeout comes first.
_ALWAYS = (
    ("busy_timeout", BUSY_TIMEOUT_MS),
    ("synchronous", 2),  # FULL: what was acknowledged survives a power cut
    ("foreign_keys", 1),  # off by default, per connection
    ("recursive_triggers", 1),  # else REPLACE deletes without firing the append-only triggers
    ("trusted_schema", 0),
    ("cell_size_check", 1),
    ("secure_delete", 1),  # erased text leaves the free pages too
    ("mmap_size", 0),  # an I/O fault is an error then, not a SIGBUS
    ("temp_store", 2),  # MEMORY: no content in temporary files
)
_WRITER = (("wal_autocheckpoint", 1_000), ("journal_size_limit", 64 * 2**20))


def wal_is_safe(version: tuple[int, int, int]) -> bool:
    """Return whether this SQLite has the fix of the WAL-reset bug, which 3.7.0 to 3.51.2 lack."""
    match version:
        case (3, 44, patch):
            return patch >= 6
        case (3, 50, patch):
            return patch >= 7
        case (3, 52, _):
            return False  # withdrawn
        case _:
            return version >= (3, 51, 3)


def open_writer(path: Path) -> Database:
    """Open the one connection that writes; creates the file. Refuses a foreign or newer one."""
    if sqlite3.sqlite_version_info < (3, 37, 0):
        raise UnfitSqliteError(
            f"SQLite {sqlite3.sqlite_version} is too old, 3.37 is needed: install pysqlite3."
        )
    with translated():
        # check_same_thread: the lock in database.py serialises the threads that share it.
        conn = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            _set(conn, "busy_timeout", BUSY_TIMEOUT_MS)
            _check_ours(conn, path, oldest=0)
            _set_journal_mode(conn, path)
            return _configured(conn, (*_ALWAYS, *_WRITER))
        except BaseException:
            conn.close()
            raise


def open_reader(path: Path) -> Database:
    """Open a connection that cannot write. Raises DataFolderError where there is no database."""
    if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises where a name is too long
        raise DataFolderError(f"There is no twofold database at {path}: start twofold there first.")
    with translated():
        # check_same_thread: so that another thread may close it.
        uri = f"{path.absolute().as_uri()}?mode=ro"
        conn = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        try:
            _check_ours(conn, path, oldest=SCHEMA_VERSION)
            return _configured(conn, (*_ALWAYS, ("query_only", 1)))
        except BaseException:
            conn.close()
            raise


def fetch(db: Database, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
    """Return all rows of a query, so that no read transaction outlives the call."""
    try:
        with translated():
            return db.conn.execute(sql, parameters).fetchall()
    except OverflowError as error:  # more than SQLite's 64 bits: no row can have it
        raise UnknownError("There is nothing here with so large a number: check it.") from error


def check_sound(db: Database) -> None:
    """Raise DamagedDatabaseError unless every page and every reference is in order."""
    faults = [row[0] for row in fetch(db, "PRAGMA quick_check(1)") if row[0] != "ok"]
    faults += [f"a row of {row[0]} points nowhere" for row in fetch(db, "PRAGMA foreign_key_check")]
    if faults:
        raise DamagedDatabaseError(f"The database is damaged ({faults[0]}): restore a backup.")


@contextmanager
def translated() -> Generator[None]:
    """Turn SQLite's errors into ours; one that only a fault of our own explains goes through."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise InvariantError(f"The database refused this: {error}.") from error
    except sqlite3.DatabaseError as error:
        code = _code_of(error)
        if code not in _MEANINGS:
            raise
        kind, sentence = _MEANINGS[code]
        raise kind(f"{sentence} ({error})") from error


def _code_of(error: "sqlite3.DatabaseError") -> int | None:
    """SQLite's plain result code; None where the module itself was used wrongly."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF  # extended codes end in the plain one
    # pysqlite3's Connection.backup says it in words only
    return next((code for words, code in _WORDS.items() if str(error).startswith(words)), None)


_WORDS = {
    "database or disk is full": sqlite3.SQLITE_FULL,
    "disk I/O error": sqlite3.SQLITE_IOERR,
    "database is locked": sqlite3.SQLITE_BUSY,
    "attempt to write a readonly database": sqlite3.SQLITE_READONLY,
    "unable to open database file": sqlite3.SQLITE_CANTOPEN,
    "database disk image is malformed": sqlite3.SQLITE_CORRUPT,
    "file is not a database": sqlite3.SQLITE_NOTADB,
}
"""SQLite's own, from sqlite3ErrStr in its main.c."""

_MEANINGS = {
    sqlite3.SQLITE_FULL: (
        DiskFullError,
        "The disk is full, so nothing was saved: free some space and try again.",
    ),
    sqlite3.SQLITE_IOERR: (
        DiskError,
        "The disk refused to read or write, so nothing was saved: check it, then start again.",
    ),
    sqlite3.SQLITE_BUSY: (
        BusyError,
        "Another program keeps the database locked: close it and try again.",
    ),
    sqlite3.SQLITE_READONLY: (
        DataFolderError,
        "The database cannot be written: check the permissions of its folder.",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        DataFolderError,
        "The database cannot be opened: check the permissions of its folder.",
    ),
    sqlite3.SQLITE_CORRUPT: (DamagedDatabaseError, "The database is damaged: restore a backup."),
    sqlite3.SQLITE_NOTADB: (
        ForeignDatabaseError,
        "The file is not a twofold database: choose another folder.",
    ),
}


def _check_ours(conn: "sqlite3.Connection", path: Path, *, oldest: int) -> None:
    """Raise unless the file is empty or ours, and of a schema that we can read."""
    application_id, version = _get(conn, "application_id"), _get(conn, "user_version")
    is_empty = conn.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if application_id != APPLICATION_ID and not is_empty:
        raise ForeignDatabaseError(f"{path} is not a twofold database: choose another folder.")
    if version > SCHEMA_VERSION:
        raise NewerDatabaseError(
            f"{path} was written by a newer twofold (schema {version}, this one knows "
            f"{SCHEMA_VERSION}): update twofold, or choose another folder."
        )
    if version < oldest:
        raise DataFolderError(f"{path} is not up to date: start twofold there first.")


def _configured(conn: "sqlite3.Connection", settings: Sequence[tuple[str, int]]) -> Database:
    for name, value in settings:
        _set(conn, name, value)
    conn.row_factory = sqlite3.Row
    return Database(conn, execute_plugins=False)


def _set(conn: "sqlite3.Connection", name: str, value: int) -> None:
    conn.execute(f"PRAGMA {name} = {value}")
    found = _get(conn, name)
    if found != value:
        raise UnfitSqliteError(
            f"SQLite {sqlite3.sqlite_version} keeps {name} at {found}, {value} is needed: "
            "install pysqlite3."
        )


def _get(conn: "sqlite3.Connection", name: str) -> int:
    row = conn.execute(f"PRAGMA {name}").fetchone()
    return 0 if row is None else row[0]  # no row: built without that feature, as for mmap_size


def _set_journal_mode(conn: "sqlite3.Connection", path: Path) -> None:
    mode = "wal" if wal_is_safe(sqlite3.sqlite_version_info) else "delete"
    found = conn.execute(f"PRAGMA journal_mode = {mode}").fetchone()[0]
    if found != mode:
        raise DataFolderError(
            f"The file system of {path.parent} cannot hold the database (journal mode {found} "
            f"instead of {mode}): choose a folder on a local disk."
        )
