"""Two versions reply to one message, side by side, for a person who is not told which is which.

``compare`` is what a person asked for: both draw with the same seed, and which one is shown first
is drawn from it. ``duel`` is a question of an ordinary turn that sets the version that serves
against an earlier one. Both decode in turn, token by token, so that no pace betrays a version.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from learner.acquisition import Opening
from learner.config import AskConfig
from learner.duplicates import near_duplicates
from learner.protocols import DecodingBatch, ReplyPlan
from learner.seeds import generator_for
from learner.viewer import Viewer
from learner.writer import Writer
from storage.records import (
    AskReason,
    Choice,
    Completion,
    Message,
    PolicyVersion,
    Question,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoReplies:
    """In the order shown."""

    completions: tuple[Completion, Completion]
    dropped_messages: int
    said: Choice | None = None
    """What the person said while they were written."""


class InStep:
    """Two batches of one reply each, decoded in step; row i is the reply of batch i."""

    def __init__(self, *batches: DecodingBatch) -> None:
        self._batches = batches

    @property
    def running(self) -> bool:
        return any(batch.running for batch in self._batches)

    def step(self) -> None:
        for batch in self._batches:
            if batch.running:
                batch.step()

    def text(self, row: int) -> str:
        return self._batches[row].text(0)

    def done(self, row: int) -> bool:
        return self._batches[row].done(0)

    def drop(self, rows: Sequence[int]) -> None:
        for row in rows:
            self._batches[row].drop([0])


def compare(
    writer: Writer,
    prompt: Sequence[Message],
    versions: tuple[PolicyVersion, PolicyVersion],
    seed: int,
    viewer: Viewer,
) -> ReplyPlan:
    """A question, unless it is stopped or skipped. Raises AdapterLoadError, PromptTooLongError."""
    both = write_both(writer, prompt, versions, seed, viewer)
    shown = tuple(writer.scorer.scored(prompt, both.completions))
    if both.said is Choice.SKIP or (viewer.cancelled and both.said is None):
        return _plan(shown[:1], None, both.dropped_messages)
    question = writer.scorer.question(prompt, shown, AskReason.COMPARE, 1.0)
    return _plan(shown, question, both.dropped_messages, both.said)


def duel(
    writer: Writer,
    prompt: Sequence[Message],
    batch: DecodingBatch,
    opening: Opening,
    versions: tuple[PolicyVersion, PolicyVersion],
    viewer: Viewer,
    ask: AskConfig,
    seed: int,
) -> ReplyPlan | None:
    """The live version's first candidate against one of its rival's, both as sampled.

    It looks like any pair. None where there is nothing to ask: the person ended it, or both say the
    same. The first candidate may then still run. Raises AdapterLoadError and PromptTooLongError.
    """
    live, rival = versions
    batch.drop(range(1, ask.candidates))
    rivals = writer.begin(prompt, rival, seed + ask.candidates)
    # None may be a word ahead when both appear.
    while rivals.running and rivals.lengths()[0] < batch.lengths()[0] and not viewer.cancelled:
        rivals.step()
    writer.engine.load(live)
    order = (0, 1) if opening.leader_first else (1, 0)
    said = viewer.pair(InStep(batch, rivals), order)
    if said is Choice.SKIP or (viewer.cancelled and said is None):
        return None
    if said is None and near_duplicates(batch.text(0), rivals.text(0), ask.near_duplicate_ratio):
        return None
    both = writer.scorer.scored(prompt, [batch.completions()[0], *rivals.completions()])
    shown = (both[order[0]], both[order[1]])
    asks = max(opening.rule_asks, ask.random_share)
    question = writer.scorer.question(prompt, shown, AskReason.DUEL, ask.duel_share * asks)
    return _plan(shown, question, batch.dropped_messages, said)


def _plan(
    shown: tuple[Completion, ...],
    question: Question | None,
    dropped_messages: int,
    picked: Choice | None = None,
) -> ReplyPlan:
    """There are no other candidates to finish."""
    return ReplyPlan(
        shown=shown,
        question=question,
        finish_others=lambda _: (),
        dropped_messages=dropped_messages,
        picked=picked,
    )


def write_both(
    writer: Writer,
    prompt: Sequence[Message],
    versions: tuple[PolicyVersion, PolicyVersion],
    seed: int,
    viewer: Viewer,
) -> TwoReplies:
    """Raises AdapterLoadError and PromptTooLongError. On cancel both are as far as they got."""
    batches = [writer.begin(prompt, version, seed) for version in _shown(versions, seed)]
    replies = InStep(*batches)
    said = viewer.pair(replies, (0, 1))
    if said is Choice.SKIP:
        replies.drop([1])
        viewer.one(replies, 0)
    first, second = (batch.completions()[0] for batch in batches)
    return TwoReplies(
        completions=(first, second), dropped_messages=batches[0].dropped_messages, said=said
    )


def _shown(
    versions: tuple[PolicyVersion, PolicyVersion], seed: int
) -> tuple[PolicyVersion, PolicyVersion]:
    generator = generator_for("order", seed)
    swap = bool(torch.randint(2, (), generator=generator))
    return (versions[1], versions[0]) if swap else versions
