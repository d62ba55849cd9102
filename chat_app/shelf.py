"""The list of conversations: finding, naming and deleting them, and what may be learned there."""

from chat_app.core import Core
from chat_app.errors import ChatError, sentences
from chat_app.language import tr
from chat_app.views import DeletionView
from storage.records import Choice, Conversation, ConversationId, Purpose, Role

LISTED = 200
"""Chats that the sidebar lists, newest first; older ones are found by their words."""


class Shelf:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._log = core.logs.conversations

    def list(self, words: str = "", limit: int = LISTED + 1) -> "list[Conversation]":
        """The conversations in which all ``words`` occur, newest first; temporary ones never.

        One more than are listed tells that there are older ones.
        """
        with sentences():
            return self._log.search(words, limit=limit)

    def begin(
        self,
        *,
        learn: bool = True,
        temporary: bool = False,
        instructions: str = "",
        purpose: Purpose = Purpose.CHAT,
    ) -> Conversation:
        """Begin a conversation. Raises ChatError where the instructions are too long."""
        if purpose is Purpose.TEACHING and (temporary or not learn):
            raise ChatError(
                tr("A chat that is not learned from cannot teach: choose one of the two.")
            )
        if instructions.strip():
            instructions = self._core.check(instructions)
        with sentences():
            return self._log.start(
                learn=learn, temporary=temporary, instructions=instructions, purpose=purpose
            )

    def rename(self, conversation_id: ConversationId, title: str) -> None:
        if not title.strip():
            raise ChatError(tr("Write a name first; this one is empty."))
        with sentences():
            self._log.rename(conversation_id, title)
        self._core.changed(conversation_id)

    def set_learn(self, conversation_id: ConversationId, learn: bool) -> None:
        """Let the conversation's answers, past ones included, teach from now on, or not."""
        with sentences():
            chat = self._log.get(conversation_id)
            if chat.temporary and learn:
                raise ChatError(tr("A temporary chat is never learned from."))
            if chat.learn == learn:
                return
            self._log.set_learn(conversation_id, learn)
        self._core.answered(conversation_id)

    def deletion(self, conversation_id: ConversationId) -> DeletionView:
        """What deleting would take away, for the person to confirm."""
        with sentences():
            chat = self._log.get(conversation_id)
            messages = self._log.all_turns(conversation_id)
            asked = [turn.id for turn in messages if turn.message.role is Role.USER]
            answers = self._core.logs.receipts.of(asked)
            versions = self._core.logs.forgetting.versions_that_saw_chat(conversation_id)
        return DeletionView(
            title=chat.title or tr("New chat"),
            messages=sum(turn.message.role is Role.USER for turn in messages),
            choices=sum(answer.choice is not Choice.WITHDRAWN for answer in answers),
            versions=tuple(versions),
        )

    def delete(self, conversation_id: ConversationId, *, unlearn: bool = False) -> None:
        """Erase all that was said and chosen there; a reply being written is stopped first.

        ``unlearn`` also takes back the versions that have learned from it.
        """
        with self._core.lock:
            job = self._core.jobs.get(conversation_id)
        if job is not None:
            job.cancel.set()
            job.wait(10.0)
        with self._core.lock, sentences():
            self._core.logs.forgetting.delete_conversation(conversation_id, unlearn=unlearn)
        self._core.answered(conversation_id)

    def end_temporary(self, conversation_id: ConversationId) -> None:
        """The page of a temporary conversation was closed, or left it: erase it."""
        with sentences():
            chat = self._log.get(conversation_id)
        if chat.temporary:
            self.delete(conversation_id)
