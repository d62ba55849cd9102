"""Round folders: how the learner's work reaches the app. Files first, rows second.

The learner *leaves* a folder: written under a temporary name, synced, its manifest last, then
renamed. The app *collects* it into rows in one transaction. A crash between any two of these steps
leaves a temporary folder, which ``sweep`` removes, or a finished one, which the next ``collect``
finds; never a row that points at nothing. A finished folder never changes and its number is never
used again.
"""

import errno
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from filelock import FileLock

from storage.errors import (
    AdapterError,
    DiskError,
    DiskFullError,
    InvariantError,
    UnreadableError,
)
from storage.files import sync, sync_all
from storage.manifest import (
    ADAPTER,
    MANIFEST,
    REPORT,
    Manifest,
    files_in,
    manifest_bytes,
    read,
    report_bytes,
    round_folder,
    seal_of,
    verify,
)
from storage.policy_registry import PolicyRegistry
from storage.pruning import delete_pruned
from storage.records import BASE_VERSION, PolicyVersionId, RoundReport, RoundStatus

__all__ = [
    "Manifest",
    "collect",
    "delete_drafts",
    "delete_forgotten",
    "empty_trash",
    "leave",
    "read",
    "sweep",
    "verify",
]

log = logging.getLogger(__name__)

TRASH = "trash"
_TEMPORARY = ".tmp-"
_LOCK = ".collecting"


def leave(
    rounds: Path,
    report: RoundReport,
    *,
    base_sha256: str,
    config_json: str,
    forgotten: int,
    database: str | None = None,
    write_adapter: Callable[[Path], None] | None,
    clock: Callable[[], float] = time.time,
) -> Path:
    """Write a round's folder and return it once it is on disk under its final name.

    ``forgotten`` is what ``RoundReader.forgotten`` said before anything was read to learn from, and
    ``database`` is ``PolicyReader.database_id``: without it only the clock can tell whose ids the
    report means.
    ``write_adapter`` fills the empty folder it is given; an accepted round must have one. An error
    leaves nothing behind, unless it is of the last sync: then the round stands, and counts. Raises
    DiskFullError or DiskError, and AdapterError where a round of this number stands already.
    """
    if report.version is not None and write_adapter is None:
        raise ValueError(f"round {report.number} is accepted but brings no adapter")
    final = round_folder(rounds, report.number)
    if os.path.lexists(final):
        raise AdapterError(f"{final} stands already: a round's number is used once.")
    with _disk_errors():
        rounds.mkdir(exist_ok=True)
        draft = Path(mkdtemp(prefix=f"{_TEMPORARY}{final.name}-", dir=rounds))
    try:
        with _disk_errors():
            (draft / REPORT).write_bytes(report_bytes(report))
            if write_adapter is not None:
                (draft / ADAPTER).mkdir()
                write_adapter(draft / ADAPTER)
            manifest = manifest_bytes(
                {name: seal_of(path) for name, path in files_in(draft).items()},
                made_ms=int(clock() * 1000),
                base_sha256=base_sha256,
                config_json=config_json,
                forgotten=forgotten,
                database=database,
            )
            sync_all(draft)  # before the manifest exists: what it vouches for is on disk
            (draft / MANIFEST).write_bytes(manifest)
            sync(draft / MANIFEST)
            sync(draft)
            draft.rename(final)
            sync(rounds)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return final


def collect(registry: PolicyRegistry) -> list[RoundReport]:
    """Turn finished folders into rows, in order of number, and return what was recorded.

    An accepted round whose folder is broken, or whose report contradicts the rows, is recorded as
    failed, with the reason; so is one that something was forgotten since, without its adapter. A
    folder that cannot even be recorded so goes to ``rounds/trash``.
    """
    if not registry.waiting():
        return []
    with FileLock(registry.rounds / _LOCK):  # two collectors would take one folder for a clash
        reports = [_collect(registry, folder) for folder in registry.waiting().values()]
    return [report for report in reports if report is not None]


def sweep(registry: PolicyRegistry) -> None:
    """Put the rounds folder in order; at start, while no learner runs.

    Deletes the trash and what was never finished, collects the rest, and deletes what a
    forgetting or a pruning was kept from deleting. Versions whose folder is broken are tainted: the
    one that serves is read in full, of the others names and sizes are compared (whoever lets one
    serve reads it). One that is away or cannot be read now is not: where it serves, an ancestor
    does until it is chosen again.
    """
    empty_trash(registry.rounds)
    delete_drafts(registry.rounds)
    collect(registry)
    delete_forgotten(registry)
    delete_pruned(registry)
    for version in registry.servable():
        _taint_if_broken(registry, version)
    registry.ensure_sound()


def empty_trash(rounds: Path) -> None:
    """Delete what was discarded; nobody can tell what it had learned from."""
    shutil.rmtree(rounds / TRASH, ignore_errors=True)


def delete_drafts(rounds: Path) -> None:
    """Delete what was never finished, while nobody writes a round: at start, or as the learner."""
    for path in rounds.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)


def delete_forgotten(registry: PolicyRegistry) -> None:
    """Delete the folders of the rounds that learned from something forgotten."""
    for number in registry.forgotten_rounds():
        shutil.rmtree(round_folder(registry.rounds, number), ignore_errors=True)


def _collect(registry: PolicyRegistry, folder: Path) -> RoundReport | None:
    try:
        report, manifest = read(folder)
        _check_made_here(registry, folder, manifest)
        return _recorded(registry, folder, report, manifest)
    except UnreadableError as error:
        _say_that_it_waits(str(error))
        return None
    except (AdapterError, InvariantError) as error:
        log.warning("A round is discarded: %s", error)
        _discard(registry.rounds, folder)
        return None


@cache
def _say_that_it_waits(why: str) -> None:
    """Once for each reason: the app looks again every second."""
    log.warning("A round waits: %s", why)


def _check_made_here(registry: PolicyRegistry, folder: Path, manifest: Manifest) -> None:
    if manifest.database is None:  # an older folder: only its time can tell
        foreign = manifest.made_at < registry.get(BASE_VERSION).created_at
    else:
        foreign = manifest.database != registry.database_id()
    if foreign:
        raise AdapterError(f"{folder} is of another database: its ids mean other picks.")


def _recorded(
    registry: PolicyRegistry, folder: Path, report: RoundReport, manifest: Manifest
) -> RoundReport:
    try:
        if report.status is RoundStatus.ACCEPTED:
            verify(folder)
        _record(registry, report, manifest)
    except UnreadableError:
        raise
    except (AdapterError, InvariantError) as error:
        if registry.forgotten() > manifest.forgotten:
            # Before the row: after a kill in between, the next collector comes here again.
            with _disk_errors(), suppress(FileNotFoundError):
                shutil.rmtree(folder / ADAPTER)
        report = replace(report, status=RoundStatus.FAILED, preference_ids=(), reason=str(error))
        _record(registry, report, manifest)
    return report


def _record(registry: PolicyRegistry, report: RoundReport, manifest: Manifest) -> None:
    registry.record(
        report,
        manifest.sha256,
        manifest.base_sha256,
        manifest.config_json,
        forgotten=manifest.forgotten,
    )


def _taint_if_broken(registry: PolicyRegistry, version: PolicyVersionId) -> None:
    try:
        if version != BASE_VERSION:
            registry.verify(version, contents=False)
    except UnreadableError:
        return  # it may come back, and whoever lets it serve is told
    except AdapterError as error:
        registry.taint(version, reason=str(error))


def _discard(rounds: Path, path: Path) -> None:
    trash = rounds / TRASH
    trash.mkdir(parents=True, exist_ok=True)
    path.rename(trash / f"{path.name}-{secrets.token_hex(4)}")


@contextmanager
def _disk_errors() -> Generator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError("The disk is full: the round could not be kept.") from error
        raise DiskError(f"The round could not be written ({error}).") from error
