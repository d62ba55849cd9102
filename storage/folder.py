"""The one folder that holds everything a person's twofold knows, and who may use it.

twofold.db       conversations, answers, versions (storage/schema/)
rounds/          one folder per round of the learner (storage/rounds.py)
phases/          checkpoints of training phases that may go on (learner/phases/checkpoint.py)
models/          whole models that training phases made (learner/phases/publish.py)
.download-*/     a merged model on its way to the browser (chat_app/merged_model.py)
learner.paused   there while no lesson may start; learner.now asks for one (learner/control.py)
learner.json     the learner's live progress, replaced atomically, never depended on
settings.json    what was set on the Settings page (chat_app/saved_settings.py)
taste.json       what the person leans to, by their own word (learner/reward/lean.py)
backups/         checked copies of the database (storage/backup.py)
api-key          what opens the API, for the person alone (chat_app/api_key.py)
server.lock      held by the one running server
server.json      who that is, for the message to a second one
"""

import errno
import json
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from storage.errors import DataFolderError

SETTINGS_FILE = "settings.json"


class Claim:
    """The right to serve from a folder, held until its ``with`` block ends."""

    def __init__(self, note: Path) -> None:
        self._note = note

    def note_port(self, port: int | None) -> None:
        """Leave word where this server listens, for the message to a second one.

        Raises DataFolderError where it cannot be written, as on a full disk.
        """
        word = json.dumps({"pid": os.getpid(), "port": port})
        try:
            self._note.write_text(word, encoding="utf-8")
        except OSError as error:
            raise _unwritable(self._note.parent, error) from error


class DataFolder:
    """Makes ``root``, readable by its owner only. Raises DataFolderError if it is unwritable.

    With ``make`` off it only names what is in it, for those who read.
    """

    def __init__(self, root: Path, *, make: bool = True) -> None:
        self.root = root
        self.database = root / "twofold.db"
        self.rounds = root / "rounds"
        self.progress = root / "learner.json"
        self.settings = root / SETTINGS_FILE
        self.taste = root / "taste.json"
        self.backups = root / "backups"
        self.phases = root / "phases"
        self.models = root / "models"
        self.api_key = root / "api-key"
        if not make:
            return
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.rounds.mkdir(exist_ok=True)
            with tempfile.TemporaryFile(dir=root):
                pass  # the only honest test: permissions lie for root and on network mounts
        except OSError as error:
            raise _unwritable(root, error) from error

    @staticmethod
    def default_root() -> Path:
        """Return TWOFOLD_HOME, or the place where this system keeps a person's data."""
        home = os.environ.get("TWOFOLD_HOME")
        return (
            Path(home).expanduser()
            if home
            else platformdirs.user_data_path("twofold", appauthor=False)
        )

    @contextmanager
    def claim(self) -> Generator[Claim]:
        """Hold the folder for one server. Raises DataFolderError if another one has it."""
        note = self.root / "server.json"
        lock = FileLock(self.root / "server.lock", blocking=False)
        try:
            lock.acquire()
        except Timeout as error:
            raise DataFolderError(
                f"Another twofold{_described(note)} is using {self.root}: "
                "close it, or choose another folder with TWOFOLD_HOME."
            ) from error
        except OSError as error:
            raise _unwritable(self.root, error) from error
        try:
            claim = Claim(note)
            claim.note_port(None)
            yield claim
        finally:
            with suppress(OSError):  # it is only for a message
                note.unlink(missing_ok=True)
            lock.release()


def _unwritable(root: Path, error: OSError) -> DataFolderError:
    mend = "free some space" if error.errno == errno.ENOSPC else "see to its permissions"
    return DataFolderError(
        f"The data folder {root} cannot be written ({error.strerror}): {mend}, or choose another "
        "one with TWOFOLD_HOME."
    )


def _described(note: Path) -> str:
    """Return " (process 12, port 34)", as far as the holder has noted it yet."""
    try:
        holder = json.loads(note.read_text(encoding="utf-8"))
        process, port = holder["pid"], holder["port"]
    except (OSError, ValueError, TypeError, KeyError):
        return ""
    return f" (process {process})" if port is None else f" (process {process}, port {port})"
