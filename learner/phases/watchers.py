"""Who is told how a run goes: the terminal, and TensorBoard where it is installed."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from learner.phases.protocol import PhaseError

PLAIN_EVERY_S = 30.0
"""Between two lines where there is no terminal to draw a bar on."""


class TerminalWatcher:
    """A progress bar on standard error, and a line for each measurement."""

    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._progress: Progress | None = None
        self._said_at = clock()
        self._steps = 0
        self._kind = ""

    def began(self, kind: str, step: int, steps: int) -> None:
        self._kind, self._steps = kind, steps
        if step:
            self._console.print(
                f"{kind}: going on from step {step} of {steps}", highlight=False, soft_wrap=True
            )
        if not self._console.is_terminal:
            return
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task(kind, total=steps, completed=step, figures="")
        self._progress.start()

    def noted(self, line: str) -> None:
        self._console.print(f"{self._kind}: {line}", highlight=False, soft_wrap=True)

    def stepped(self, step: int, metrics: Mapping[str, float]) -> None:
        if self._progress is not None:
            self._progress.update(self._task, completed=step, figures=_figures(metrics))
        elif self._clock() - self._said_at >= PLAIN_EVERY_S:
            self._line(step, metrics)

    def measured(self, step: int, metrics: Mapping[str, float]) -> None:
        self._line(step, metrics)

    def ended(self, line: str) -> None:
        self.close()
        self.noted(line)

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()  # it hides the cursor
            self._progress = None

    def _line(self, step: int, metrics: Mapping[str, float]) -> None:
        self._said_at = self._clock()
        self._console.print(
            f"{self._kind} {step}/{self._steps}  {_figures(metrics)}",
            highlight=False,
            soft_wrap=True,
        )


class TensorBoardWatcher:
    """The same curves as in the database, for TensorBoard."""

    def __init__(self, folder: Path) -> None:
        """Raises PhaseError where tensorboard is not installed."""
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - optional
        except ImportError as error:
            raise PhaseError(
                "TensorBoard is not installed: run `pip install tensorboard`, or leave "
                "--tensorboard out; the curves are in the database anyway."
            ) from error
        self._open = SummaryWriter
        self._writer: Any = None
        self._folder = folder

    def began(self, kind: str, step: int, steps: int) -> None:  # noqa: ARG002
        # What an interrupted run wrote after its last checkpoint is taken again.
        self._writer = self._open(log_dir=str(self._folder / kind), purge_step=step + 1)

    def noted(self, line: str) -> None:
        self._writer.add_text("data", line)

    def stepped(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    measured = stepped

    def ended(self, line: str) -> None:
        self._writer.add_text("result", line)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _figures(metrics: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
