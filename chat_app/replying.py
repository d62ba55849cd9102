"""The replies being written: begun, watched, stopped, chosen early, and what became of each.

Any thread may call any method; the model is called on the model's thread only. The lock of ``Core``
guards the jobs. A reply that fails leaves a sentence for the page, and the chat as it was.
"""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import blake2b

from chat_app.core import Core
from chat_app.language import tr, tr_told
from chat_app.reply_job import ReplyJob, Versions
from chat_app.reply_writer import ReplyWriter, Written
from learner.errors import LearnerError
from learner.protocols import Draft
from storage.errors import StorageError, UnknownError
from storage.records import Choice, ConversationId, Purpose, Receipt, TurnId

log = logging.getLogger(__name__)


class Replying:
    def __init__(self, core: Core, answer: Callable[[str, Choice, int], Receipt]) -> None:
        """``answer`` stores what was chosen while a pair was written: token, choice, its time."""
        self._core = core
        self._answer = answer
        self._writer = ReplyWriter(core.logs.conversations, core.logs.policies, core.replies)
        self._failures: dict[ConversationId, str] = {}
        self._notices: dict[ConversationId, tuple[str, ...]] = {}
        self._attempts: dict[TurnId, int] = {}
        self._latest: ConversationId | None = None  # where the newest reply was written

    def failure(self, conversation_id: ConversationId) -> str | None:
        """Why the newest try at a reply failed, as a sentence; None where it did not."""
        return self._failures.get(conversation_id)

    def notices(self, conversation_id: ConversationId) -> tuple[str, ...]:
        """What is worth knowing about the last reply."""
        return self._notices.get(conversation_id, ())

    def start(
        self,
        conversation_id: ConversationId,
        prompt_turn_id: TurnId,
        *,
        attempt: int = 0,
        begun: str = "",
        versions: Versions | None = None,
    ) -> None:
        """Queue a reply; the caller holds the lock and has refused where one is being written.

        ``attempt`` is how many are stored; failed ones count by themselves.
        """
        attempt = max(attempt, self._attempts.get(prompt_turn_id, 0))
        self._attempts[prompt_turn_id] = attempt + 1
        self._failures.pop(conversation_id, None)
        self._notices.pop(conversation_id, None)
        seed = reply_seed(self._core.config.seed, prompt_turn_id, attempt)
        # Where nothing may be learned, an answer would be asked for nothing.
        chat = self._core.logs.conversations.get(conversation_id)
        suggests = chat.purpose is Purpose.TEACHING
        job = ReplyJob(
            conversation_id,
            prompt_turn_id,
            seed,
            may_ask=chat.learn and not suggests,
            begun=begun,
            versions=versions,
            suggests=suggests,
        )
        self._core.jobs[conversation_id] = job
        self._core.changed(conversation_id)
        self._core.model.submit(partial(self._write, job), urgent=True)

    def watch(self, conversation_id: ConversationId) -> Iterator[Draft]:
        """The drafts of the reply being written, newest first served, until it can be viewed.

        Yields nothing where none is being written. Any number of pages may watch.
        """
        with self._core.lock:
            job = self._core.jobs.get(conversation_id)
        if job is not None:
            yield from job.watch()

    def stop(self, conversation_id: ConversationId) -> None:
        """End the reply being written, if any; the text so far stays, marked as aborted."""
        with self._core.lock:
            job = self._core.jobs.get(conversation_id)
            if job is not None:
                self._cancel(job)

    def stop_all(self) -> None:
        with self._core.lock:
            for job in list(self._core.jobs.values()):
                self._cancel(job)

    def pick_early(self, conversation_id: ConversationId, choice: Choice) -> bool:
        """Choose while the pair is written: the choice is stored when the chosen reply is whole.

        Returns False where nothing is being written (any more).
        """
        with self._core.lock:
            job = self._core.jobs.get(conversation_id)
            if job is not None:
                job.early.take(choice)
            return job is not None

    def prepare_soon(self) -> None:
        """Have the live version loaded, and the latest chat encoded under it, in a quiet moment."""
        self._core.model.submit(self._prepare, urgent=False)

    # --- Private -----------------------------------------------------------------------------

    def _cancel(self, job: ReplyJob) -> None:
        job.cancel.set()
        if not job.started:  # it still waits for another reply: nothing would come of it
            self._end(job)

    def _write(self, job: ReplyJob) -> None:
        with self._core.lock:
            if job.finished:
                return
            job.started = True
        try:
            self._writer.write(job, partial(self._shown, job), self._core.model.hurry)
        except UnknownError:  # the conversation was deleted meanwhile
            if not job.finished:
                self._end(job)
        except Exception as error:
            log.exception("The reply to turn %d failed", job.prompt_turn_id)
            if not job.finished:
                self._end(job, failure=_failure(error))

    def _shown(self, job: ReplyJob, written: Written) -> None:
        self._latest = job.conversation_id
        question = written.question
        with self._core.lock:  # a click until here is in ``early``, one after it finds the question
            picked = job.early.choice
            if question is None or picked is None:
                self._end(job, notices=written.notices)
                return
        self._answer(question, picked, job.early.decision_ms)
        self._end(job, notices=written.notices)

    def _end(
        self, job: ReplyJob, *, failure: str | None = None, notices: tuple[str, ...] = ()
    ) -> None:
        with self._core.lock:
            del self._core.jobs[job.conversation_id]
            if failure is not None:
                self._failures[job.conversation_id] = failure
            self._notices[job.conversation_id] = notices
            self._core.changed(job.conversation_id)
        job.finish()

    def _prepare(self) -> None:
        latest, logs = self._latest, self._core.logs
        try:
            prompt = [] if latest is None else logs.conversations.path(latest)
        except UnknownError:  # it was deleted since
            prompt = []
        try:
            self._core.replies.prepare(
                logs.policies.current(),
                [turn.message for turn in prompt],
                self._core.model.hurry,
            )
        except LearnerError as error:  # the next reply meets it too, and says so on the page
            log.warning("The live version could not be prepared: %s", error)


def reply_seed(seed: int, prompt_turn_id: TurnId, attempt: int) -> int:
    """31 bits that differ for every message and attempt and repeat with ``seed``."""
    digest = blake2b(f"{seed}/{prompt_turn_id}/{attempt}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) >> 1


def _failure(error: Exception) -> str:
    if isinstance(error, LearnerError | StorageError):
        return tr("This reply failed: {error}", error=tr_told(str(error)))
    return tr("This reply failed. Nothing you wrote is lost; the log says why.")
