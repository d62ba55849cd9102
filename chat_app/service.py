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
from datetime import UTC, datetime
from functools import partial
from hashlib import blake2b
from threading import Event, Thread

from chat_app.config import ServiceConfig
from chat_app.core import Core
from chat_app.errors import ChatError, sentences
from chat_app.progress import LearnerStatus
from chat_app.reading import read_conversation
from chat_app.reply_job import ReplyJob, Versions
from chat_app.reply_writer import ReplyWriter, Written
from chat_app.report import status_now
from chat_app.shelf import Shelf
from chat_app.teaching import Teaching
from chat_app.views import ConversationView, Status
from learner.errors import LearnerError
from learner.protocols import Draft, ReplyMaker
from storage.errors import StorageError, UnknownError
from storage.logs import Logs
from storage.records import (
    Candidate,
    Choice,
    Comparison,
    Conversation,
    ConversationId,
    FinishReason,
    PolicyVersionId,
    Receipt,
    Role,
    RoundReport,
    RoundStatus,
    Turn,
    TurnId,
)
from storage.rounds import collect

log = logging.getLogger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


class ChatService:
    """``close`` it before the store: it ends both threads and keeps what was half written."""

    def __init__(
        self,
        logs: Logs,
        replies: ReplyMaker,
        config: ServiceConfig,
        learner_status: Callable[[], LearnerStatus | None],
        *,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self._core = Core(logs, replies, config)
        self.revisions = self._core.revisions
        self.shelf = Shelf(self._core)
        self.teaching = Teaching(self._core)
        self._logs = logs
        self._config = config
        self._learner_status = learner_status
        self._clock = clock
        self._writer = ReplyWriter(logs.conversations, logs.policies, replies)
        self._lock = self._core.lock
        self._jobs = self._core.jobs
        self._failures: dict[ConversationId, str] = {}
        self._notices: dict[ConversationId, tuple[str, ...]] = {}
        self._attempts: dict[TurnId, int] = {}
        self._latest: ConversationId | None = None  # where the newest reply was written
        self._closing = Event()
        self._model = self._core.model
        self._collector: Thread | None = None
        logs.conversations.erase_temporary()
        self._model.submit(self._core.refit, urgent=False)
        self._model.submit(self._core.read_written, urgent=False)
        if config.collect_every_s:
            self._collector = Thread(target=self._collect_rounds, name="collector", daemon=True)
            self._collector.start()

    # --- Conversations -----------------------------------------------------------------------

    def conversation(self, key: str) -> Conversation:
        """The conversation with this key, as it stands in the address of the page."""
        with sentences():
            found = self._logs.conversations.by_key(key)
        if found is None:
            raise ChatError("This chat is not on this computer, or not any more.")
        return found

    def new_conversation(self) -> Conversation:
        return self.shelf.begin()

    def view(self, conversation_id: ConversationId) -> ConversationView:
        with self._lock, sentences():
            return read_conversation(
                self._logs,
                conversation_id,
                mark=self.revisions.mark(conversation_id),
                running=conversation_id in self._jobs,
                failed=self._failures.get(conversation_id),
                notices=self._notices.get(conversation_id, ()),
            )

    # --- Messages and replies ----------------------------------------------------------------

    def check(self, text: str) -> str:
        """The message as it would be stored. Raises ChatError where it cannot be sent."""
        return self._core.check(text)

    def say(self, conversation_id: ConversationId, text: str) -> Turn:
        """Store a message and have its reply written; an open question counts as skipped."""
        message = self.check(text)
        with self._lock, sentences():
            self._core.refuse_while_writing(conversation_id)
            question = self._logs.feedback.open_question(conversation_id)
            if question is not None:
                self._answer(question, Choice.SKIP, decision_ms=None)
            turn = self._logs.conversations.say(conversation_id, message)
            self._start_reply(conversation_id, turn.id, attempt=0)
            return turn

    def say_instead(self, conversation_id: ConversationId, turn_id: TurnId, text: str) -> Turn:
        """Say something else in the place of a message, in a branch of its own."""
        message = self.check(text)
        with self._lock, sentences():
            self._core.refuse_while_writing(conversation_id)
            if any(
                turn.id == turn_id and turn.message.content == message
                for turn in self._logs.conversations.path(conversation_id)
            ):
                raise ChatError("Nothing was changed. Retry writes another reply to it.")
            turn = self._logs.branches.say_instead(turn_id, message)
            self._start_reply(conversation_id, turn.id, attempt=0)
            return turn

    def compare(self, text: str, one: PolicyVersionId, other: PolicyVersionId) -> Conversation:
        """Begin a chat in which two versions reply to ``text``, blind; the choice is like any."""
        message = self.check(text)
        if one == other:
            raise ChatError("Choose two different versions.")
        with self._lock, sentences():
            for version in (one, other):
                self._logs.policies.get(version)
                if version not in self._logs.policies.servable_among([version]):
                    raise ChatError(f"Version {version} may not speak any more: choose another.")
            chat = self.new_conversation()
            turn = self._logs.conversations.say(chat.id, message)
            self._start_reply(chat.id, turn.id, attempt=0, versions=(one, other))
            return chat

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

    def settle(self, conversation_id: ConversationId) -> bool:
        """The reply that is read while a pair is written is fine: it alone runs on.

        Returns False where nothing is being written (any more).
        """
        with self._lock:
            job = self._jobs.get(conversation_id)
            if job is not None:
                job.settle.set()
            return job is not None

    def retry(self, conversation_id: ConversationId) -> None:
        """Write another reply to the last message; the one before stays stored, as a sibling."""
        with self._lock, sentences():
            self._core.refuse_while_writing(conversation_id)
            if self._logs.feedback.open_question(conversation_id) is not None:
                raise ChatError("Pick one of the two replies first, or skip the question.")
            path = self._logs.conversations.path(conversation_id)
            if not path or path[-1].message.role is Role.SYSTEM:
                raise ChatError("There is no message to reply to yet.")
            last, written = path[-1], 0
            if last.message.role is Role.ASSISTANT:
                written = len(self._logs.conversations.siblings(last.id))
                last = path[-2]
                self._logs.conversations.rewind(conversation_id, last.id)
            self._start_reply(conversation_id, last.id, attempt=written)

    def go_on(self, conversation_id: ConversationId) -> None:
        """Write on where the last reply was cut off; what there was stays stored, as a sibling."""
        with self._lock, sentences():
            self._core.refuse_while_writing(conversation_id)
            path = self._logs.conversations.path(conversation_id)
            if not path or not self._cut_off(path[-1]):
                raise ChatError("There is no reply here that was cut off.")
            last, prompt = path[-1], path[-2]
            written = len(self._logs.conversations.siblings(last.id))
            self._logs.conversations.rewind(conversation_id, prompt.id)
            self._start_reply(
                conversation_id, prompt.id, attempt=written, begun=last.message.content
            )

    def show(self, conversation_id: ConversationId, turn_id: TurnId) -> None:
        """Show another branch, or another reply to the same message."""
        with self._lock, sentences():
            self._core.refuse_while_writing(conversation_id)
            self._logs.branches.show(turn_id)
        self._core.changed(conversation_id)

    # --- Choices -----------------------------------------------------------------------------

    def question(self, token: str) -> Comparison:
        """The pair of this token, answered or not."""
        with sentences():
            return self._logs.feedback.comparison(token)

    def choose(self, token: str, choice: Choice, decision_ms: int | None = None) -> Receipt:
        """Store the answer to a question and go on with the reply it names.

        Answering twice is no error: the receipt then tells what is stored. ``decision_ms`` None
        takes the time since the pair was shown.
        """
        with self._lock, sentences():
            question = self._logs.feedback.comparison(token)
            return self._answer(question, choice, decision_ms=decision_ms)

    def write_better(self, token: str, text: str) -> Receipt:
        """Answer a question with a reply of one's own, better than both."""
        with sentences():
            question = self._logs.feedback.comparison(token)
        decision_ms = self._since(question)
        return self.teaching.write_better(question.conversation_id, token, text, decision_ms)

    def undo(self, token: str) -> Receipt:
        """Take a choice back: it teaches nothing any more, the conversation stays as it is."""
        with self._lock, sentences():
            question = self._logs.feedback.comparison(token)
            receipt = self._logs.feedback.withdraw(token)
        self._core.answered(question.conversation_id)
        return receipt

    def change(self, token: str, choice: Choice) -> Receipt:
        """Answer otherwise, also after an undo; the reply it names is shown if it is the last."""
        with self._lock, sentences():
            question = self._logs.feedback.comparison(token)
            self._core.refuse_while_writing(question.conversation_id)
            receipt = self._logs.feedback.change(token, choice, decision_ms=0)
            path = self._logs.conversations.path(question.conversation_id)
            if path and path[-1].parent_id == question.prompt_turn_id:
                self._logs.branches.show_reply(continued(question, choice).id)
        self._core.answered(question.conversation_id)
        return receipt

    # --- The loop ----------------------------------------------------------------------------

    def status(self) -> Status:
        with sentences():
            return status_now(
                self._logs.feedback, self._logs.policies, self._config, self._learner_status()
            )

    def roll_back(self, version: PolicyVersionId) -> None:
        """Let an earlier version speak from the next reply on."""
        with self._lock, sentences():
            if self._logs.policies.current().id == version:
                raise ChatError(f"Version {version} is live already.")
            self._logs.policies.activate(version, reason="chosen on the Learning page")
        self.revisions.status_changed()
        self._model.submit(self._prepare, urgent=False)

    def collect_now(self) -> list[RoundReport]:
        """Turn the learner's finished rounds into rows; a passed version is live from now on."""
        rounds = collect(self._logs.policies)
        if rounds:
            self.revisions.status_changed()
        if any(one.status is RoundStatus.ACCEPTED for one in rounds):
            self._model.submit(self._prepare, urgent=False)
        return rounds

    @property
    def model_name(self) -> str:
        """How the page names the base model."""
        return self._config.model_name

    def on_model(self, job: Callable[[], None]) -> None:
        """Run ``job`` on the model's thread, behind every reply that somebody waits for."""
        self._model.submit(job, urgent=False)

    def answered(self, conversation_id: ConversationId) -> None:
        """Answers of this conversation changed elsewhere than in the chat."""
        self._core.answered(conversation_id)

    def refit_soon(self) -> None:
        """Have the judges learn what the log, and the person's lean, say now."""
        self.on_model(self._core.refit)
        self.revisions.status_changed()

    def version_changed(self) -> None:
        """Another version was made live elsewhere: pages are to say so, the model to load it."""
        self.revisions.status_changed()
        self._model.submit(self._prepare, urgent=False)

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
        self._logs.conversations.erase_temporary()

    # --- Private -----------------------------------------------------------------------------

    def _start_reply(
        self,
        conversation_id: ConversationId,
        prompt_turn_id: TurnId,
        *,
        attempt: int,
        begun: str = "",
        versions: Versions | None = None,
    ) -> None:
        """Queue a reply. ``attempt`` is how many are stored; failed ones count by themselves."""
        attempt = max(attempt, self._attempts.get(prompt_turn_id, 0))
        self._attempts[prompt_turn_id] = attempt + 1
        self._failures.pop(conversation_id, None)
        self._notices.pop(conversation_id, None)
        seed = reply_seed(self._config.seed, prompt_turn_id, attempt)
        # Where nothing may be learned, an answer would be asked for nothing.
        may_ask = self._logs.conversations.get(conversation_id).learn
        job = ReplyJob(
            conversation_id,
            prompt_turn_id,
            seed,
            may_ask=may_ask,
            begun=begun,
            versions=versions,
        )
        self._jobs[conversation_id] = job
        self._core.changed(conversation_id)
        self._model.submit(partial(self._write, job), urgent=True)

    def _cut_off(self, turn: Turn) -> bool:
        if turn.candidate_id is None or not turn.message.content.strip():
            return False
        reply = self._logs.conversations.candidates([turn.candidate_id])[turn.candidate_id]
        return reply.completion.finish_reason in (FinishReason.ABORTED, FinishReason.LENGTH)

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
        except UnknownError:  # the conversation was deleted meanwhile
            if not job.finished:
                self._end(job)
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
            self._core.changed(job.conversation_id)
        job.finish()

    def _answer(
        self, comparison: Comparison, choice: Choice, *, decision_ms: int | None
    ) -> Receipt:
        if decision_ms is None:
            decision_ms = self._since(comparison)
        receipt = self._logs.feedback.answer(
            comparison.token,
            choice,
            decision_ms=decision_ms,
            continue_with=continued(comparison, choice).id,
        )
        if not receipt.already_saved:
            self._core.answered(comparison.conversation_id)
        return receipt

    def _prepare(self) -> None:
        """Load the live version, and encode the latest chat under it while the person reads."""
        latest = self._latest
        prompt = [] if latest is None else self._logs.conversations.path(latest)
        try:
            self._core.replies.prepare(
                self._logs.policies.current(),
                [turn.message for turn in prompt],
                self._model.hurry,
            )
        except LearnerError as error:  # the next reply meets it too, and says so on the page
            log.warning("The live version could not be prepared: %s", error)

    def _since(self, comparison: Comparison) -> int:
        """Milliseconds since the pair was shown, 0 where the clock was set back."""
        return max(0, round((self._clock() - comparison.asked_at).total_seconds() * 1000))

    def _collect_rounds(self) -> None:
        known = None
        while not self._closing.wait(self._config.collect_every_s):
            try:
                self.collect_now()
                # Another process may roll back, and the learner says itself what it does.
                now = self._logs.policies.current().id, self._learner_status()
                if now != known:
                    known = now
                    self.revisions.status_changed()
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
