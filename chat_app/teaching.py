"""What a person says beside choosing: thumbs, reasons, labels, and replies in their own words."""

from collections.abc import Iterable

from chat_app.core import Core
from chat_app.errors import ChatError, sentences
from chat_app.language import tr
from storage.records import (
    ConversationId,
    Label,
    Note,
    PreferenceId,
    Receipt,
    Thumb,
    Turn,
    TurnId,
)

REASONS_BETTER = ("correct", "on_task", "clear", "length", "tone", "creative")
REASONS_WORSE = ("wrong", "ignored", "too_long", "too_short", "refused", "style")


class Teaching:
    def __init__(self, core: Core) -> None:
        self._core = core

    def rate(self, conversation_id: ConversationId, turn_id: TurnId, thumb: Thumb) -> None:
        """Keep a thumb on a reply; NONE takes it back."""
        with sentences():
            self._core.logs.opinions.rate(turn_id, thumb)
        self._core.answered(conversation_id)

    def label(
        self, conversation_id: ConversationId, turn_id: TurnId, labels: Iterable[str]
    ) -> None:
        """Keep what is wrong with a reply, by the names of ``Label``; none takes all back."""
        given = set(labels)
        if unknown := given - set(Label):
            raise ChatError(
                tr("These labels are not known here: {known}.", known=", ".join(sorted(unknown)))
            )
        with sentences():
            self._core.logs.labels.label(turn_id, map(Label, given))
        self._core.changed(conversation_id)

    def annotate(
        self, conversation_id: ConversationId, preference_id: PreferenceId, note: Note
    ) -> None:
        """Keep how strongly and why a choice was made."""
        unknown = set(note.reasons) - {*REASONS_BETTER, *REASONS_WORSE}
        if unknown:
            raise ChatError(
                tr("These reasons are not known here: {known}.", known=", ".join(sorted(unknown)))
            )
        if note.comment:
            self._core.check(note.comment)
        with sentences():
            self._core.logs.opinions.annotate(preference_id, note)
        self._core.changed(conversation_id)

    def edit_reply(self, conversation_id: ConversationId, turn_id: TurnId, text: str) -> Turn:
        """Put the person's text beside a reply and go on with it; it is the better of the two."""
        body = self._core.check(text)
        with self._core.lock, sentences():
            self._core.refuse_while_writing(conversation_id)
            turn = self._core.logs.demonstrations.edit(turn_id, body)
        self._written(conversation_id)
        return turn

    def write_better(
        self, conversation_id: ConversationId, token: str, text: str, decision_ms: int
    ) -> Receipt:
        """Answer an open question with a reply of one's own, better than both."""
        body = self._core.check(text)
        with self._core.lock, sentences():
            receipt = self._core.logs.demonstrations.write_better(
                token, body, decision_ms=decision_ms
            )
        self._written(conversation_id)
        return receipt

    def _written(self, conversation_id: ConversationId) -> None:
        self._core.answered(conversation_id)
        self._core.model.submit(self._core.read_written, urgent=False)
