"""The learner's own process: idle priority, polls the log, never disturbs the chat.

Nothing but rows and folders crosses between the app and this process. It is spawned (a fork would
inherit open databases and OpenMP threads), asks for idle priority before torch starts a thread,
leaves when its parent is gone, and is started again with growing pauses if it dies. Killing it at
any moment loses at most the round in progress.
"""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from learner.control import LearnerControl
from learner.progress import LearnerState, write_progress
from learner.protocols import Learner
from storage.errors import BusyError, DiskError

log = logging.getLogger(__name__)

STOP_WITHIN_S = 2.0
"""A round in progress takes longer, and is lost either way."""
MAX_BACK_OFF_S = 10.0
DISK_REST_S = 300.0
"""After a disk refused a finished lesson: it would refuse the next one, too, until somebody has
seen to it, and each costs the work of minutes."""
DEATHS_WITHIN_S = 600.0
"""Deaths older than this no longer count: they had other causes."""

# OpenMP threads that spin at a barrier would burn the cores that decoding needs.
_PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often the child looks, and how long it bears failure."""

    poll_s: float
    max_failures: int
    back_off_s: float

    def pause_s(self, failures: int) -> float:
        return self.poll_s if failures == 0 else doubled(self.back_off_s, failures)


def doubled(back_off_s: float, failures: int) -> float:
    """Seconds to wait after so many failures."""
    return min(back_off_s * 2 ** (failures - 1), MAX_BACK_OFF_S)


def lower_priority() -> None:
    """Run only where nobody else wants the processor. Threads started later inherit it."""
    if hasattr(os, "SCHED_IDLE"):  # Linux only
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(19)


class LearnerProcess:
    """Starts the process, watches it, starts it again. Owned by the app."""

    def __init__(
        self,
        build: Callable[[], Learner],
        progress_path: Path,
        *,
        control: LearnerControl | None = None,
        poll_s: float = 0.5,
        max_failures: int = 3,
        back_off_s: float = 2.0,
        log_level: int = logging.INFO,
    ) -> None:
        """``build`` is pickled, and called in the child: it opens the reader and the models.

        ``control`` None lies beside ``progress_path``, in the data folder.
        After ``max_failures`` failed rounds in a row, or as many deaths within ten minutes, it
        pauses. ``back_off_s`` is the first wait after a failure; each further one doubles it.
        """
        self._build = build
        self._progress_path = progress_path
        self._control = control or LearnerControl(progress_path.parent)
        self._poll_s = poll_s
        self._max_failures = max_failures
        self._back_off_s = back_off_s
        self._log_level = log_level
        self._context = multiprocessing.get_context("spawn")
        # A pipe for each child, not a shared event: whoever sets an event waits for the sleepers
        # to wake, and a killed one never does.
        self._line: Connection | None = None
        self._stopping = threading.Event()
        self._process: multiprocessing.process.BaseProcess | None = None
        self._watcher = threading.Thread(target=self._watch, name="learner-watch", daemon=True)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.is_alive()

    def start(self) -> None:
        self._spawn()
        self._watcher.start()

    def revive(self) -> None:
        """Start it again where it has given up; nothing where it runs."""
        if not self.alive and not self._watcher.is_alive():
            self._watcher = threading.Thread(target=self._watch, name="learner-watch", daemon=True)
            self.start()

    def stop(self) -> None:
        """Ask it to leave, then make it; a round in progress is lost, its picks are not."""
        self._stopping.set()
        if self._line is not None:
            self._line.close()
        if self._process is not None:
            self._process.join(STOP_WITHIN_S)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()
        self._watcher.join()

    def _spawn(self) -> None:
        pace = Pace(
            poll_s=self._poll_s, max_failures=self._max_failures, back_off_s=self._back_off_s
        )
        line, child_end = self._context.Pipe()
        process = self._context.Process(
            target=main,
            args=(self._build, self._progress_path, child_end, pace, self._control),
            kwargs={"log_level": self._log_level},
            name="twofold-learner",
            daemon=True,
        )
        before = {key: os.environ.get(key) for key in _PASSIVE}
        os.environ.update(_PASSIVE)  # read when the child loads OpenMP; this process already has
        try:
            process.start()
        finally:
            for key, value in before.items():
                if value is None:
                    del os.environ[key]
                else:
                    os.environ[key] = value
        child_end.close()
        if self._line is not None:
            self._line.close()
        self._process, self._line = process, line

    def _watch(self) -> None:
        deaths: list[float] = []
        while not self._stopping.is_set():
            process = self._process
            if process is None:
                return
            process.join(timeout=0.5)
            if process.is_alive() or self._stopping.is_set():
                continue
            if process.exitcode == 0:
                return  # it paused by itself, and said so
            now = time.monotonic()
            deaths = [*(at for at in deaths if now - at < DEATHS_WITHIN_S), now]
            log.warning("the learner process died (exit code %s)", process.exitcode)
            if len(deaths) >= self._max_failures:
                write_progress(
                    self._progress_path,
                    LearnerState.PAUSED,
                    detail="The learner died too often. Restart twofold to try again.",
                )
                return
            if not self._stopping.wait(doubled(self._back_off_s, len(deaths))):
                try:
                    self._spawn()
                except OSError:  # no memory or no process left: a death like any other
                    log.exception("the learner process could not be started again")


def main(
    build: Callable[[], Learner],
    progress_path: Path,
    line: Connection,
    pace: Pace,
    control: LearnerControl,
    *,
    log_level: int,
) -> None:
    """The child's main: out of everybody's way, then ``run``."""
    lower_priority()
    leave_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C goes to all; the app ends this process
    logging.basicConfig(level=log_level, format="learner: %(message)s")
    run(build, progress_path, line, pace, control)


def run(
    build: Callable[[], Learner],
    progress_path: Path,
    line: Connection,
    pace: Pace,
    control: LearnerControl,
) -> None:
    """Build, then step until told to stop."""
    learner = build()
    failures = 0
    rests_until = 0.0
    write_progress(progress_path, LearnerState.IDLE)
    held = False
    while not line.poll(pace.pause_s(failures)):  # the app hangs up to end it
        reason = control.paused
        if held != (reason is not None):
            held = not held
            state = LearnerState.HELD if held else LearnerState.IDLE
            write_progress(progress_path, state, detail=reason or "")
        wish = control.wish
        if held or (wish is None and time.monotonic() < rests_until):
            continue
        try:
            report = learner.step() if wish is None else learner.step(1)
        except (BusyError, DiskError) as error:  # no fault of the lesson's: it never gives up
            log.exception("a round could not be kept")
            control.grant(wish)  # or it would be tried again at once
            rests_until = time.monotonic() + DISK_REST_S
            told = f"The last lesson failed: {error} It is tried again in a few minutes."
            write_progress(progress_path, LearnerState.FAILED, detail=told)
            continue
        except Exception as error:  # the one place: a failed round must not end learning
            failures += 1
            log.exception("a round failed")
            gave_up = failures >= pace.max_failures
            state = LearnerState.PAUSED if gave_up else LearnerState.FAILED
            write_progress(progress_path, state, detail=f"The last lesson failed: {error}")
            if gave_up:
                return
            continue
        if report is not None:
            failures = 0
            control.grant(wish)
            write_progress(
                progress_path, LearnerState.IDLE, number=report.number, detail=report.reason
            )


def leave_with_parent() -> None:
    """End this process at once when the one that started it is gone, however hard it went."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
