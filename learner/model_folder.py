"""A folder that holds a model twofold may load, and the checks it must pass first.

A model is data here, never code: weights are safetensors (a pickle can run anything), a
configuration that asks for its own Python is refused. A model without a chat template is prompted
by example (few_shot.py). Knows files only; imports no torch.
"""

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from learner.errors import LearnerError


class ModelError(LearnerError):
    """No usable base model; the text is one sentence for the person who started twofold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """A checked model on disk: safetensors, configuration, tokenizer."""

    path: Path
    name: str
    """What people call it: the Hub id, or the folder's name."""
    sha256: str
    """Hex digest over the names and contents of all weight files. Adapters and cached features
    belong to exactly one such digest."""


def open_model(folder: Path, *, name: str, digests: Path) -> ModelFolder:
    """Check ``folder`` and take its digest.

    ``digests`` is a small JSON file that remembers digests by path, size and time of change, so
    that only the first start reads half a gigabyte. Raises ModelError.
    """
    try:
        weights = _checked_weights(folder, name)
        sha256 = _remembered_digest(weights, digests)
    except OSError as error:
        raise ModelError(
            f"{name} cannot be read ({error.strerror}): see to the permissions of {folder}."
        ) from error
    return ModelFolder(path=folder, name=name, sha256=sha256)


def _checked_weights(folder: Path, name: str) -> list[Path]:
    configuration = folder / "config.json"
    if not configuration.is_file():
        raise ModelError(f"{name} is not a model folder: it has no config.json.")
    if "auto_map" in _read_json(configuration, name):
        raise ModelError(f"{name} needs Python code of its own, which twofold never runs.")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ModelError(
            f"{name} has no safetensors weights; pickled ones (.bin, .pt) can run code when loaded,"
            " so twofold does not read them."
        )
    return weights


def _read_json(path: Path, name: str) -> dict[str, object]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{name} is damaged: {path.name} is not valid JSON.") from error
    if not isinstance(said, dict):
        raise ModelError(f"{name} is damaged: {path.name} is no JSON object.")
    return said


def _remembered_digest(weights: list[Path], digests: Path) -> str:
    state = [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in weights]
    key = str(weights[0].parent.resolve())
    known = _read_digests(digests)
    remembered = known.get(key)
    if isinstance(remembered, dict) and remembered.get("state") == state:
        return str(remembered.get("sha256"))
    sha256 = _digest(weights)
    with suppress(OSError):  # where nothing can be kept, the next start reads the weights again
        digests.parent.mkdir(parents=True, exist_ok=True)
        known |= {key: {"state": state, "sha256": sha256}}
        digests.write_text(json.dumps(known, indent=1), encoding="utf-8")
    return sha256


def _read_digests(digests: Path) -> dict[str, object]:
    """A memory, not a record: what cannot be read is begun afresh."""
    try:
        known = json.loads(digests.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _digest(weights: list[Path]) -> str:
    """One digest for all shards: sha256 over the lines that ``sha256sum`` would print."""
    lines = [f"{file_sha256(path)}  {path.name}\n" for path in weights]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Hex digest of one file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
