"""What a person says of a pair that is still being written, handed to the thread that writes it."""

import time
from threading import Event

from storage.records import Choice

EARLY = (Choice.FIRST, Choice.SECOND, Choice.SKIP)
"""What can be said before both are whole; the other answers need two whole replies."""


class EarlyPick:
    """Set once, by any thread."""

    def __init__(self) -> None:
        self._choice = Choice.SKIP
        self._said = Event()
        self._shown_at: float | None = None
        self._said_at = 0.0

    def shown(self) -> None:
        """Both replies can be read from now on; only the first call counts."""
        if self._shown_at is None:
            self._shown_at = time.monotonic()

    def take(self, choice: Choice) -> None:
        """The first call counts. Raises ValueError for an answer that needs whole replies."""
        if choice not in EARLY:
            raise ValueError(f"{choice.value!r} needs both replies whole")
        if not self._said.is_set():
            self._choice, self._said_at = choice, time.monotonic()
            self._said.set()

    @property
    def choice(self) -> Choice | None:
        """None as long as nothing was said."""
        return self._choice if self._said.is_set() else None

    @property
    def decision_ms(self) -> int:
        """Milliseconds from the first words to the choice; 0 where one of the two is missing."""
        if self._shown_at is None or not self._said.is_set():
            return 0
        return max(0, round((self._said_at - self._shown_at) * 1000))
