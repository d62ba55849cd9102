"""Two versions reply to one message, side by side, for a person who is not told which is which.

``compare`` is what a person asked for: both draw with the same seed, and which one is shown first
is drawn from it. ``duel`` is a question of an ordinary turn that sets the version that serves
against an earlier one. Both decode in turn, token by token, so that no pace betrays a version.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Event

import torch

from learner.acquisition import Opening
from learner.config import AskConfig
from learner.duplicates import near_duplicates
from learner.engine.local import ServingEngine
from learner.protocols import DecodingBatch, Draft, ReplyPlan, Stage
from learner.scorer import Scorer
from learner.viewer import Viewer
from storage.records import AskReason, Completion, Message, PolicyVersion, Question, Sampling

_ORDER = 1 << 41  # far from the seeds of the replies' own draws


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoReplies:
    """In the order shown."""

    completions: tuple[Completion, Completion]
    dropped_messages: int


class InStep:
    """Two batches decoded in step; what is read streams from the first one."""

    def __init__(self, leading: DecodingBatch, other: DecodingBatch) -> None:
        self._leading, self._other = leading, other

    @property
    def running(self) -> bool:
        return self._leading.running or self._other.running

    def step(self) -> None:
        for batch in (self._leading, self._other):
            if batch.running:
                batch.step()

    def text(self, row: int) -> str:
        return self._leading.text(row)

    def done(self, row: int) -> bool:
        return self._leading.done(row)


def compare(
    engine: ServingEngine,
    scorer: Scorer,
    prompt: Sequence[Message],
    versions: tuple[PolicyVersion, PolicyVersion],
    sampling: Sampling,
    seed: int,
    emit: Callable[[Draft], None],
    cancel: Event,
) -> ReplyPlan:
    """Always a question, unless cancelled. Raises AdapterLoadError and PromptTooLongError."""
    both = write_both(engine, prompt, versions, sampling, seed, emit, cancel)
    shown = tuple(scorer.scored(prompt, both.completions))
    if cancel.is_set():
        return _plan(shown[:1], None, both.dropped_messages)
    question = scorer.question(prompt, shown, AskReason.COMPARE, 1.0)
    return _plan(shown, question, both.dropped_messages)


def duel(
    engine: ServingEngine,
    scorer: Scorer,
    prompt: Sequence[Message],
    batch: DecodingBatch,
    opening: Opening,
    versions: tuple[PolicyVersion, PolicyVersion],
    viewer: Viewer,
    ask: AskConfig,
    sampling: Sampling,
    seed: int,
) -> ReplyPlan | None:
    """The live version's first candidate against one of its rival's, both as sampled.

    It looks like any pair. None where there is nothing to ask: the person ended it, or both say the
    same. The first candidate may then still run. Raises AdapterLoadError and PromptTooLongError.
    """
    live, rival = versions
    batch.drop(range(1, ask.candidates))
    rivals = _begun(engine, prompt, rival, sampling, seed + ask.candidates)
    engine.load(live)
    viewer.stream(InStep(batch, rivals), replace(opening, leader=0))
    if viewer.settled or viewer.cancelled:
        return None
    if near_duplicates(batch.text(0), rivals.text(0), ask.near_duplicate_ratio):
        return None
    own, other = scorer.scored(prompt, [batch.completions()[0], *rivals.completions()])
    shown = (own, other) if opening.leader_first else (other, own)
    question = scorer.question(prompt, shown, AskReason.DUEL, ask.duel_share)
    viewer.see(tuple(reply.text for reply in shown))
    return _plan(shown, question, batch.dropped_messages)


def _plan(
    shown: tuple[Completion, ...], question: Question | None, dropped_messages: int
) -> ReplyPlan:
    """There are no other candidates to finish."""
    return ReplyPlan(
        shown=shown,
        question=question,
        finish_others=lambda _: (),
        dropped_messages=dropped_messages,
    )


def write_both(
    engine: ServingEngine,
    prompt: Sequence[Message],
    versions: tuple[PolicyVersion, PolicyVersion],
    sampling: Sampling,
    seed: int,
    emit: Callable[[Draft], None],
    cancel: Event,
) -> TwoReplies:
    """Raises AdapterLoadError and PromptTooLongError. On cancel both are as far as they got."""
    batches = [
        _begun(engine, prompt, version, sampling, seed) for version in _shown(versions, seed)
    ]
    while any(batch.running for batch in batches) and not cancel.is_set():
        for batch in batches:
            if batch.running:
                batch.step()
        emit(Draft(stage=Stage.STREAMING, texts=tuple(batch.text(0) for batch in batches)))
    first, second = (batch.completions()[0] for batch in batches)
    return TwoReplies(completions=(first, second), dropped_messages=batches[0].dropped_messages)


def _shown(
    versions: tuple[PolicyVersion, PolicyVersion], seed: int
) -> tuple[PolicyVersion, PolicyVersion]:
    generator = torch.Generator().manual_seed(_ORDER + seed)
    swap = bool(torch.randint(2, (), generator=generator))
    return (versions[1], versions[0]) if swap else versions


def _begun(
    engine: ServingEngine,
    prompt: Sequence[Message],
    version: PolicyVersion,
    sampling: Sampling,
    seed: int,
) -> DecodingBatch:
    engine.load(version)
    return engine.start(prompt, 1, sampling, seed)
