"""ChatService: everything a person can ask of the loop. No Gradio, no SQL, no tensors.

Threads: any thread may call any method. The model is called on one thread of the service's own
(``model_thread.py``); a second one turns the learner's finished rounds into rows. ``_lock`` guards
the running replies and makes "check, store, queue" one step, so that two tabs on one conversation
take turns.

Durability: what a person wrote or chose is committed before the method returns, and before the
model is called. So a crash can lose a reply in the making, never a message or a choice.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from hashlib import blake2b
from threading import Event, RLock, Thread

from chat_app.config import ServiceConfig
from chat_app.errors import ChatError
from chat_app.model_thread import ModelThread
from chat_app.progress import LearnerStatus
from chat_app.reply_job import ReplyJob
from chat_app.reply_writer import ReplyWriter, Written
from chat_app.report import learning_report, status_now
from chat_app.views import ConversationView, LearningReport, Status
from learner.errors import LearnerError
from learner.protocols import Draft, ReplyMaker
from storage.conversations import ConversationLog
from storage.errors import StorageError
from storage.feedback import FeedbackLog
from storage.policies import PolicyRegistry
from storage.records import (
    Candidate,
    Choice,
    Comparison,
    Conversation,
    ConversationId,
    PolicyVersionId,
    Receipt,
    Role,
    RoundReport,
    RoundStatus,
    Turn,
    TurnId,
)
from storage.rounds import collect
from storage.text import clean_text

log = logging.getLogger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


class ChatService:
    """``close`` it before the store: it ends both threads and keeps what was half written."""

    def __init__(
        self,
        conversations: ConversationLog,
        feedback: FeedbackLog,
        policies: PolicyRegistry,
        replies: ReplyMaker,
        config: ServiceConfig,
        learner_status: Callable[[], LearnerStatus | None],
        *,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self._conversations = conversations
        self._feedback = feedback
        self._policies = policies
        self._replies = replies
        self._config = config
        self._learner_status = learner_status
        self._clock = clock
        self._writer = ReplyWriter(conversations, policies, replies)
        self._lock = RLock()
        self._jobs: dict[ConversationId, ReplyJob] = {}
        self._failures: dict[ConversationId, str] = {}
        self._notices: dict[ConversationId, tuple[str, ...]] = {}
        self._attempts: dict[TurnId, int] = {}
        self._latest: ConversationId | None = None  # where the newest reply was written
        self._closing = Event()
        self._model = ModelThread()
        self._collector: Thread | None = None
        self._model.submit(self._refit, urgent=False)
        if config.collect_every_s:
            self._collector = Thread(target=self._collect_rounds, name="collector", daemon=True)
            self._collector.start()

    # --- Conversations -----------------------------------------------------------------------

    def conversations(self, limit: int = 50) -> list[Conversation]:
        """The newest conversations, newest first."""
        with _sentences():
            return self._conversations.list(limit=limit)

    def conversation(self, key: str) -> Conversation:
        """The conversation with this key, as it stands in the address of the page."""
        with _sentences():
            found = self._conversations.by_key(key)
        if found is None:
            raise ChatError("This chat is not on this computer, or not any more.")
        return found

    def new_conversation(self) -> Conversation:
        with _sentences():
            return self._conversations.start()

    def view(self, conversation_id: ConversationId) -> ConversationView:
        with self._lock, _sentences():
            path = self._conversations.path(conversation_id)
            question = self._feedback.open_question(conversation_id)
            candidates = self._conversations.candidates(
                turn.candidate_id for turn in path if turn.candidate_id is not None
            )
            running = conversation_id in self._jobs
            waiting = bool(path) and path[-1].message.role is Role.USER
            return ConversationView(
                conversation=self._conversations.get(conversation_id),
                turns=tuple(path),
                written={id_: one.completion for id_, one in candidates.items()},
                question=question,
                running=running,
                interrupted=waiting and not running and question is None,
                failed=self._failures.get(conversation_id),
                notices=self._notices.get(conversation_id, ()),
            )

    # --- Messages and replies ----------------------------------------------------------------

    def check(self, text: str) -> str:
        """The message as it would be stored. Raises ChatError where it cannot be sent."""
        message = clean_text(text).strip()
        if not message:
            raise ChatError("Write a message first; this one is empty.")
        if len(message) > self._config.max_message_chars:
            raise ChatError(
                f"This message has {len(message):,} characters; at most "
                f"{self._config.max_message_chars:,} fit. Nothing was sent, your text is kept."
            )
        return message

    def say(self, conversation_id: ConversationId, text: str) -> Turn:
        """Store a message and have its reply written; an open question counts as skipped."""
        message = self.check(text)
        with self._lock, _sentences():
            self._refuse_while_writing(conversation_id)
            question = self._feedback.open_question(conversation_id)
            if question is not None:
                self._answer(question, Choice.SKIP, decision_ms=None)
            turn = self._conversations.say(conversation_id, message)
            self._start_reply(conversation_id, turn.id, attempt=0)
            return turn

    def watch(self, conversation_id: ConversationId) -> Iterator[Draft]:
        """The drafts of the reply being written, newest first served, until it can be viewed.

        Yields nothing where none is being written. Any number of pages may watch.
        """
        with self._lock:
            job = self._jobs.get(conversation_id)
        if job is not None:
            yield from job.watch()

    def stop(self, conversation_id: ConversationId) -> None:
        """End the reply being written, if any; the text so far stays, marked as aborted."""
        with self._lock:
            job = self._jobs.get(conversation_id)
            if job is not None:
                self._cancel(job)

    def retry(self, conversation_id: ConversationId) -> None:
        """Write another reply to the last message; the one before stays stored, as a sibling."""
        with self._lock, _sentences():
            self._refuse_while_writing(conversation_id)
            if self._feedback.open_question(conversation_id) is not None:
                raise ChatError("Pick one of the two replies first, or skip the question.")
            path = self._conversations.path(conversation_id)
            if not path:
                raise ChatError("There is no message to reply to yet.")
            last, written = path[-1], 0
            if last.message.role is Role.ASSISTANT:
                written = len(self._conversations.siblings(last.id))
                last = path[-2]
                self._conversations.rewind(conversation_id, last.id)
            self._start_reply(conversation_id, last.id, attempt=written)

    # --- Choices -----------------------------------------------------------------------------

    def choose(self, token: str, choice: Choice, decision_ms: int | None = None) -> Receipt:
        """Store the answer to a question and go on with the reply it names.

        Answering twice is no error: the receipt then tells what is stored. ``decision_ms`` None
        takes the time since the pair was shown.
        """
        with self._lock, _sentences():
            return self._answer(self._feedback.comparison(token), choice, decision_ms=decision_ms)

    def undo(self, token: str) -> Receipt:
        """Take a choice back: it teaches nothing any more, the conversation stays as it is."""
        with self._lock, _sentences():
            receipt = self._feedback.withdraw(token)
        self._model.submit(self._refit, urgent=False)
        return receipt

    # --- The loop ----------------------------------------------------------------------------

    def status(self) -> Status:
        with _sentences():
            return status_now(self._feedback, self._policies, self._config, self._learner_status())

    def learning(self) -> LearningReport:
        with _sentences():
            return learning_report(self._feedback, self._policies)

    def roll_back(self, version: PolicyVersionId) -> None:
        """Let an earlier version speak from the next reply on."""
        with self._lock, _sentences():
            if self._policies.current().id == version:
                raise ChatError(f"Version {version} is live already.")
            self._policies.activate(version, reason="chosen on the Learning page")
        self._model.submit(self._prepare, urgent=False)

    def collect_now(self) -> list[RoundReport]:
        """Turn the learner's finished rounds into rows; a passed version is live from now on."""
        rounds = collect(self._policies)
        if any(one.status is RoundStatus.ACCEPTED for one in rounds):
            self._model.submit(self._prepare, urgent=False)
        return rounds

    def drain(self) -> None:
        """Block until the model is idle: replies stored, candidates finished, picks refitted."""
        self._model.drain()

    def close(self) -> None:
        """Stop what is being written, keep its text, and end both threads."""
        self._closing.set()
        with self._lock:
            for job in list(self._jobs.values()):
                self._cancel(job)
        self._model.close()
        if self._collector is not None:
            self._collector.join()

    # --- Private -----------------------------------------------------------------------------

    def _refuse_while_writing(self, conversation_id: ConversationId) -> None:
        if conversation_id in self._jobs:
            raise ChatError(
                "A reply is still being written in this chat, here or on another page. "
                "Your text is kept; stop that reply, or wait for it."
            )

    def _start_reply(
        self, conversation_id: ConversationId, prompt_turn_id: TurnId, *, attempt: int
    ) -> None:
        """Queue a reply. ``attempt`` is how many are stored; failed ones count by themselves."""
        attempt = max(attempt, self._attempts.get(prompt_turn_id, 0))
        self._attempts[prompt_turn_id] = attempt + 1
        self._failures.pop(conversation_id, None)
        self._notices.pop(conversation_id, None)
        seed = reply_seed(self._config.seed, prompt_turn_id, attempt)
        job = ReplyJob(conversation_id, prompt_turn_id, seed)
        self._jobs[conversation_id] = job
        self._model.submit(partial(self._write, job), urgent=True)

    def _cancel(self, job: ReplyJob) -> None:
        job.cancel.set()
        if not job.started:  # it still waits for another reply: nothing would come of it
            self._end(job)

    def _write(self, job: ReplyJob) -> None:
        with self._lock:
            if job.finished:
                return
            job.started = True
        try:
            self._writer.write(job, partial(self._shown, job), self._model.hurry)
        except Exception as error:
            log.exception("The reply to turn %d failed", job.prompt_turn_id)
            if not job.finished:
                self._end(job, failure=_reply_failure(error))

    def _shown(self, job: ReplyJob, written: Written) -> None:
        self._latest = job.conversation_id
        self._end(job, notices=written.notices)

    def _end(
        self, job: ReplyJob, *, failure: str | None = None, notices: tuple[str, ...] = ()
    ) -> None:
        with self._lock:
            del self._jobs[job.conversation_id]
            if failure is not None:
                self._failures[job.conversation_id] = failure
            self._notices[job.conversation_id] = notices
        job.finish()

    def _answer(
        self, comparison: Comparison, choice: Choice, *, decision_ms: int | None
    ) -> Receipt:
        if decision_ms is None:
            decision_ms = round((self._clock() - comparison.asked_at).total_seconds() * 1000)
        receipt = self._feedback.answer(
            comparison.token,
            choice,
            decision_ms=max(decision_ms, 0),
            continue_with=continued(comparison, choice).id,
        )
        if not receipt.already_saved:
            self._model.submit(self._refit, urgent=False)
        return receipt

    def _prepare(self) -> None:
        """Load the live version, and encode the latest chat under it while the person reads."""
        latest = self._latest
        prompt = [] if latest is None else self._conversations.path(latest)
        try:
            self._replies.prepare(
                self._policies.current(), [turn.message for turn in prompt], self._model.hurry
            )
        except LearnerError as error:  # the next reply meets it too, and says so on the page
            log.warning("The live version could not be prepared: %s", error)

    def _refit(self) -> None:
        self._replies.refit(self._feedback.preferences())

    def _collect_rounds(self) -> None:
        while not self._closing.wait(self._config.collect_every_s):
            try:
                self.collect_now()
            except Exception:
                # A folder that cannot be read now may be readable in a second, and the chat does
                # not need it: say so in the log and look again.
                log.exception("Finished rounds could not be collected")


def continued(comparison: Comparison, choice: Choice) -> Candidate:
    """The reply the conversation goes on with after ``choice``."""
    match choice:
        case Choice.FIRST | Choice.TIE | Choice.SKIP:
            return comparison.first
        case Choice.SECOND:
            return comparison.second
        case Choice.BOTH_BAD:
            return max(comparison.first, comparison.second, key=_reward)
        case Choice.WITHDRAWN:
            raise ValueError("a choice is withdrawn by undo, it is no answer")


def reply_seed(seed: int, prompt_turn_id: TurnId, attempt: int) -> int:
    """31 bits that differ for every message and attempt and repeat with ``seed``."""
    digest = blake2b(f"{seed}/{prompt_turn_id}/{attempt}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) >> 1


def _reward(candidate: Candidate) -> float:
    mean = candidate.completion.reward_mean
    return float("-inf") if mean is None else mean


def _reply_failure(error: Exception) -> str:
    if isinstance(error, LearnerError | StorageError):
        return f"This reply failed: {error}"
    return "This reply failed. Nothing you wrote is lost; the log says why."


@contextmanager
def _sentences() -> Iterator[None]:
    """What the store refuses is told to the person in the store's own words."""
    try:
        yield
    except StorageError as error:
        raise ChatError(str(error)) from error
