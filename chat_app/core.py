"""What the services share: the logs, the model's thread, and the replies being written.

``lock`` guards the replies being written and makes "check, store, queue" one step, so that two
tabs on one conversation take turns.
"""

import logging
from threading import Event, RLock

from chat_app.config import ServiceConfig
from chat_app.errors import ChatError
from chat_app.language import tr
from chat_app.model_thread import ModelThread
from chat_app.reply_job import ReplyJob
from chat_app.revisions import Revisions
from learner.errors import LearnerError
from learner.protocols import ReplyMaker
from storage.logs import Logs
from storage.records import ConversationId, Preference
from storage.text import clean_text

log = logging.getLogger(__name__)


class Core:
    def __init__(self, logs: Logs, replies: ReplyMaker, config: ServiceConfig) -> None:
        self.logs = logs
        self.replies = replies
        self.config = config
        self.lock = RLock()
        self.jobs: dict[ConversationId, ReplyJob] = {}
        self.revisions = Revisions()
        self.model = ModelThread()
        self._refit_waits = Event()

    def refuse_while_writing(self, conversation_id: ConversationId) -> None:
        if conversation_id in self.jobs:
            raise ChatError(
                tr(
                    "A reply is still being written in this chat, here or on another page. Your "
                    "text is kept; stop that reply, or wait for it."
                )
            )

    def check(self, text: str) -> str:
        """A text as it would be stored. Raises ChatError where it cannot be sent."""
        message = clean_text(text).strip()
        if not message:
            raise ChatError(tr("Write a message first; this one is empty."))
        if len(message) > self.config.max_message_chars:
            raise ChatError(
                tr(
                    "This message has {count:,} characters; at most {max_message_chars:,} fit. "
                    "Nothing was sent, your text is kept.",
                    count=len(message),
                    max_message_chars=self.config.max_message_chars,
                )
            )
        return message

    def changed(self, conversation_id: ConversationId) -> None:
        self.revisions.changed(conversation_id)

    def answered(self, conversation_id: ConversationId) -> None:
        """An answer or a thumb was saved, changed or taken back: the judges are to know at once."""
        self.revisions.changed(conversation_id)
        self.revisions.status_changed()
        if not self._refit_waits.is_set():  # one that waits will read this answer, too
            self._refit_waits.set()
            self.model.submit(self._refit_once, urgent=False)

    def resume(self) -> None:
        """Begin where an earlier process left off."""
        self.logs.conversations.erase_without_slate()
        self.refit()  # first: the replies of old picks are older than the latest
        # What a style does to a reply is seen without any answer, so all chats count.
        n = self.config.resumed
        latest = self.logs.feedback.pools(limit=n, with_held_out=True, with_cut=True)
        self.replies.resume(self.logs.trends.decisions(n), latest[::-1])

    def _refit_once(self) -> None:
        self._refit_waits.clear()
        self.refit()

    def refit(self) -> None:
        self._refit(self.logs.feedback.preferences())

    def read_written(self) -> None:
        """Make tokens and features of what people wrote, so that it counts; then refit."""
        unread = self.logs.demonstrations.unread()
        for one in unread:
            version = self.logs.policies.current()
            try:
                completion = self.replies.written(one.prompt, one.text, version)
            except LearnerError as error:
                log.warning("A reply that a person wrote teaches nothing: %s", error)
                continue
            self.logs.demonstrations.read(one.id, completion)
        if unread:
            self.refit()
            self.revisions.status_changed()

    def _refit(self, preferences: list[Preference]) -> None:
        self.replies.refit(preferences, self.logs.opinions.rated(), self.logs.rankings.rankings())
