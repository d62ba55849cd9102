"""ChatService: everything a person can ask of the loop. No Gradio, no SQL, no tensors.

Messages are here; the replies being written, the choices and the loop around them each have a file
(``replying.py``, ``choosing.py``, ``loop.py``), and so have the list and the teaching.

Threads: any thread may call any method. The model is called on one thread of the service's own
(``model_thread.py``); a second one turns the learner's finished rounds into rows. ``_lock`` guards
the running replies and makes "check, store, queue" one step, so that two tabs on one conversation
take turns.

Durability: what a person wrote or chose is committed before the method returns, and before the
model is called. A reply that is written in place of another takes that place as it is stored. So a
crash can lose a reply in the making, never a message, a choice or the reply that stood there.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from chat_app.choosing import Choosing
from chat_app.completions import Completions
from chat_app.config import ServiceConfig
from chat_app.core import Core
from chat_app.dialogue import Dialogues, teaches
from chat_app.errors import ChatError, sentences
from chat_app.language import tr
from chat_app.loop import Loop
from chat_app.progress import LearnerStatus
from chat_app.ranking import RankingDesk
from chat_app.reading import read_conversation
from chat_app.replying import Replying
from chat_app.settings import Settings
from chat_app.shelf import Shelf
from chat_app.teaching import Teaching
from chat_app.views import ConversationView, Status
from learner.protocols import Draft, ReplyMaker
from storage.logs import Logs
from storage.records import (
    Choice,
    Comparison,
    Conversation,
    ConversationId,
    FinishReason,
    PolicyVersionId,
    Receipt,
    Role,
    RoundReport,
    Turn,
    TurnId,
)


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
        self._replying = Replying(self._core, self.choose)
        self._loop = Loop(self._core, learner_status, self._replying.prepare_soon)
        self._choosing = Choosing(self._core, self.teaching, clock, self._loop.heed_duels)
        self.ranking = RankingDesk(self._core)
        self.dialogues = Dialogues(self._core, self._replying)
        self._logs = logs
        self._lock = self._core.lock
        logs.conversations.erase_temporary()
        self._core.model.submit(self._core.resume, urgent=False)
        self._core.model.submit(self._core.read_written, urgent=False)
        self._loop.begin()

    # --- Conversations -----------------------------------------------------------------------

    def conversation(self, key: str) -> Conversation:
        """The conversation with this key, as it stands in the address of the page."""
        with sentences():
            found = self._logs.conversations.by_key(key)
        if found is None:
            raise ChatError(tr("This chat is not on this computer, or not any more."))
        return found

    def new_conversation(self) -> Conversation:
        return self.shelf.begin()

    def view(self, conversation_id: ConversationId) -> ConversationView:
        with self._lock, sentences():
            return read_conversation(
                self._logs,
                conversation_id,
                mark=self.revisions.mark(conversation_id),
                running=conversation_id in self._core.jobs,
                failed=self._replying.failure(conversation_id),
                notices=self._replying.notices(conversation_id),
            )

    # --- Messages and replies ----------------------------------------------------------------

    def check(self, text: str) -> str:
        """The message as it would be stored. Raises ChatError where it cannot be sent."""
        return self._core.check(text)

    def say(self, conversation_id: ConversationId, text: str) -> Turn:
        """Store a message and have its reply written; an open question counts as skipped.

        In a teaching chat it is the next side's message, and what is written is a suggestion.
        """
        message = self.check(text)
        with sentences():
            if teaches(self._logs.conversations.get(conversation_id)):
                return self.dialogues.say(conversation_id, message)
        with self._lock, sentences():
            self._core.refuse_while_writing(conversation_id)
            question = self._logs.feedback.open_question(conversation_id)
            if question is not None:
                self._choosing.choose(question.token, Choice.SKIP)
            turn = self._logs.conversations.say(conversation_id, message)
            self._replying.start(conversation_id, turn.id)
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
                raise ChatError(tr("Nothing was changed. Retry writes another reply to it."))
            turn = self._logs.branches.say_instead(turn_id, message)
            self._replying.start(conversation_id, turn.id)
            return turn

    def compare(self, text: str, one: PolicyVersionId, other: PolicyVersionId) -> Conversation:
        """Begin a chat in which two versions reply to ``text``, blind; the choice is like any."""
        message = self.check(text)
        if one == other:
            raise ChatError(tr("Choose two different versions."))
        with self._lock, sentences():
            for version in (one, other):
                self._logs.policies.get(version)
                if version not in self._logs.policies.servable_among([version]):
                    raise ChatError(
                        tr(
                            "Version {version} may not speak any more: choose another.",
                            version=version,
                        )
                    )
            chat = self.new_conversation()
            turn = self._logs.conversations.say(chat.id, message)
            self._replying.start(chat.id, turn.id, versions=(one, other))
            return chat

    def watch(self, conversation_id: ConversationId) -> Iterator[Draft]:
        """The drafts of the reply being written, newest first served, until it can be viewed."""
        return self._replying.watch(conversation_id)

    def stop(self, conversation_id: ConversationId) -> None:
        """End the reply being written, if any; the text so far stays, marked as aborted."""
        self._replying.stop(conversation_id)

    def pick_early(self, conversation_id: ConversationId, choice: Choice) -> bool:
        """Choose while a pair is written, FIRST, SECOND or SKIP; False where none is written."""
        return self._replying.pick_early(conversation_id, choice)

    def retry(self, conversation_id: ConversationId) -> None:
        """Write another reply to the last message; the one before stays stored, as a sibling.

        It is shown again where nothing comes of the other one.
        """
        with self._lock, sentences():
            self._core.refuse_while_writing(conversation_id)
            if self._logs.feedback.open_question(conversation_id) is not None:
                raise ChatError(tr("Pick one of the two replies first, or skip the question."))
            path = self._logs.conversations.path(conversation_id)
            if not path or path[-1].message.role is Role.SYSTEM:
                raise ChatError(tr("There is no message to reply to yet."))
            last, written = path[-1], 0
            if last.message.role is Role.ASSISTANT:
                written = len(self._logs.conversations.siblings(last.id))
                last = path[-2]
                if teaches(self._logs.conversations.get(conversation_id)):
                    # What is written there is a suggestion, and the reply is the person's to give.
                    self._logs.conversations.rewind(conversation_id, last.id)
            self._replying.start(conversation_id, last.id, attempt=written)

    def go_on(self, conversation_id: ConversationId) -> None:
        """Write on where the last reply was cut off; what there was stays stored, as in a retry."""
        with self._lock, sentences():
            self._core.refuse_while_writing(conversation_id)
            path = self._logs.conversations.path(conversation_id)
            if not path or not self._cut_off(path[-1]):
                raise ChatError(tr("There is no reply here that was cut off."))
            last, prompt = path[-1], path[-2]
            written = len(self._logs.conversations.siblings(last.id))
            self._replying.start(
                conversation_id, prompt.id, attempt=written, begun=last.message.content
            )

    def show(self, conversation_id: ConversationId, turn_id: TurnId) -> None:
        """Show another branch, or another reply to the same message."""
        with self._lock, sentences():
            self._core.refuse_while_writing(conversation_id)
            self._logs.branches.show(turn_id)
        self._core.changed(conversation_id)

    def _cut_off(self, turn: Turn) -> bool:
        if turn.candidate_id is None or not turn.message.content.strip():
            return False
        reply = self._logs.conversations.candidates([turn.candidate_id])[turn.candidate_id]
        return reply.completion.finish_reason in (FinishReason.ABORTED, FinishReason.LENGTH)

    # --- Choices -----------------------------------------------------------------------------

    def question(self, token: str) -> Comparison:
        """The pair of this token, answered or not."""
        return self._choosing.question(token)

    def choose(self, token: str, choice: Choice, decision_ms: int | None = None) -> Receipt:
        """Store the answer to a question; answering twice is no error (``Choosing.choose``)."""
        return self._choosing.choose(token, choice, decision_ms)

    def write_better(self, token: str, text: str) -> Receipt:
        """Answer a question with a reply of one's own, better than both."""
        return self._choosing.write_better(token, text)

    def undo(self, token: str) -> Receipt:
        """Take a choice back: it teaches nothing any more, the conversation stays as it is."""
        return self._choosing.undo(token)

    def change(self, token: str, choice: Choice) -> Receipt:
        """Answer otherwise, also after an undo; the reply it names is shown if it is the last."""
        return self._choosing.change(token, choice)

    # --- The loop ----------------------------------------------------------------------------

    def status(self) -> Status:
        return self._loop.status()

    def roll_back(self, version: PolicyVersionId) -> None:
        """Let an earlier version speak from the next reply on."""
        self._loop.roll_back(version)

    def collect_now(self) -> list[RoundReport]:
        """Turn the learner's finished rounds into rows; a passed version is live from now on."""
        return self._loop.collect_now()

    def version_changed(self) -> None:
        """Another version was made live elsewhere: pages are to say so, the model to load it."""
        self._loop.version_changed()

    @property
    def model_name(self) -> str:
        """How the page names the base model."""
        return self._core.config.model_name

    def completions(self, settings: Callable[[], Settings]) -> Completions:
        """Replies to other programs, in turn with those of the chat."""
        return Completions(self._core, settings)

    @property
    def max_message_chars(self) -> int:
        return self._core.config.max_message_chars

    def on_model(self, job: Callable[[], None]) -> None:
        """Run ``job`` on the model's thread, behind every reply that somebody waits for."""
        self._core.model.submit(job, urgent=False)

    def answered(self, conversation_id: ConversationId) -> None:
        """Answers of this conversation changed elsewhere than in the chat."""
        self._core.answered(conversation_id)

    def refit_soon(self) -> None:
        """Have the judges learn what the log, and the person's lean, say now."""
        self.on_model(self._core.refit)
        self.revisions.status_changed()

    def drain(self) -> None:
        """Block until the model is idle: replies stored, candidates finished, picks refitted."""
        self._core.model.drain()

    def close(self) -> None:
        """Stop what is being written, keep its text, and end both threads."""
        self._replying.stop_all()
        self.ranking.stop()
        self._loop.close()
        self._core.model.close()
        self._logs.conversations.erase_temporary()
