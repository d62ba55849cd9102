"""The person who reads along while replies are decoded: what they see, and how they end it."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import Protocol, runtime_checkable

from learner.acquisition import Opening
from learner.protocols import DecodingBatch, Draft, Stage


@runtime_checkable
class Streamed(Protocol):
    """What is streamed from: a batch, or two in step."""

    @property
    def running(self) -> bool: ...
    def step(self) -> None: ...
    def text(self, row: int) -> str: ...
    def done(self, row: int) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """One person before one turn."""

    emit: Callable[[Draft], None]
    cancel: Event
    """Set: no more of this reply."""
    settle: Event
    """Set while a pair is written: the reply that is read is fine, so nothing is asked."""

    @property
    def cancelled(self) -> bool:
        return self.cancel.is_set()

    @property
    def settled(self) -> bool:
        return self.settle.is_set()

    def draft(self, batch: DecodingBatch, tokens: int) -> None:
        """All candidates, unseen, until the longest has so many tokens."""
        for drafted in range(tokens):
            if not batch.running or self.cancelled:
                return
            batch.step()
            self.emit(Draft(stage=Stage.DRAFTING, drafted_tokens=drafted + 1))

    def stream(self, batch: Streamed, opening: Opening) -> None:
        """The leader, until it is complete; in a pair, until all are or the person settles.

        The other place of a pair is empty.
        """
        leader = opening.leader
        while True:
            text = batch.text(leader)
            if opening.reason is None:
                texts: tuple[str, ...] = (text,)
            else:
                texts = (text, "") if opening.leader_first else ("", text)
            self.emit(Draft(stage=Stage.STREAMING, texts=texts))
            complete = batch.done(leader) if opening.reason is None else not batch.running
            settled = opening.reason is not None and self.settled
            if complete or settled or self.cancelled:
                return
            batch.step()

    def see(self, texts: tuple[str, ...]) -> None:
        """What is shown, whole."""
        self.emit(Draft(stage=Stage.STREAMING, texts=texts))
