"""What a round's folder holds, and whether it still holds exactly that.

    r000015/
      report.json      the RoundReport
      adapter/         PEFT safetensors of an accepted round
      MANIFEST.json    written last: size and SHA-256 of every other file, base model, settings

A folder without a manifest was never finished. Safetensors load flipped bits without a word, so
the checksums are ours to make and to compare before a version serves.
"""

import hashlib
import json
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from storage.errors import AdapterError, UnreadableError
from storage.records import PolicyVersionId, PreferenceId, RoundReport, RoundStatus
from storage.rows import moment

FORMAT = 1
MANIFEST = "MANIFEST.json"
REPORT = "report.json"
ADAPTER = "adapter"

_NAME = re.compile(r"r(\d{6,})")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSeal:
    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    made_at: datetime
    base_sha256: str
    """Of the base model's weights: an adapter fits no other."""
    config_json: str
    """The learner's settings in this round."""
    forgotten: int
    """How much had been forgotten when the round began (``RoundReader.forgotten``)."""
    database: str | None
    """Whose rows its ids mean (``PolicyReader.database_id``); older folders do not say."""
    files: Mapping[str, FileSeal]
    """By path relative to the folder, with ``/``; the manifest itself is not among them."""
    sha256: str
    """Of the manifest file: the rows keep it, so a folder cannot be exchanged unseen."""


def round_folder(rounds: Path, number: int) -> Path:
    """Return the one place where this round's files may lie."""
    return rounds / f"r{number:06d}"


def adapter_folder(rounds: Path, number: int) -> Path:
    return round_folder(rounds, number) / ADAPTER


def round_folders(rounds: Path) -> dict[int, Path]:
    """Return whatever stands where finished rounds stand, by number; no folder, no rounds."""
    if not rounds.is_dir():
        return {}
    matches = ((_NAME.fullmatch(path.name), path) for path in rounds.iterdir())
    return {int(match[1]): path for match, path in matches if match}


def seal_of(path: Path) -> FileSeal:
    """Return size and checksum of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return FileSeal(size=file.tell(), sha256=digest.hexdigest())


def files_in(folder: Path) -> dict[str, Path]:
    """Return all files below ``folder`` by relative path. Raises AdapterError for a link, and
    OSError for a folder that cannot be read, which must not look like an empty one."""
    found: dict[str, Path] = {}
    for path in _below(folder):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            found[path.relative_to(folder).as_posix()] = path
        elif not stat.S_ISDIR(mode):
            raise AdapterError(f"{path} is neither a file nor a folder, so it is not trusted.")
    return found


def _below(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _below(path)


def manifest_bytes(
    files: Mapping[str, FileSeal],
    *,
    made_ms: int,
    base_sha256: str,
    config_json: str,
    forgotten: int,
    database: str | None,
) -> bytes:
    content = {
        "format": FORMAT,
        "made_ms": made_ms,
        "base_sha256": base_sha256,
        "config": json.loads(config_json),
        "forgotten": forgotten,
        "database": database,
        "files": {name: asdict(seal) for name, seal in sorted(files.items())},
    }
    return json.dumps(content, indent=1, allow_nan=False).encode()


def report_bytes(report: RoundReport) -> bytes:
    """Raises ValueError for a metric that is not finite: NaN is to be found, not kept."""
    return json.dumps(asdict(report), indent=1, allow_nan=False).encode()


def read(folder: Path) -> tuple[RoundReport, Manifest]:
    """Return what a finished folder says; of its files only the report is compared here.

    Raises AdapterError where that cannot be believed, UnreadableError where it cannot be read. A
    folder that is not there at all is no damaged one: whoever moved or unmounted it may bring it
    back.
    """
    try:
        if folder.is_symlink():
            raise AdapterError(f"{folder} is a link, so it is not trusted.")
        if not folder.exists():
            raise UnreadableError(f"{folder} is not there: put it back, or choose another version.")
        manifest = _manifest(_plain_bytes(folder / MANIFEST))
        content = _plain_bytes(folder / REPORT)
        report = _report(json.loads(content))
        if manifest.files[REPORT] != _seal(content):
            raise AdapterError(f"{folder / REPORT} is not what the round wrote.")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise AdapterError(f"{folder} was not finished or is damaged: {error!r}.") from error
    except OSError as error:
        raise _unreadable(folder, error) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AdapterError(f"{folder} was not finished or is damaged: {error!r}.") from error
    if folder.name != round_folder(folder, report.number).name:
        raise AdapterError(f"{folder} holds round {report.number}.")
    return report, manifest


def verify(folder: Path, *, contents: bool = True, sha256: str | None = None) -> None:
    """Raise AdapterError unless the folder holds exactly the files that its manifest lists.

    No more and no fewer, no links, every size; with ``contents`` every checksum; with ``sha256``
    the manifest's own. Raises UnreadableError where the disk or the permissions refuse, or the
    whole folder is not there.
    """
    report, manifest = read(folder)
    if sha256 is not None and manifest.sha256 != sha256:
        raise AdapterError(f"{folder} was exchanged: its manifest is not the one recorded.")
    try:
        _compare(folder, report, manifest, contents=contents)
    except FileNotFoundError as error:
        raise AdapterError(f"{folder} lost a file while it was read.") from error
    except OSError as error:
        raise _unreadable(folder, error) from error


def _compare(folder: Path, report: RoundReport, manifest: Manifest, *, contents: bool) -> None:
    found = files_in(folder)
    del found[MANIFEST]
    if found.keys() != manifest.files.keys():
        odd = sorted(found.keys() ^ manifest.files.keys())
        raise AdapterError(f"{folder} lacks or adds {', '.join(odd)}.")
    if report.version is not None and not any(name.startswith(f"{ADAPTER}/") for name in found):
        raise AdapterError(f"{folder} was accepted but holds no adapter.")
    for name, path in found.items():
        seal = manifest.files[name]
        if path.stat().st_size != seal.size or (contents and seal_of(path) != seal):
            raise AdapterError(f"{path} is not what the round wrote.")


def _unreadable(folder: Path, error: OSError) -> UnreadableError:
    return UnreadableError(
        f"{folder} cannot be read ({error.strerror}): check the disk and the permissions."
    )


def _manifest(content: bytes) -> Manifest:
    values = json.loads(content)
    if values["format"] != FORMAT:
        raise ValueError(f"manifest format {values['format']}, this twofold reads {FORMAT}")
    return Manifest(
        made_at=moment(values["made_ms"]),
        base_sha256=values["base_sha256"],
        config_json=json.dumps(values["config"]),
        forgotten=values.get("forgotten", 0),  # older folders do not say
        database=values.get("database"),
        files={name: FileSeal(**seal) for name, seal in values["files"].items()},
        sha256=_seal(content).sha256,
    )


def _report(values: dict[str, Any]) -> RoundReport:
    return RoundReport(
        number=values["number"],
        parent=PolicyVersionId(values["parent"]),
        status=RoundStatus(values["status"]),
        preference_ids=tuple(map(PreferenceId, values["preference_ids"])),
        attempted_through=PreferenceId(values["attempted_through"]),
        update_rule=values["update_rule"],
        seed=values["seed"],
        reason=values["reason"],
        metrics=values["metrics"],
        seconds=values["seconds"],
        goes_live=values.get("goes_live", True),  # older folders do not say
    )


def _plain_bytes(path: Path) -> bytes:
    if path.is_symlink():
        raise AdapterError(f"{path} is a link, so it is not trusted.")
    return path.read_bytes()


def _seal(content: bytes) -> FileSeal:
    return FileSeal(size=len(content), sha256=hashlib.sha256(content).hexdigest())
