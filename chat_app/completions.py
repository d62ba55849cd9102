"""Replies to other programs: written by the live version, on the model's thread, in turn with the
chat.

A program waits behind the reply that is being written and never cuts in. What it said is kept only
where the person wants that: as a chat that is not learned from.
"""

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Event

from chat_app.core import Core
from chat_app.errors import ChatError, sentences
from chat_app.openai_shapes import ApiError, Asked
from chat_app.settings import Settings
from learner.errors import LearnerError, PromptFormError, PromptTooLongError
from learner.protocols import Draft, Stage
from storage.errors import StorageError
from storage.records import Completion, FinishReason, Message, PolicyVersion, Role, Sampling, Thumb

log = logging.getLogger(__name__)

MAX_REPLY_TOKENS = 512
"""A longer reply is not promised, whatever a program asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A finished reply."""

    text: str
    """Of the reply, up to a stop text."""
    completion: Completion
    kept: str | None
    """The key of the chat in which it is kept, if it is: nobody can guess another's."""


class Completions:
    def __init__(self, core: Core, settings: Callable[[], Settings]) -> None:
        """``settings`` tells how replies are written now, and whether to keep these."""
        self._core = core
        self._settings = settings

    def reply(
        self,
        asked: Asked,
        *,
        write: Callable[[str], None],
        done: Callable[[Told | ApiError], None],
        cancel: Event,
    ) -> None:
        """Queue a reply. ``write`` hears what is new of the text, ``done`` how it ended.

        Both are called on the model's thread. What is cancelled before its turn is not begun.
        Raises ApiError where the server is ending.
        """

        def job() -> None:
            try:
                result: Told | ApiError = self._written(asked, write, cancel)
            except ApiError as error:
                result = error
            except PromptTooLongError as error:
                result = ApiError(str(error), param="messages", code="context_length_exceeded")
            except PromptFormError as error:
                result = ApiError(str(error), param="messages")
            except (LearnerError, StorageError, ChatError) as error:
                result = ApiError(str(error), status=503)
            except Exception:
                log.exception("A reply to a program failed")
                result = ApiError("The reply failed; the log says why.", status=500)
            done(result)

        try:
            self._core.model.submit(job, urgent=True)
        except RuntimeError as error:
            raise ApiError("twofold is ending.", status=503) from error

    def rate(self, kept: str, thumb: Thumb) -> None:
        """Keep a thumb on the reply that was kept in the chat of this key.

        Raises ChatError where there is none, or the chat teaches: a program has no taste to learn.
        """
        log_ = self._core.logs.conversations
        with sentences():
            chat = log_.by_key(kept)
            turns = [] if chat is None or chat.learn else log_.all_turns(chat.id)
            reply = next((turn for turn in turns if turn.message.role is Role.ASSISTANT), None)
            if reply is None:
                raise ChatError("No reply was kept under this id that a program may rate.")
            self._core.logs.opinions.rate(reply.id, thumb)
        self._core.revisions.status_changed()

    # --- On the model's thread ---------------------------------------------------------------

    def _written(self, asked: Asked, write: Callable[[str], None], cancel: Event) -> Told:
        if cancel.is_set():
            raise ApiError("The reply was cancelled before its turn.", status=503)
        settings, replies = self._settings(), self._core.replies
        version = self._core.logs.policies.current()
        stream = _Stream(write, asked.stops, ended := Event())

        def emit(draft: Draft) -> None:
            if cancel.is_set():
                ended.set()
            if draft.stage is Stage.STREAMING and draft.texts:
                stream.show(draft.texts[0])

        replies.configure(settings.ask, _sampling(settings.engine.sampling, asked))
        try:
            plan = replies.reply(
                asked.messages,
                version,
                secrets.randbits(31) if asked.seed is None else asked.seed,
                emit,
                ended,
                may_ask=False,
            )
        finally:
            now = self._settings()
            replies.configure(now.ask, now.engine.sampling)
        completion = plan.shown[0]
        text = stream.finish(completion.text)
        if stream.stopped:  # by the program, wherever the model would have ended
            completion = replace(completion, finish_reason=FinishReason.ABORTED)
        kept = None
        if settings.api_log and text.strip():
            told = completion
            if stream.stopped:
                told = self._up_to_stop(asked.messages, text, completion, version)
            kept = None if told is None else self._keep(asked.messages, told)
        return Told(text=text, completion=completion, kept=kept)

    def _up_to_stop(
        self, messages: Sequence[Message], text: str, drawn: Completion, version: PolicyVersion
    ) -> Completion | None:
        """The reply without what was drawn from its stop text on, read anew by the model.

        None where it is too long to be read.
        """
        try:
            read = self._core.replies.written(messages, text, version)
        except PromptTooLongError as error:
            log.warning("A reply to a program is not kept: %s", error)
            return None
        return replace(read, finish_reason=drawn.finish_reason, seed=drawn.seed)

    def _keep(self, messages: Sequence[Message], completion: Completion) -> str:
        """The last message and its reply as a chat that is not learned from; return its key."""
        log_ = self._core.logs.conversations
        told = messages[0].content if messages[0].role is Role.SYSTEM else ""
        chat = log_.start(learn=False, instructions=told)
        turn = log_.say(chat.id, messages[-1].content)
        log_.reply(turn.id, completion)
        self._core.changed(chat.id)
        return chat.key


class _Stream:
    """What is new of a growing text, without what a stop text begins, which ends it."""

    def __init__(self, write: Callable[[str], None], stops: Sequence[str], ended: Event) -> None:
        self._write = write
        self._stops = stops
        self._ended = ended
        self._told = ""
        self.stopped = False
        """Whether a stop text was found."""

    def show(self, text: str) -> None:
        cut = self._cut(text)
        if self.stopped:
            self._ended.set()
        else:
            cut = cut[: len(cut) - _begun(cut, self._stops)]
        self._tell(cut)

    def finish(self, text: str) -> str:
        """The rest; returns all that was told, which is the reply."""
        self._tell(self._cut(text))
        return self._told

    def _cut(self, text: str) -> str:
        """``text`` up to the first stop text."""
        ends = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        self.stopped = self.stopped or bool(ends)
        return text[: min(ends)] if ends else text

    def _tell(self, text: str) -> None:
        if len(text) > len(self._told) and text.startswith(self._told):
            self._write(text[len(self._told) :])
            self._told = text


def _begun(text: str, stops: Sequence[str]) -> int:
    """How many characters at the end of ``text`` may be the beginning of a stop text."""
    sizes = (size for stop in stops for size in range(len(stop) - 1, 0, -1))
    return max(
        (size for size in sizes if any(text.endswith(stop[:size]) for stop in stops)), default=0
    )


def _sampling(now: Sampling, asked: Asked) -> Sampling:
    wishes = {
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "max_new_tokens": asked.max_tokens and min(asked.max_tokens, MAX_REPLY_TOKENS),
    }
    return replace(now, **{name: value for name, value in wishes.items() if value is not None})
