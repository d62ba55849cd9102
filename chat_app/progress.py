"""What the learner last said of itself (``learner/progress.py``), as the page shows it.

Nothing depends on it: a file that is missing, torn or of another twofold is a learner that has not
spoken yet.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from learner.progress import LearnerState


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerStatus:
    state: LearnerState
    round: int | None = None
    detail: str = ""
    """One sentence for people, may be empty."""


def no_learner() -> None:
    """The status of a chat without a learner, as in the demo."""


def read_progress(path: Path) -> LearnerStatus:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return LearnerStatus(
            state=LearnerState(said["state"]), round=said["round"], detail=said["detail"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return LearnerStatus(state=LearnerState.IDLE)
