"""What is being written. The server owns it, not a page: any number of pages may watch it, and
a page that goes away changes nothing."""

from collections.abc import Iterator
from dataclasses import replace
from threading import Condition, Event

from learner.early_pick import EarlyPick
from learner.protocols import Draft, Stage
from storage.records import ConversationId, PolicyVersionId, TurnId

TICK_S = 0.09
"""Least pause between two drafts: about eleven a second reads as flowing. Each costs the processor
as much as two or three tokens do (R10 in docs/benchmarks.md)."""
HEARTBEAT_S = 1.0
"""A watcher gets a draft at least this often, so that the end of its page is soon noticed."""

Versions = tuple[PolicyVersionId, PolicyVersionId]


class WritingJob:
    """The newest draft, handed from the model thread to the watchers."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.cancel = Event()
        self._draft = Draft(stage=Stage.WAITING)
        self._changed = Condition()
        self._finished = Event()

    @property
    def draft(self) -> Draft:
        """What may be seen right now."""
        with self._changed:
            return self._draft

    @property
    def finished(self) -> bool:
        return self._finished.is_set()

    def emit(self, draft: Draft) -> None:
        """Replace the newest draft; drafts that nobody looked at in time are never sent."""
        with self._changed:
            self._draft = draft
            self._changed.notify_all()

    def finish(self) -> None:
        """Let go of all watchers. Call it when the reply can be read from the store."""
        with self._changed:
            self._draft = replace(self._draft, stage=Stage.DONE)
            self._finished.set()
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> None:
        """Block until the reply can be read from the store, or for so long."""
        self._finished.wait(timeout_s)

    def watch(self) -> Iterator[Draft]:
        """Yield the newest draft, then again with every change, until one with Stage.DONE."""
        seen: Draft | None = None
        while seen is None or seen.stage is not Stage.DONE:
            with self._changed:
                self._changed.wait_for(lambda last=seen: self._draft is not last, HEARTBEAT_S)
                seen = self._draft
            yield seen
            self._finished.wait(TICK_S)


class ReplyJob(WritingJob):
    """The reply to one message of a conversation."""

    def __init__(
        self,
        conversation_id: ConversationId,
        prompt_turn_id: TurnId,
        seed: int,
        *,
        may_ask: bool = True,
        begun: str = "",
        versions: Versions | None = None,
        suggests: bool = False,
    ) -> None:
        """``versions``: two that reply side by side, in place of the live one. ``suggests``: what
        is written is kept for the person to use, and not shown as the reply."""
        super().__init__(seed)
        self.conversation_id = conversation_id
        self.prompt_turn_id = prompt_turn_id
        self.may_ask = may_ask
        self.begun = begun
        self.versions = versions
        self.suggests = suggests
        self.early = EarlyPick()
        self.started = False
