"""A copy of the database that is checked before it is called a backup.

SQLite's own backup copies a consistent state while the app writes on. The copy is made under a
temporary name of its own, checked, synced and renamed, so that a name without ``.part`` is a whole
backup.
"""

import os
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from sqlite_utils import Database

from storage.errors import DataFolderError
from storage.sqlite import check_sound, open_reader, sqlite3, translated

_BESIDE = ("-journal", "-wal", "-shm")
PAGES_AT_ONCE = 1_000
"""Between two portions the app may write, where reading would keep it from that."""
ALL_PAGES = -1


def back_up(database: Path, folder: Path, *, now: datetime | None = None) -> Path:
    """Copy ``database`` into ``folder``; return the copy's path.

    Raises DataFolderError where there is none or the folder cannot be written, DiskFullError, and
    DamagedDatabaseError where the copy is not sound.
    """
    moment = now or datetime.now(UTC)
    target = folder / f"twofold-{moment:%Y%m%d-%H%M%S}.db"
    part = folder / f"{target.stem}-{secrets.token_hex(4)}.part"
    source = open_reader(database)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _copy(source, part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        raise DataFolderError(f"{folder} cannot be written ({error.strerror}).") from error
    finally:
        source.close()
        for left in (part, *(part.with_name(part.name + end) for end in _BESIDE)):
            with suppress(OSError):  # where it could not be made, it cannot be looked for either
                left.unlink(missing_ok=True)
    return target


def _copy(source: Database, part: Path) -> None:
    with translated():
        copy = sqlite3.connect(part)
        try:
            # Each commit meanwhile begins a copy in portions anew: beside an import it would never
            # end. With a write-ahead log nobody waits for a reader, so there is one portion.
            [(mode,)] = source.execute("PRAGMA journal_mode").fetchall()
            source.conn.backup(copy, pages=ALL_PAGES if mode == "wal" else PAGES_AT_ONCE)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, nothing beside it
            copy.commit()
            copy.row_factory = sqlite3.Row
            check_sound(Database(copy, execute_plugins=False))
        finally:
            copy.close()
