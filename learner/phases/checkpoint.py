"""Checkpoints of a run: folders that are whole or absent, newest last.

    sft-0123456789abcdef/step-000050/{state.safetensors, state.json}

A folder is written under a temporary name, synced and renamed; ``state.json`` holds the digest of
the tensors, so a damaged one is passed over for the one before. Nothing is ever unpickled.
"""

import json
import logging
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from learner.model_folder import file_sha256
from learner.phases.protocol import PhaseError
from storage.files import sync, sync_all

log = logging.getLogger(__name__)

FORMAT = 1
KEPT = 2
"""Newest checkpoints kept: were the last damaged, the run would go on from the one before."""

_TENSORS, _VALUES, _TEMPORARY = "state.safetensors", "state.json", ".tmp-"
_NAME = re.compile(r"step-(\d{6,})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    step: int
    """Steps taken."""
    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]


class Checkpoints:
    """The checkpoints of one run, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, checkpoint: Checkpoint, *, keep: int | None) -> None:
        """Write one, then delete older ones, but for the newest few and that of step ``keep``.

        Raises PhaseError where there is no room for it, or no right to write.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            draft = Path(mkdtemp(prefix=_TEMPORARY, dir=self.folder))
            try:
                self._fill(draft, checkpoint)
                final = self._place(checkpoint.step)
                if final.exists():  # the steps since an older one were taken again
                    shutil.rmtree(final)
                draft.rename(final)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                raise
            sync(self.folder)
            self._prune(keep)
        except (OSError, SafetensorError) as error:
            why = getattr(error, "strerror", None) or error
            raise PhaseError(
                f"The checkpoint of step {checkpoint.step} cannot be written to {self.folder} "
                f"({why}): make room there, and the same command goes on from the one before."
            ) from error

    def _fill(self, draft: Path, checkpoint: Checkpoint) -> None:
        tensors = {name: t.detach().cpu().contiguous() for name, t in checkpoint.tensors.items()}
        save_file(tensors, draft / _TENSORS)
        said = {
            "format": FORMAT,
            "sha256": file_sha256(draft / _TENSORS),
            "values": dict(checkpoint.values),
        }
        text = json.dumps(said, allow_nan=False)
        (draft / _VALUES).write_text(text, encoding="utf-8")
        sync_all(draft)

    def newest(self) -> Checkpoint | None:
        """The newest whole one, None if there is none."""
        for step in sorted(self._steps(), reverse=True):
            if (found := self.read(step)) is not None:
                return found
        return None

    def read(self, step: int) -> Checkpoint | None:
        """That of ``step``, None where it is missing or damaged."""
        place = self._place(step)
        try:
            said = json.loads((place / _VALUES).read_text(encoding="utf-8"))
            whole = said["format"] == FORMAT and said["sha256"] == file_sha256(place / _TENSORS)
            tensors = load_file(place / _TENSORS) if whole else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            log.warning("The checkpoint %s is damaged and passed over: %s", place, error)
            return None
        if tensors is None:
            log.warning("The checkpoint %s is not what was written: passed over", place)
            return None
        return Checkpoint(step=step, tensors=tensors, values=said["values"])

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _place(self, step: int) -> Path:
        return self.folder / f"step-{step:06d}"

    def _steps(self) -> list[int]:
        if not self.folder.is_dir():
            return []
        matches = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return [int(match[1]) for match in matches if match]

    def _prune(self, keep: int | None) -> None:
        kept = {*sorted(self._steps())[-KEPT:], keep}
        for step in set(self._steps()) - kept:
            shutil.rmtree(self._place(step))
        for leftover in self.folder.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(leftover)
