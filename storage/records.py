"""The values twofold keeps: frozen, plain, checked on construction.

No SQL and no tensors live here, so every other module may speak this language. Ids are
``NewType``s, so that a candidate's id is refused where a comparison's is wanted. ``first`` and
``second`` always mean the order in which a pair was *shown*; that is what makes a position bias
measurable afterwards.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import NewType

from storage.checks import check_whole

UserId = NewType("UserId", str)
ConversationId = NewType("ConversationId", int)
TurnId = NewType("TurnId", int)
CandidateId = NewType("CandidateId", int)
ComparisonId = NewType("ComparisonId", int)
PreferenceId = NewType("PreferenceId", int)
PolicyVersionId = NewType("PolicyVersionId", int)

BASE_VERSION = PolicyVersionId(0)
"""The base model, without an adapter. Always there, always servable."""

LOCAL_USER = UserId("local-person")
"""The one person of an installation without accounts; the schema creates the row."""


class Role(StrEnum):
    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class FinishReason(StrEnum):
    STOP = "stop"
    """The policy ended the reply itself."""
    LENGTH = "length"
    """``max_new_tokens`` was reached."""
    ABORTED = "aborted"
    """The person stopped it, or the process ended."""
    ERROR = "error"


class TurnState(StrEnum):
    FINAL = "final"
    ABORTED = "aborted"


class Purpose(StrEnum):
    """What a conversation is for; fixed when it starts."""

    CHAT = "chat"
    RANKING = "ranking"
    """It holds a message whose answers are ranked, and is in no list of chats."""
    TEACHING = "teaching"
    """The person writes both sides: a demonstration."""


class AskReason(StrEnum):
    BURN_IN = "burn_in"
    """Too few answers to be sure of anything: at first, or since taste seems to have changed."""
    UNCERTAIN = "uncertain"
    """The ensemble disagrees about which reply is better."""
    RANDOM = "random"
    """The small random share: unbiased data for calibration and win rates."""
    ALWAYS = "always"
    """Asking was set to always."""
    DUEL = "duel"
    """A small share of questions sets the live version against an earlier one, blind: does learning
    do good?"""
    COMPARE = "compare"
    """The person let two versions reply, without being told which is which."""
    IMPORTED = "imported"
    """The pair and its answer came out of a file; nobody was asked here."""
    EDITED = "edited"
    """The person rewrote a reply: theirs is better than what it was. Nobody was asked."""
    WRITTEN = "written"
    """The person wrote a better reply than both of a pair. Nobody was asked."""

    @property
    def asked(self) -> bool:
        """Whether the pair was put before the person as a question."""
        return self not in (AskReason.IMPORTED, AskReason.EDITED, AskReason.WRITTEN)


class Author(StrEnum):
    POLICY = "policy"
    PERSON = "person"


class Thumb(StrEnum):
    UP = "up"
    DOWN = "down"
    NONE = "none"
    """Taken back."""


class Label(StrEnum):
    """What is wrong with one reply, whatever it is compared with. Several may hold at once."""

    UNSAFE = "unsafe"
    PRIVATE_DATA = "private_data"
    WRONG_LANGUAGE = "wrong_language"
    WRONG_FACTS = "wrong_facts"
    OFF_TOPIC = "off_topic"
    UNHELPFUL = "unhelpful"


class LabelSource(StrEnum):
    """Where a label was said."""

    PERSON = "person"
    """On the page of this installation."""
    IMPORTED = "imported"
    """In a file."""


class Strength(StrEnum):
    SLIGHTLY = "slightly"
    CLEARLY = "clearly"


class Choice(StrEnum):
    FIRST = "first"
    SECOND = "second"
    TIE = "tie"
    BOTH_BAD = "both_bad"
    SKIP = "skip"
    WITHDRAWN = "withdrawn"
    """Undo: a new row, nothing is deleted."""


class RoundStatus(StrEnum):
    ACCEPTED = "accepted"
    """The gate let the new version through."""
    REFUSED = "refused"
    """The gate said no; the round is kept, its picks come back with the next one."""
    FAILED = "failed"
    """An exception ended the round; nothing counts as attempted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    id: ConversationId
    key: str
    """Unguessable and url-safe; names the conversation in the page's address."""
    title: str
    """The start of the first message until it is renamed; empty before there is one."""
    started_at: datetime
    learn: bool
    held_out: bool
    """Fixed at creation by a hash of the key: held-out answers measure, they never train."""
    purpose: Purpose = Purpose.CHAT
    temporary: bool = False
    """Kept only as long as its page is open, then erased with the salt of its digests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message of a conversation's tree; siblings share a parent."""

    id: TurnId
    conversation_id: ConversationId
    parent_id: TurnId | None
    message: Message
    state: TurnState
    candidate_id: "CandidateId | None"
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a completion was drawn. ``temperature`` 0 means greedy."""

    temperature: float = 0.8
    top_k: int = 50
    top_p: float = 0.95
    max_new_tokens: int = 128

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature <= 5.0:
            raise ValueError(f"temperature must lie in [0, 5], got {self.temperature}")
        check_whole("top_k", self.top_k, 1)
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p must lie in (0, 1], got {self.top_p}")
        check_whole("max_new_tokens", self.max_new_tokens, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One sampled answer with all that is needed to score it again later.

    ``token_ids`` exclude the end-of-sequence token; ``logprobs`` are in nats, one per token, under
    the *sampling policy's* untempered distribution. ``feature`` is the frozen base model's pooled
    hidden state as little-endian float16 bytes, None while not computed.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    policy_version: PolicyVersionId
    seed: int
    sampling: Sampling
    feature: bytes | None = None
    reward_mean: float | None = None
    """Ensemble mean at generation time, a logit."""
    reward_std: float | None = None
    style: str | None = None
    """Name of the hidden style instruction that it was sampled under, if any."""

    def __post_init__(self) -> None:
        if len(self.token_ids) != len(self.logprobs):
            raise ValueError(
                f"{len(self.token_ids)} token ids but {len(self.logprobs)} log-probabilities"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A stored completion. One that a person wrote has no tokens until the model has read it."""

    id: CandidateId
    prompt_turn_id: TurnId
    completion: Completion
    author: Author = Author.POLICY


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedReply:
    """A reply with a thumb that counts, and what it replied to."""

    prompt: tuple[Message, ...]
    completion: Completion
    thumb: Thumb
    """UP or DOWN."""
    rated_at: datetime
    held_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledReply:
    """A reply with labels that count, and what it replied to."""

    prompt: tuple[Message, ...]
    completion: Completion
    labels: tuple[Label, ...]
    source: LabelSource
    labelled_at: datetime
    held_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Why a pair was worth asking about, decided before the person saw it."""

    reason: AskReason
    propensity: float
    """P(ask) times P(this pair | ask), for unbiased estimates from logged picks."""
    disagreement: float
    """Standard deviation over the ensemble of P(first is better)."""
    first_better_prob: float
    """The ensemble's mean P(first is better)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A pair as shown to one person."""

    id: ComparisonId
    token: str
    """Unguessable; all that the page sends back besides the choice."""
    conversation_id: ConversationId
    prompt_turn_id: TurnId
    prompt: tuple[Message, ...]
    """The messages before the reply, oldest first."""
    first: Candidate
    second: Candidate
    question: Question
    asked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """A person's answer to a comparison: the newest one counts."""

    id: PreferenceId
    comparison: Comparison
    choice: Choice
    decision_ms: int
    decided_at: datetime

    @property
    def chosen(self) -> Candidate | None:
        """The better reply, or None where no winner was named."""
        if self.choice is Choice.FIRST:
            return self.comparison.first
        return self.comparison.second if self.choice is Choice.SECOND else None

    @property
    def rejected(self) -> Candidate | None:
        """The worse reply, or None where no winner was named."""
        if self.choice is Choice.FIRST:
            return self.comparison.second
        return self.comparison.first if self.choice is Choice.SECOND else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the store answers to a choice, after COMMIT."""

    preference_id: PreferenceId
    choice: Choice
    already_saved: bool
    """True where the comparison had been answered before: ``choice`` is then the stored one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What a person added to an answer: how strongly, and why. All of it may be missing."""

    strength: Strength | None = None
    reasons: tuple[str, ...] = ()
    """Names out of a fixed list of the page."""
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidatePool:
    """All finished candidates of one user message, for pairs labelled by the reward model."""

    prompt_turn_id: TurnId
    prompt: tuple[Message, ...]
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyVersion:
    id: PolicyVersionId
    parent: PolicyVersionId | None
    adapter_path: Path | None
    """PEFT safetensors folder; None for the base."""
    created_at: datetime
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        if (self.id == BASE_VERSION) != (self.parent is None):
            raise ValueError(f"only the base has no parent, got version {self.id} of {self.parent}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundReport:
    """One pass of the learner, whatever came of it. A version takes its round's number."""

    number: int
    parent: PolicyVersionId
    status: RoundStatus
    preference_ids: tuple[PreferenceId, ...]
    """The picks this round trained on."""
    attempted_through: PreferenceId
    """The newest pick this round knew of; the next round waits for newer ones."""
    update_rule: str
    seed: int
    reason: str
    """Why it was accepted, refused or failed, for people."""
    metrics: Mapping[str, float]
    seconds: float
    goes_live: bool = True
    """Whether its version speaks as soon as it is recorded; else a person may choose it."""

    @property
    def version(self) -> PolicyVersionId | None:
        """The version this round made, None if it was refused or failed."""
        return PolicyVersionId(self.number) if self.status is RoundStatus.ACCEPTED else None
