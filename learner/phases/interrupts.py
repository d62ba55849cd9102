"""Ctrl+C during a run: an end between two steps, from which the same command goes on."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from learner.phases.protocol import PhaseError


class InterruptedPhaseError(PhaseError):
    """Ctrl+C; the text says how to go on."""


@contextmanager
def interrupts() -> Generator[threading.Event]:
    """Ctrl+C asks for an end between two steps; a second one ends at once."""
    wanted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield wanted  # signals reach the main thread alone
        return
    before = signal.getsignal(signal.SIGINT)

    def ask(number: int, frame: FrameType | None) -> None:
        if wanted.is_set() and callable(before):
            before(number, frame)
        wanted.set()

    signal.signal(signal.SIGINT, ask)
    try:
        yield wanted
    finally:
        signal.signal(signal.SIGINT, before)
