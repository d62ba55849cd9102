"""What a page draws, as plain values. Made by the service, read by ``chat_app/ui*.py`` only."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from chat_app.progress import LearnerStatus
from storage.records import (
    CandidateId,
    Comparison,
    Completion,
    Conversation,
    PolicyVersionId,
    RoundStatus,
    Turn,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationView:
    """One conversation as it is now. At most one of question, running and interrupted holds."""

    conversation: Conversation
    turns: tuple[Turn, ...]
    written: Mapping[CandidateId, Completion]
    """How the replies among ``turns`` came about: by which version, and how they ended."""
    question: Comparison | None
    running: bool
    interrupted: bool
    """The last message has no reply, and none is being written."""
    failed: str | None
    """Why it has none, as a sentence, where this server knows."""
    notices: tuple[str, ...]
    """What is worth knowing about the last reply, one sentence each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The state of the loop in a few numbers."""

    model_name: str
    live: PolicyVersionId
    live_created_at: datetime
    picks: int
    """Choices that named a better reply."""
    waiting: int
    """Those of them that no version has learned from yet."""
    missing: int
    """How many more choices start the next lesson; 0 where one is due."""
    replies: int
    asked: int
    learner: LearnerStatus | None
    """None where no learner runs beside this chat."""

    @property
    def asked_share(self) -> float | None:
        """Questions per reply, None before the first reply."""
        return self.asked / self.replies if self.replies else None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionView:
    id: PolicyVersionId
    parent: PolicyVersionId | None
    created_at: datetime
    live: bool
    servable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundView:
    """One lesson. A measure is None where the round did not take it."""

    number: int
    status: RoundStatus
    reason: str
    picks: int
    seconds: float
    kl_per_token: float | None
    """From the base model, in nats."""
    mean_length_tokens: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedPoint:
    """After so many of the replies on show, the share of them that a question led to."""

    replies: int
    asked_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeseenPoint:
    """After so many picks, the share of the newest ones that the judges had foreseen."""

    picks: int
    foreseen_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningReport:
    learned: int
    """Picks that the live version has learned from."""
    rounds: tuple[RoundView, ...]
    """Oldest first."""
    versions: tuple[VersionView, ...]
    """Newest first, the base last."""
    asked: tuple[AskedPoint, ...]
    foreseen: tuple[ForeseenPoint, ...]
