"""The folder a run leaves: ``summary.json``, ``curve.png``, and the data folder of the chat.

``summary.json`` is replaced after each checkpoint, so a run that was cut off still has its curve.
It goes on where it stopped if it is started again with the same configuration; a finished one is
left alone, and any other content is refused.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chat_app.simulate.checkpoint import Checkpoint
from chat_app.simulate.errors import SimulationError

SUMMARY = "summary.json"


class RunFolder:
    """``config`` is plain JSON; two runs are the same where it is equal."""

    def __init__(self, root: Path, config: dict[str, Any]) -> None:
        self.data = root / "data"
        self.curve = root / "curve.png"
        self._root = root
        self._config = config
        self.checkpoints: list[Checkpoint] = []
        """Measured so far, those of an earlier start included."""

    def claim(self) -> bool:
        """Make the folder ready for a run; False where this very run is in it, finished.

        Raises SimulationError where it holds anything else.
        """
        if self._root.is_dir() and any(self._root.iterdir()):
            rows = self._earlier_summary()["checkpoints"]
            self.checkpoints = [Checkpoint(**row) for row in rows]
            if self.checkpoints and self.checkpoints[-1].turn == self._config["turns"]:
                return False
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            self._write()
        except OSError as error:
            raise SimulationError(f"{self._root} cannot be written ({error.strerror}).") from error
        return True

    def add(self, checkpoint: Checkpoint) -> None:
        """Append a checkpoint and replace the summary in one step."""
        self.checkpoints.append(checkpoint)
        self._write()

    def _earlier_summary(self) -> dict[str, Any]:
        """The summary of a run with our configuration, or SimulationError."""
        try:
            summary = json.loads((self._root / SUMMARY).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SimulationError(
                f"{self._root} is not empty and holds no simulation: choose another --out."
            ) from error
        if summary["config"] != self._config:
            raise SimulationError(
                f"{self._root} holds a run with other settings: choose another --out."
            )
        return summary

    def _write(self) -> None:
        path = self._root / SUMMARY
        temporary = path.with_suffix(".tmp")
        checkpoints = [asdict(checkpoint) for checkpoint in self.checkpoints]
        summary = {"config": self._config, "checkpoints": checkpoints}
        temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)
