"""Who may read and who may write the one database file.

A ``Reader`` is all that the learner's process is given: it cannot write. A ``Store`` adds the one
writing connection, which the app holds, behind a lock; every transaction is ``BEGIN IMMEDIATE``,
since one that reads before it writes fails at once, whatever the timeout, if somebody commits in
between. Leaving ``write()`` means committed and on disk: only then may a person be told "saved".

Each reading thread has its own connection; what takes several queries is read in a ``snapshot()``,
or a deletion between two of them would leave half of what was there. A connection does not survive
a fork; processes are spawned.
"""

import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout
from sqlite_utils import Database

from storage.errors import BusyError, DataFolderError, DiskError
from storage.migrations import migrations
from storage.search_index import keep_clean
from storage.sqlite import BUSY_TIMEOUT_MS, check_sound, open_reader, open_writer, translated

MIGRATION_TIMEOUT_S = 60.0
FOLD_WAIT_MS = 250
FOLD_AGAIN_S = 1.0
"""The first pause before the log is folded in after all; each further one is twice as long."""
FOLD_AT_LEAST_EVERY_S = 60.0


class Reader:
    """Reading connections to the database at ``path``, one per thread, opened when first used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process = os.getpid()
        self._own = threading.local()
        self._all: dict[threading.Thread, Database] = {}
        self._all_lock = threading.Lock()

    def read(self) -> Database:
        """Return this thread's read-only connection. Raises DataFolderError if there is no file."""
        self._check_process()
        db: Database | None = getattr(self._own, "db", None)
        if db is None:
            db = self._own.db = open_reader(self.path)
            with self._all_lock:
                # Web servers retire their worker threads: their connections go with them.
                for thread in [thread for thread in self._all if not thread.is_alive()]:
                    self._all.pop(thread).close()
                self._all[threading.current_thread()] = db
        return db

    @contextmanager
    def snapshot(self) -> Generator[Database]:
        """This thread's connection, on which all queries of the block see one state.

        That is the state when the first of them begins; a block within a block is part of it. Read,
        and leave: until then the log cannot be folded in, and nothing may be written by the thread.
        """
        db = self.read()
        if db.conn.in_transaction:
            yield db
            return
        with translated():
            db.conn.execute("BEGIN")
        try:
            yield db
        finally:
            db.rollback()  # nothing was written; does nothing where SQLite rolled back by itself

    def close(self) -> None:
        """Let go of every thread's connection, which closes those that nobody is reading from.

        One that is being read from closes when that is over: a page may still be drawn while the
        app ends, and closing a connection under its reader ends the whole process.
        """
        with self._all_lock:
            self._all.clear()
        self._own = threading.local()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _is_reading(self) -> bool:
        """Whether this thread is within a snapshot."""
        db: Database | None = getattr(self._own, "db", None)
        return db is not None and db.conn.in_transaction

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise RuntimeError(
                "a database connection does not survive a fork: open it in the child"
            )


class Store(Reader):
    """The writing connection as well. Creates folder and file, and brings the schema up to date.

    ``clock`` returns Unix time in seconds. Raises DataFolderError, ForeignDatabaseError,
    NewerDatabaseError or DamagedDatabaseError.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(path)
        self._clock = clock
        self._latest_ms = 0
        self._later: threading.Timer | None = None
        self._closed = False
        self._write_lock = threading.RLock()  # a nested write fails in SQLite, not in a deadlock
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Without it, of several processes that migrate together all but one fail.
            with FileLock(f"{path}.migrating", timeout=MIGRATION_TIMEOUT_S):
                _refuse_orphans(path)
                self._writer = self._opened()
            with translated():
                self._latest_ms = _latest_ms(self._writer)
            self.checkpoint()  # an app that was killed may have erased, and not come to this
        except Timeout as error:
            raise DataFolderError(
                f"Another twofold keeps preparing {path}: wait for it, or end it."
            ) from error
        except OSError as error:
            raise DataFolderError(
                f"{path.parent} cannot be written ({error.strerror}): choose another folder."
            ) from error

    @contextmanager
    def write(self) -> Generator[Database]:
        """One transaction: committed and on disk after the block, undone if the block raises."""
        self._check_process()
        if self._is_reading():
            raise RuntimeError("within a snapshot nothing is written: leave it first")
        with self._write_lock, translated():
            conn = self._writer.conn
            conn.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                conn.execute("COMMIT")
            except BaseException:
                self._writer.rollback()  # does nothing where SQLite rolled back by itself
                raise

    def checkpoint(self) -> None:
        """Fold the log into the file and empty it, so that what was erased is in neither.

        Where it cannot be done now, as while another program reads, it is tried again by itself
        until it is done or the store closes.
        """
        self._fold(FOLD_AGAIN_S)

    def now_ms(self) -> int:
        """Return the time of the store's clock: Unix time in milliseconds.

        Never before what is stored already, whatever was done to the clock: what came first, and
        who had seen it, is read from these times.
        """
        now = int(self._clock() * 1000)
        with self._write_lock:
            self._latest_ms = now if now >= self._latest_ms else self._latest_ms + 1
            return self._latest_ms

    def close(self) -> None:
        """Close readers, then the writer: the last one out folds the log into the file."""
        super().close()
        with self._write_lock, translated():
            self._closed = True
            if self._later is not None:
                self._later.cancel()
            self._writer.execute("PRAGMA optimize")
            self._writer.close()

    def _fold(self, again_s: float) -> None:
        with self._write_lock:
            if self._closed:
                return
            if self._later is not None:
                self._later.cancel()
                self._later = None
            if not self._is_folded():
                longer_s = min(2 * again_s, FOLD_AT_LEAST_EVERY_S)
                self._later = threading.Timer(again_s, self._fold, [longer_s])
                self._later.daemon = True
                self._later.start()

    def _is_folded(self) -> bool:
        """Try it, without keeping those that want to write waiting for long."""
        self._writer.execute(f"PRAGMA busy_timeout = {FOLD_WAIT_MS}")
        try:
            with translated():
                [(busy, _, _)] = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except (BusyError, DiskError):
            return False
        finally:
            self._writer.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        return not busy

    def _opened(self) -> Database:
        writer = open_writer(self.path)
        try:
            with translated():
                writer.execute("BEGIN IMMEDIATE")
                migrations.apply(writer)
                keep_clean(writer)
                writer.execute("COMMIT")
            check_sound(writer)
        except BaseException:
            writer.rollback()
            writer.close()
            raise
        return writer


def _refuse_orphans(path: Path) -> None:
    """Raise before a new database is begun beside the rounds of one that is gone.

    Their ids would mean other picks, so the versions would be thrown away: also those that a
    backup, put back a moment later, still knows.
    """
    begun = path.is_file() and path.stat().st_size > 0
    if begun or not any((path.parent / "rounds").glob("r[0-9]*")):
        return
    raise DataFolderError(
        f"{path} is missing, or empty, but the versions it knew are there: put it back "
        f"(`twofold backup` leaves copies in backups/), or move {path.parent / 'rounds'} away to "
        "begin anew."
    )


_TIMED = ("preferences", "turns", "rounds", "ratings", "rankings", "slates", "demonstrations")
"""What is written most often; the newest row of each has the highest id."""


def _latest_ms(db: Database) -> int:
    """The latest time that was stored, Unix time in milliseconds; 0 where nothing was."""
    newest = [
        db.execute(f"SELECT created_ms FROM {table} ORDER BY rowid DESC LIMIT 1")  # noqa: S608
        for table in _TIMED
    ]
    return max((row[0] for found in newest for row in found), default=0)
