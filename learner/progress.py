"""What the learner says of itself while it works: a small file, replaced atomically.

The app reads it whenever it likes; nothing depends on it, and a missing one means nothing was said.
"""

import json
import logging
import os
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

log = logging.getLogger(__name__)


class LearnerState(StrEnum):
    IDLE = "idle"
    LEARNING = "learning"
    FAILED = "failed"
    """The last round failed; the next one tries again."""
    PAUSED = "paused"
    """Given up after too many failures, until the next start."""
    HELD = "held"
    """Somebody wants no lesson for now (``learner/control.py``)."""


def write_progress(
    path: Path, state: LearnerState, *, number: int | None = None, detail: str = ""
) -> None:
    """Say it; ``number`` is the round's, ``detail`` one sentence for people.

    Where the disk refuses it is left unsaid, and logged: a full disk must not end learning.
    """
    said = {
        "state": state.value,
        "round": number,
        "detail": detail,
        "at": datetime.now(UTC).isoformat(),
    }
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(said), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        log.warning("The learner's progress could not be told (%s).", error)
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
