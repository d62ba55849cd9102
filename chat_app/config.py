"""Settings of the chat service: frozen, keyword-only, validated. ``app.py`` builds them."""

from dataclasses import dataclass

from learner.config import RESUMED


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig:
    model_name: str
    """How the page names the base model."""
    max_message_chars: int = 8000
    """Longer messages are refused with a sentence; the page keeps the text."""
    min_preferences: int = 4
    """New decided picks that start a lesson; only told to the person, the learner decides."""
    candidates: int = 4
    """Replies drafted for a message; only told to the person, the reply maker decides."""
    harm_threshold: float = 50.0
    """Evidence against the live version at which an earlier one speaks again by itself: without
    harm it would be reached once in at least so many blind comparisons."""
    keep_versions: bool = False
    """Whether old versions stay on disk; else fewer and fewer of them (storage/pruning.py)."""
    seed: int = 0
    """All replies follow from it, from the user message and from the number of the attempt."""
    resumed: int = RESUMED
    """Newest messages whose candidates and questions are looked at again after a restart."""
    collect_every_s: float = 1.0
    """Pause between two looks for finished rounds of the learner; 0 leaves it to
    ``ChatService.collect_now``."""

    def __post_init__(self) -> None:
        if self.max_message_chars < 1:
            raise ValueError(f"max_message_chars must be positive, got {self.max_message_chars}")
        if self.min_preferences < 1:
            raise ValueError(f"min_preferences must be positive, got {self.min_preferences}")
        if self.collect_every_s < 0:
            raise ValueError(f"collect_every_s must not be negative, got {self.collect_every_s}")
