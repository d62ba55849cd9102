"""Teaching chats: a person writes both sides, and the policy suggests the assistant's.

The message at the head says whose turn it is. A suggestion is written as any reply is, and stays a
candidate that nobody was shown as an answer until the person lets it stand. What the person writes
instead is the better one of the two, as an edited reply is.
"""

from chat_app.core import Core
from chat_app.errors import ChatError, sentences
from chat_app.language import tr
from chat_app.replying import Replying
from storage.dialogues import DemonstrationCounts
from storage.logs import Logs
from storage.records import (
    Author,
    Candidate,
    Conversation,
    ConversationId,
    Purpose,
    Role,
    Turn,
    TurnId,
)

STOP_S = 10.0


class Dialogues:
    def __init__(self, core: Core, replying: Replying) -> None:
        self._core = core
        self._replying = replying
        self._log = core.logs.dialogues

    def say(self, conversation_id: ConversationId, text: str) -> Turn:
        """Add what the next side says; a suggestion that is being written is not waited for."""
        message = self._core.check(text)
        self._let_go(conversation_id)
        with self._core.lock, sentences():
            self._core.refuse_while_writing(conversation_id)
            open_ = self._open_message(conversation_id)
            if open_ is None:
                turn = self._core.logs.conversations.say(conversation_id, message)
                self._replying.start(conversation_id, turn.id)
                return turn
            suggested = suggestion(self._core.logs, open_.id)
            turn = self._core.logs.demonstrations.reply(
                open_.id, message, suggestion=suggested.id if suggested else None
            )
        self._core.answered(conversation_id)
        self._core.model.submit(self._core.read_written, urgent=False)
        return turn

    def undo(self, conversation_id: ConversationId) -> None:
        """Show the dialogue without its last message; nothing is deleted."""
        self._let_go(conversation_id)
        with self._core.lock, sentences():
            self._core.refuse_while_writing(conversation_id)
            path = self._core.logs.conversations.path(conversation_id)
            if not path or path[-1].message.role is Role.SYSTEM:
                raise ChatError(tr("There is nothing to undo."))
            self._core.logs.conversations.rewind(conversation_id, path[-1].parent_id)
        self._core.changed(conversation_id)

    def finish(self, conversation_id: ConversationId) -> None:
        """Keep the dialogue, up to its last reply, as an example."""
        with self._core.lock, sentences():
            self._log.finish(conversation_id)
        self._core.changed(conversation_id)

    def take_back(self, conversation_id: ConversationId) -> None:
        with self._core.lock, sentences():
            self._log.take_back(conversation_id)
        self._core.changed(conversation_id)

    def counts(self) -> DemonstrationCounts:
        with sentences():
            return self._log.counts()

    # --- Private -----------------------------------------------------------------------------

    def _let_go(self, conversation_id: ConversationId) -> None:
        with self._core.lock:
            job = self._core.jobs.get(conversation_id)
        if job is not None:
            self._replying.stop(conversation_id)
            job.wait(STOP_S)

    def _open_message(self, conversation_id: ConversationId) -> Turn | None:
        """The user's message that has no reply yet, if the dialogue ends with one."""
        path = self._core.logs.conversations.path(conversation_id)
        return path[-1] if path and path[-1].message.role is Role.USER else None


def teaches(chat: Conversation) -> bool:
    return chat.purpose is Purpose.TEACHING


def suggestion(logs: Logs, turn_id: TurnId) -> Candidate | None:
    """The newest whole suggestion for a message."""
    known = logs.rankings.known_answers(turn_id)
    mine = [one for one in known if one.author is Author.POLICY]
    return max(mine, key=lambda one: one.id, default=None)
