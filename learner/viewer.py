"""The person who reads along while replies are decoded: what they see, and how they end it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Protocol, runtime_checkable

from learner.early_pick import EarlyPick
from learner.protocols import DecodingBatch, Draft, Stage
from storage.records import Choice


@runtime_checkable
class Streamed(Protocol):
    """What is streamed from: a batch, or two in step."""

    @property
    def running(self) -> bool: ...
    def step(self) -> None: ...
    def text(self, row: int) -> str: ...
    def done(self, row: int) -> bool: ...
    def drop(self, rows: Sequence[int]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """One person before one turn."""

    emit: Callable[[Draft], None]
    cancel: Event
    """Set: no more of this reply."""
    early: EarlyPick
    """What is said of a pair while it is written."""

    @property
    def cancelled(self) -> bool:
        return self.cancel.is_set()

    def draft(self, batch: DecodingBatch, tokens: int) -> None:
        """All candidates, unseen, until the longest has so many tokens."""
        for drafted in range(tokens):
            if not batch.running or self.cancelled:
                return
            batch.step()
            self.emit(Draft(stage=Stage.DRAFTING, drafted_tokens=drafted + 1))

    def one(self, batch: Streamed, row: int) -> None:
        """One reply, until it is complete."""
        while True:
            self.emit(Draft(stage=Stage.STREAMING, texts=(batch.text(row),)))
            if batch.done(row) or self.cancelled:
                return
            batch.step()

    def pair(
        self, batch: Streamed, rows: tuple[int, int], others: Sequence[int] = ()
    ) -> Choice | None:
        """Two replies in the order shown, until both are complete or the person has chosen.

        A choice of one of them cuts the other and ``others``, which decode beside the pair; the
        chosen one then streams alone to its end. Returns what was said while the pair was written.
        """
        first, second = rows
        while True:
            self.emit(Draft(stage=Stage.STREAMING, texts=(batch.text(first), batch.text(second))))
            self.early.shown()
            said = self.early.choice
            if said in (Choice.FIRST, Choice.SECOND):
                chosen, cut = rows if said is Choice.FIRST else rows[::-1]
                batch.drop([cut, *others])
                self.one(batch, chosen)
                return said
            whole = batch.done(first) and batch.done(second)
            if whole or said is not None or self.cancelled:
                return said
            batch.step()
