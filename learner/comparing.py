"""Two versions reply to one message, side by side, for a person who is not told which is which.

Both draw with the same seed and decode in turn, token by token, so that no pace betrays a version.
Which one is shown first is drawn from the seed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event

import torch

from learner.engine.local import LocalEngine
from learner.protocols import DecodingBatch, Draft, Stage
from storage.records import Completion, Message, PolicyVersion, Sampling

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


def write_both(
    engine: LocalEngine,
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
    engine: LocalEngine,
    prompt: Sequence[Message],
    version: PolicyVersion,
    sampling: Sampling,
    seed: int,
) -> DecodingBatch:
    engine.load(version)
    return engine.start(prompt, 1, sampling, seed)
