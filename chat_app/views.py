"""What a page draws, as plain values. Made by the service, read by ``chat_app/ui*.py`` only."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from chat_app.progress import LearnerStatus
from storage.dialogues import Demonstration
from storage.receipts import Answered
from storage.records import (
    Candidate,
    CandidateId,
    Comparison,
    Conversation,
    Label,
    Note,
    PolicyVersionId,
    RoundStatus,
    Thumb,
    Turn,
    TurnId,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which of several is shown, counted from 1."""

    number: int = 1
    of: int = 1
    before: TurnId | None = None
    """The turn to show for the one before this; None at the first."""
    after: TurnId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationView:
    """One conversation as it is now. At most one of question, running and interrupted holds."""

    conversation: Conversation
    mark: str
    """What a page drawn from this has seen (``Revisions``)."""
    instructions: str
    """What the system was told before the first message, may be empty."""
    turns: tuple[Turn, ...]
    """Messages and replies, oldest first, without the instructions.

    They end with a message while a reply to it is being written, be it in the place of another."""
    replies: Place
    """Which of the replies to the last message is shown."""
    branches: Place
    """Which branch of the conversation is shown."""
    thumbs: Mapping[TurnId, Thumb]
    labels: Mapping[TurnId, tuple[Label, ...]]
    """What is marked in the replies among ``turns``; one without a label is left out."""
    answers: Mapping[TurnId, Answered]
    """The choice, or the person's own text, that led to a reply among ``turns``."""
    note: Note
    """What was added to the choice that led to the last reply."""
    written: Mapping[CandidateId, Candidate]
    """How the replies among ``turns`` came about: by whom, and how they ended."""
    suggestion: Candidate | None
    """In a teaching chat: what the policy would say to the last message."""
    example: Demonstration | None
    """The finished dialogue that a teaching chat is, which may end before its last message."""
    question: Comparison | None
    running: bool
    interrupted: bool
    """The last message has no reply, and none is being written."""
    failed: str | None
    """Why the newest try at a reply failed, as a sentence, where this server knows."""
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
class DeletionView:
    """What deleting a conversation would take away."""

    title: str
    messages: int
    choices: int
    """Answers there, whatever the choice."""
    versions: tuple[int, ...]
    """Versions that learned from it, or after it."""
