"""The curves of a phase go to whoever watches it."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from learner.phases.watchers import TensorBoardWatcher


class Writer:
    """Notes what is written, in place of TensorBoard's own, which need not be installed."""

    def __init__(self, log_dir: str, purge_step: int) -> None:
        self.folder, self.purged = Path(log_dir), purge_step
        self.scalars: list[tuple[str, float, int]] = []
        self.said: list[tuple[str, str]] = []
        self.closed = False
        self.add_scalar = lambda *scalar: self.scalars.append(scalar)
        self.add_text = lambda *text: self.said.append(text)

    def close(self) -> None:
        self.closed = True


def test_curves_are_written_for_tensorboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Writer] = []

    def open_writer(**given: object) -> Writer:
        made.append(Writer(**given))
        return made[-1]

    module = SimpleNamespace(SummaryWriter=open_writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    watcher = TensorBoardWatcher(tmp_path)
    watcher.began("sft", 3, 10)
    watcher.noted("two are left out")
    watcher.stepped(4, {"loss": 1.5})
    watcher.measured(5, {"held_out_loss": 2.0})
    watcher.ended("kept")
    watcher.close()
    [writer] = made
    assert writer.folder == tmp_path / "sft"
    assert writer.purged == 4  # what was written after the checkpoint is taken again
    assert writer.scalars == [("loss", 1.5, 4), ("held_out_loss", 2.0, 5)]
    assert writer.said == [("data", "two are left out"), ("result", "kept")] and writer.closed
