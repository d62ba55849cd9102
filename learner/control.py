"""What a person wants of the learner: two small files in the data folder, which outlive both.

``learner.paused`` holds the reason as long as no round may start. ``learner.now`` asks for one
round from whatever picks there are; the learner takes it away once that round is left. A file is
there or not, so there is nothing to lock and nothing to tear. What cannot be noted, as on a full
disk, raises LearnerError.
"""

from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from learner.errors import LearnerError

BY_HAND = "You paused learning."


class LearnerControl:
    """``root`` is the data folder. The app writes, the learner's process reads."""

    def __init__(self, root: Path) -> None:
        self._paused = root / "learner.paused"
        self._now = root / "learner.now"

    @property
    def paused(self) -> str | None:
        """Why no round may start, as a sentence; None while they may."""
        try:
            return self._paused.read_text(encoding="utf-8") or BY_HAND
        except FileNotFoundError:
            return None

    def pause(self, reason: str = BY_HAND) -> None:
        temporary = self._paused.with_suffix(".tmp")
        with _noted(temporary):
            temporary.write_text(reason, encoding="utf-8")
            temporary.replace(self._paused)

    def resume(self) -> None:
        with _noted(self._paused):
            self._paused.unlink(missing_ok=True)

    def ask_for_a_lesson(self) -> None:
        """Wish for one round as soon as there is a pick to learn from."""
        with _noted(self._now):
            self._now.touch()

    @property
    def wanted(self) -> bool:
        """Whether such a wish waits."""
        return self.wish is not None

    @property
    def wish(self) -> int | None:
        """The one that waits, by its time in nanoseconds; None where there is none."""
        try:
            return self._now.stat().st_mtime_ns
        except FileNotFoundError:
            return None

    def grant(self, wish: int | None) -> None:
        """This wish was met; one that came since, perhaps with a pick of its own, stays."""
        if wish is not None and wish == self.wish:
            self._now.unlink(missing_ok=True)


@contextmanager
def _noted(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        if path.suffix == ".tmp":
            with suppress(OSError):
                path.unlink(missing_ok=True)
        raise LearnerError(
            f"{path.parent} cannot be written ({error.strerror}), so learning goes on as before: "
            "see to the disk."
        ) from error
