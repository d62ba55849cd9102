"""The seams of the loop, on one page.

A protocol stands only where a second implementation exists or is planned; implementations fit and
do not inherit. Letters: N candidates, E ensemble members, T tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from threading import Event
from typing import Protocol, TypeVar, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from learner.config import AskConfig
from learner.early_pick import EarlyPick
from learner.styles import Style
from storage.records import (
    CandidatePool,
    Choice,
    Completion,
    Message,
    PolicyVersion,
    PolicyVersionId,
    Preference,
    Question,
    RatedReply,
    RoundReport,
    Sampling,
)
from storage.slates import Ranking
from storage.trends import AskDecision

Lesson_contra = TypeVar("Lesson_contra", contravariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPrompt:
    token_ids: tuple[int, ...]
    """Up to and with the generation prompt, ready for the first token of the reply."""
    dropped_messages: int
    """Oldest messages left out because the context was full."""


@runtime_checkable
class DecodingBatch(Protocol):
    """N candidates of one prompt decoding together, pinned to one policy version."""

    dropped_messages: int
    """Oldest messages that did not fit into the context."""

    @property
    def running(self) -> bool:
        """Whether any row still decodes."""
        ...

    def step(self) -> None:
        """Add one token to every running row."""
        ...

    def text(self, row: int) -> str:
        """The text of a row so far, never ending inside a character."""
        ...

    def lengths(self) -> list[int]:
        """Tokens of each row so far."""
        ...

    def done(self, row: int) -> bool: ...

    def drop(self, rows: Sequence[int]) -> None:
        """Stop decoding ``rows``; they stay as they are, ABORTED."""
        ...

    def completions(self) -> list[Completion]:
        """The rows as records; a running row is ABORTED."""
        ...


@runtime_checkable
class PolicyEngine(Protocol):
    """Decodes under one of several resident policy versions. Belongs to one thread."""

    @property
    def policy_version(self) -> PolicyVersionId: ...

    def load(self, version: PolicyVersion) -> None:
        """Make ``version`` speak from the next ``start`` on; running batches keep theirs.

        Raises AdapterError where its folder is broken; the engine then still speaks the old one.
        """
        ...

    def render(self, prompt: Sequence[Message], sampling: Sampling) -> RenderedPrompt:
        """As much of the conversation as fits beside a reply. Raises PromptTooLongError."""
        ...

    def start(
        self,
        prompt: Sequence[Message],
        n: int,
        sampling: Sampling,
        seed: int,
        styles: Sequence[Style] = (),
    ) -> DecodingBatch:
        """Prefill once and be ready to decode ``n`` candidates; row i draws from ``seed + i``.

        The last rows are told one of ``styles`` each.
        """
        ...

    def warm(self, prompt: Sequence[Message], sampling: Sampling, hurry: Event) -> None:
        """In an idle moment, do what the next turn of this conversation would wait for.

        Gives up early when ``hurry`` is set.
        """
        ...

    def start_many(
        self,
        prompts: Sequence[Sequence[Message]],
        n: int,
        sampling: Sampling,
        seeds: Sequence[int],
        styles: Sequence[Style] = (),
    ) -> DecodingBatch:
        """The same for several prompts; row ``i * n + j`` is candidate j of prompt i."""
        ...


@runtime_checkable
class FeatureExtractor(Protocol):
    """Features of the frozen base, adapters off, so that they do not drift as the policy learns."""

    def extract(
        self, prompt: Sequence[Message], completions: Sequence[Sequence[int]]
    ) -> Float[Tensor, "N D"]:
        """Mean-pooled hidden state of each completion's tokens, float32."""
        ...


@runtime_checkable
class RewardModel(Protocol):
    """Whatever says what replies are worth."""

    def score(
        self, prompt: Sequence[Message], completions: Sequence[Completion]
    ) -> Float[Tensor, "E N"]:
        """Rewards in logits; only differences within one prompt mean anything."""
        ...


@runtime_checkable
class RewardEnsemble(RewardModel, Protocol):
    """A reward model that learns from picks."""

    def fit(self, preferences: Sequence[Preference]) -> dict[str, float]: ...


class Stage(StrEnum):
    WAITING = "waiting"
    """Another reply is being written."""
    DRAFTING = "drafting"
    """Candidates are drafted unseen; it is not yet decided what is shown."""
    STREAMING = "streaming"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a person may see right now: one text, or the two of a pair."""

    stage: Stage
    texts: tuple[str, ...] = ()
    drafted_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyPlan:
    """What came of one message: the reply or the pair that is shown, and the way to the rest."""

    shown: tuple[Completion, ...]
    """One reply, or the two of a pair in the order shown."""
    question: Question | None
    """Set exactly where two are shown."""
    finish_others: Callable[[Event], tuple[Completion, ...]]
    """Decode the candidates that are not shown to their end, for the learner; call it once, on the
    same thread, after the shown ones are stored. Returns early, with ABORTED rows, when the event
    is set because somebody waits."""
    dropped_messages: int = 0
    picked: Choice | None = None
    """FIRST or SECOND where the person chose while the pair was written; the other one is cut."""

    def __post_init__(self) -> None:
        if len(self.shown) != (1 if self.question is None else 2):
            raise ValueError(f"{len(self.shown)} replies shown, question: {self.question}")
        if self.picked is not None and self.question is None:
            raise ValueError(f"{self.picked.value} was picked, and nothing was asked")


@runtime_checkable
class ReplyMaker(Protocol):
    """Samples, scores, decides whether to ask; runs on the model thread."""

    def reply(
        self,
        prompt: Sequence[Message],
        version: PolicyVersion,
        seed: int,
        emit: Callable[[Draft], None],
        cancel: Event,
        *,
        may_ask: bool = True,
        early: EarlyPick | None = None,
        rival: PolicyVersion | None = None,
    ) -> ReplyPlan:
        """Write a reply or a pair, emitting drafts; on cancel one reply, ABORTED, and no question.

        ``prompt`` ends with a user message. ``may_ask`` off: one reply, whatever the judges think.
        What ``early`` is told while a pair is written counts at once: the reply that is chosen runs
        on alone, the others are left as they are; SKIP asks nothing. A question may set ``version``
        against its ``rival``, an earlier one. Raises AdapterError where a version can't be loaded.
        """
        ...

    def go_on(
        self,
        prompt: Sequence[Message],
        begun: str,
        version: PolicyVersion,
        seed: int,
        emit: Callable[[Draft], None],
        cancel: Event,
    ) -> ReplyPlan:
        """Write on where a reply to ``prompt`` was cut off; the plan shows the whole of it.

        ``begun`` is not empty. Raises AdapterError and PromptTooLongError.
        """
        ...

    def written(self, prompt: Sequence[Message], text: str, version: PolicyVersion) -> Completion:
        """A person's reply to ``prompt`` as if ``version`` had said it: tokens, log-probabilities,
        features and rewards. Raises AdapterError and PromptTooLongError."""
        ...

    def several(
        self,
        prompt: Sequence[Message],
        version: PolicyVersion,
        n: int,
        seed: int,
        emit: Callable[[Draft], None],
        cancel: Event,
    ) -> tuple[Completion, ...]:
        """Up to ``n`` whole replies of different words, with features and rewards, for a person to
        put in order; none on cancel. Raises AdapterError and PromptTooLongError."""
        ...

    def prepare(self, version: PolicyVersion, prompt: Sequence[Message], hurry: Event) -> None:
        """Be ready for ``version`` and the next turn of ``prompt``; give up when ``hurry`` is set.

        Raises AdapterError where ``version`` can't be loaded.
        """
        ...

    def compare(
        self,
        prompt: Sequence[Message],
        versions: tuple[PolicyVersion, PolicyVersion],
        seed: int,
        emit: Callable[[Draft], None],
        cancel: Event,
        *,
        early: EarlyPick | None = None,
    ) -> ReplyPlan:
        """Both versions reply under the same seed, in an order drawn from it; a question, unless
        cancelled or skipped. Raises AdapterError where one of them can't be loaded."""
        ...

    def configure(self, ask: AskConfig, sampling: Sampling) -> None:
        """Write with these settings from the next reply on."""
        ...

    def taste(self) -> dict[str, float]:
        """What was learned of the person's taste: the mean weight of each style feature, in
        logits per typical difference; empty where nothing is learned. Any thread may ask."""
        ...

    def resume(self, decisions: Sequence[AskDecision], pools: Sequence[CandidatePool]) -> None:
        """Take up again where an earlier process left off, before the first reply and refit.

        ``decisions`` are the latest ones whether to ask, ``pools`` the latest candidates, both
        oldest first.
        """
        ...

    def refit(
        self,
        preferences: Sequence[Preference],
        rated: Sequence[RatedReply] = (),
        rankings: Sequence[Ranking] = (),
    ) -> dict[str, float]:
        """Refit the reward ensemble on all live picks, thumbs and rankings; returns metrics."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    accepted: bool
    reason: str
    metrics: dict[str, float]
    drift: float = 0.0
    """Distance from the base in units of what is allowed: above one, a limit on it is broken."""


@runtime_checkable
class UpdateRule(Protocol[Lesson_contra]):
    """Turns a lesson into a new adapter, which stays in training until ``close``."""

    name: str

    def update(self, parent: PolicyVersion, lesson: Lesson_contra, seed: int) -> dict[str, float]:
        """Train a copy of ``parent``; returns metrics. Raises FloatingPointError."""
        ...

    def start_afresh(self) -> None:
        """The next update takes no optimizer moments from its parent."""
        ...

    def shorten(self, share: float) -> None:
        """Leave this share of the step from the parent."""
        ...

    def pull_in(self, share: float) -> None:
        """Leave this share of the adapter's distance to the base."""
        ...

    def save(self, folder: Path) -> None:
        """Write the adapter in training, and what the next round goes on from."""
        ...

    def close(self) -> None:
        """Forget the adapter in training."""
        ...


@runtime_checkable
class Learner(Protocol):
    def step(self, at_least: int | None = None) -> RoundReport | None:
        """One round if enough new picks wait, or ``at_least`` so many, else None."""
        ...
