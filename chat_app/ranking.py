"""The ranking desk: several answers to one message, written by the live version, put in order.

One slate is written at a time, since there is one model and one person; every page shows the same
desk. A slate and its answers are stored before any page hears that they are done, so a reload or a
restart finds the newest one that nobody answered.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from hashlib import blake2b
from random import Random

from chat_app.core import Core
from chat_app.errors import ChatError, sentences
from chat_app.language import N_, tr, tr_told
from chat_app.reply_job import WritingJob
from learner.errors import LearnerError
from learner.protocols import Draft
from storage.errors import StorageError
from storage.forgetting import Forgotten
from storage.rankings import RankingCounts
from storage.records import (
    Candidate,
    ConversationId,
    Message,
    PolicyVersionId,
    Purpose,
    Role,
    TurnId,
)
from storage.slates import (
    MAX_ANSWERS,
    MIN_ANSWERS,
    Orders,
    Ranking,
    RankingReceipt,
    Slate,
)

log = logging.getLogger(__name__)

ANSWERS = 4
"""So many are written where nobody says how many."""
LISTED = 100
"""Rankings that the Rank tab lists, newest first."""
TOO_ALIKE = N_(
    "The model said the same each time, so there is nothing to put in order. "
    "Ask something with more than one good answer."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a slate is made of: a message, the answers that there are, how many are wanted."""

    prompt: tuple[Message, ...]
    turn_id: TurnId | None
    """None where the message is not in a conversation yet."""
    known: tuple[Candidate, ...] = ()
    answers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskView:
    """The desk as it is now: a slate being written, or one to put in order, or neither."""

    writing: Task | None
    slate: Slate | None
    ranking: Ranking | None
    """The newest answer to ``slate``, if there was one."""
    held_out: bool
    """Whether the slate only measures."""
    deletable: bool
    """Whether the slate's message was written here: one of a chat goes with its chat."""
    failed: str
    """Why nothing came of the newest task, as a sentence."""
    notice: str


class RankingDesk:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._log = core.logs.rankings
        self._job: WritingJob | None = None
        self._task: Task | None = None
        self._token: str | None = None
        self._failed = self._notice = ""

    # --- Writing -----------------------------------------------------------------------------

    def begin(self, text: str, answers: int) -> None:
        """Have ``answers`` answers written to a message of its own."""
        message = Message(role=Role.USER, content=self._core.check(text))
        self._start(Task(prompt=(message,), turn_id=None, answers=_checked(answers)))

    def begin_more(self, conversation_id: ConversationId, turn_id: TurnId, answers: int) -> None:
        """Put answers to a message of a chat on the desk: those there are, and more of them."""
        with self._core.lock, sentences():
            self._core.refuse_while_writing(conversation_id)
            prompt = self._core.logs.conversations.messages(turn_id)
            if prompt[-1].role is not Role.USER:
                raise ChatError(
                    tr("Answers are ranked to a message of yours; this one is a reply.")
                )
            known = _different(self._log.known_answers(turn_id))[: _checked(answers)]
        self._start(Task(prompt=prompt, turn_id=turn_id, known=known, answers=answers))

    def watch(self) -> Iterator[Draft]:
        """The answers being written, until the slate can be viewed; nothing where none are."""
        job = self._job
        if job is not None:
            yield from job.watch()

    def stop(self) -> None:
        """End the writing, if any; nothing is kept of it."""
        job = self._job
        if job is not None:
            job.cancel.set()

    # --- The desk ----------------------------------------------------------------------------

    def view(self, token: str = "") -> DeskView:
        """The slate of this token, else what is on the desk; what is being written goes first.

        An answered slate is on the desk only by its token.
        """
        with self._core.lock, sentences():
            slate = None
            if self._job is None:
                slate = self._log.slate(token) if token else self._log.open_slate()
            chat = self._core.logs.conversations.get(slate.conversation_id) if slate else None
            return DeskView(
                writing=self._task if self._job is not None else None,
                slate=slate,
                ranking=self._log.answer_of(slate.id) if slate else None,
                held_out=chat is not None and chat.held_out,
                deletable=chat is not None and chat.purpose is Purpose.RANKING,
                failed="" if token else self._failed,
                notice=self._notice if slate and slate.token == self._token else "",
            )

    def save(self, token: str, orders: Orders) -> RankingReceipt:
        """Keep an order; a later one replaces it."""
        with self._core.lock, sentences():
            slate = self._log.slate(token)
            if len(orders.overall) != len(slate.answers):
                raise ChatError(
                    tr("These answers have changed: reload the page and order them again.")
                )
            if self._log.answer_of(slate.id) is None:
                decision_ms = int((datetime.now(UTC) - slate.asked_at).total_seconds() * 1000)
                receipt = self._log.rank(token, orders, decision_ms=max(0, decision_ms))
            else:
                receipt = self._log.change(token, orders, decision_ms=0)
        self._core.answered(slate.conversation_id)
        return receipt

    def skip(self, token: str) -> RankingReceipt:
        """Say nothing of a slate; one that was answered stays answered."""
        with self._core.lock, sentences():
            return self._log.skip(token)

    def undo(self, token: str) -> RankingReceipt:
        """Take an order, or a skip, back: it teaches nothing any more."""
        with self._core.lock, sentences():
            slate = self._log.slate(token)
            receipt = self._log.withdraw(token)
        self._core.answered(slate.conversation_id)
        return receipt

    def list(self, limit: int = LISTED + 1) -> list[Ranking]:
        """What was ranked, skipped and taken back, newest first.

        One more than are listed tells that there are older ones.
        """
        with sentences():
            return self._log.page(limit=limit)

    def counts(self) -> RankingCounts:
        with sentences():
            return self._log.counts()

    def versions_that_saw(self, token: str) -> Sequence[PolicyVersionId]:
        """The versions that forgetting this ranking would end."""
        with sentences():
            slate = self._log.slate(token)
            return self._core.logs.forgetting.versions_that_saw_ranking(slate.id)

    def forget(self, token: str) -> Forgotten:
        """Never use the ranking again, and let no version speak that may have learned from it."""
        with self._core.lock, sentences():
            slate = self._log.slate(token)
            done = self._core.logs.forgetting.forget_ranking(
                slate.id, reason="learned from a ranking that was forgotten"
            )
        self._core.answered(slate.conversation_id)
        return done

    def versions_that_saw_answers(self, token: str) -> Sequence[PolicyVersionId]:
        """The versions that deleting message and answers, with what was learned, would end."""
        with sentences():
            slate = self._log.slate(token)
            return self._core.logs.forgetting.versions_that_saw_chat(slate.conversation_id)

    def delete(self, token: str, *, unlearn: bool) -> Forgotten:
        """Erase a message that was written here, and its answers; ``unlearn`` as for a chat."""
        with self._core.lock, sentences():
            slate = self._log.slate(token)
            chat = self._core.logs.conversations.get(slate.conversation_id)
            if chat.purpose is not Purpose.RANKING:
                raise ChatError(tr("This message is part of a chat: delete the chat instead."))
            done = self._core.logs.forgetting.delete_conversation(chat.id, unlearn=unlearn)
        self._core.answered(chat.id)
        return done

    # --- Private -----------------------------------------------------------------------------

    def _start(self, task: Task) -> None:
        with self._core.lock, sentences():
            if self._job is not None:
                raise ChatError(
                    tr("Answers are being written already: wait for them, or stop them.")
                )
            number = self._log.counts().asked
            said = f"{self._core.config.seed}/slate/{number}/{task.prompt[-1].content}"
            seed = int.from_bytes(blake2b(said.encode(), digest_size=4).digest()) >> 1
            self._failed = self._notice = ""
            self._token, self._task = None, task
            self._job = WritingJob(seed)
            self._core.model.submit(partial(self._write, self._job, task), urgent=True)

    def _write(self, job: WritingJob, task: Task) -> None:
        """On the model's thread: write what is missing, keep the slate, let the pages look."""
        failed = notice = ""
        token = None
        try:
            token, notice = self._written(job, task)
        except (LearnerError, StorageError, ChatError) as error:
            failed = tr_told(str(error))
        except Exception:
            log.exception("The answers for a ranking failed")
            failed = tr("Writing the answers failed. Nothing is lost; the log says why.")
        with self._core.lock:
            self._token, self._failed, self._notice = token, failed, notice
            self._job = self._task = None
        job.finish()

    def _written(self, job: WritingJob, task: Task) -> tuple[str | None, str]:
        """The token of the new slate and a word about it; None where it was stopped."""
        logs, missing = self._core.logs, task.answers - len(task.known)
        fresh = ()
        if missing and not job.cancel.is_set():
            fresh = self._core.replies.several(
                task.prompt, logs.policies.current(), missing, job.seed, job.emit, job.cancel
            )
        if job.cancel.is_set():
            return None, ""
        said = {_words(one.completion.text) for one in task.known}
        fresh = tuple(one for one in fresh if _words(one.text) not in said)
        if len(task.known) + len(fresh) < MIN_ANSWERS:
            raise ChatError(tr(TOO_ALIKE))
        with self._core.lock:
            turn_id = task.turn_id
            if turn_id is None:
                chat = logs.conversations.start(purpose=Purpose.RANKING)
                turn_id = logs.conversations.say(chat.id, task.prompt[-1].content).id
            added = logs.conversations.add_candidates(turn_id, fresh)
            answers = [one.id for one in (*task.known, *added)]
            if task.known:  # samples come in no order, and may have been read while they came
                Random(job.seed).shuffle(answers)  # noqa: S311 - no place is to be preferred
            slate = self._log.ask(turn_id, answers)
        short = len(answers) < task.answers
        notice = tr("Only {n} different answers came.", n=len(answers)) if short else ""
        return slate.token, notice


def _checked(answers: int) -> int:
    if not MIN_ANSWERS <= answers <= MAX_ANSWERS:
        raise ChatError(tr("Choose {low} to {high} answers.", low=MIN_ANSWERS, high=MAX_ANSWERS))
    return answers


def _different(answers: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The first of each text, blank ones left out."""
    first: dict[str, Candidate] = {}
    for one in answers:
        said = _words(one.completion.text)
        if said:
            first.setdefault(said, one)
    return tuple(first.values())


def _words(text: str) -> str:
    return " ".join(text.split()).lower()
