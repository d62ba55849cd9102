"""The one thread on which every call into the model happens, one job after the other.

PyTorch modules and the active adapter are global mutable state, so replies and refits never
overlap. A job that does optional work at its end passes ``hurry`` to it: the event is set as long
as somebody waits for an urgent job, and such work then returns early.
"""

import logging
import sys
from collections import deque
from collections.abc import Callable
from threading import Condition, Event, Thread

log = logging.getLogger(__name__)

SWITCH_S = 0.0005
"""How long a thread may hold the interpreter while another waits for it. Every decoding step lets
go of it and takes it back; at Python's 5 ms a step of 3 ms could wait longer than it computes."""

LOOK_UP_S = 0.2
"""How often a wait looks up. A Ctrl+C that comes just before the main thread begins to wait, or
that the system hands to another thread, ends no wait: it is heard when the main thread runs."""


class ModelThread:
    """Runs submitted jobs in order. ``close`` finishes what was submitted, then ends the thread."""

    def __init__(self) -> None:
        sys.setswitchinterval(min(SWITCH_S, sys.getswitchinterval()))
        self.hurry = Event()
        self._waiting: deque[tuple[Callable[[], None], bool]] = deque()
        self._busy = False
        self._closing = False
        self._changed = Condition()
        self._thread = Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], None], *, urgent: bool) -> None:
        """Queue ``job``; an urgent one makes the optional work of the job before it end early."""
        with self._changed:
            if self._closing:
                raise RuntimeError("the model thread is closed")
            self._waiting.append((job, urgent))
            if urgent:
                self.hurry.set()
            self._changed.notify_all()

    def drain(self) -> None:
        """Block until every submitted job is done."""
        with self._changed:
            while not self._changed.wait_for(
                lambda: not self._waiting and not self._busy, timeout=LOOK_UP_S
            ):
                pass

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self.hurry.set()
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                job()
            except Exception:
                # Jobs keep their own failures for the page; whatever still gets here must not
                # end the thread, or every later reply would wait for ever.
                log.exception("A job on the model thread failed")

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if not self._waiting:
                return None
            job, _ = self._waiting.popleft()
            self._busy = True
            if not self._closing and not any(urgent for _, urgent in self._waiting):
                self.hurry.clear()
            return job
