"""What the latest lesson changed: the same message answered by the parent and by the new version.

Written when somebody asks for it, under one seed, and kept nowhere: it costs two replies of the
model's time, and texts that are erased must not live on in a demonstration.
"""

from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Event

from chat_app.errors import ChatError, sentences
from chat_app.language import tr
from learner.errors import LearnerError
from learner.protocols import ReplyMaker
from storage.pick_list import PickReader
from storage.policies import PolicyReader
from storage.records import BASE_VERSION, Completion, Message, PolicyVersion

PATIENCE_S = 120.0
SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BeforeAndAfter:
    version: PolicyVersion
    message: str
    before: str
    after: str


class LessonDemo:
    def __init__(
        self,
        *,
        policies: PolicyReader,
        picks: PickReader,
        replies: ReplyMaker,
        on_model: Callable[[Callable[[], None]], None],
    ) -> None:
        self._policies = policies
        self._picks = picks
        self._replies = replies
        self._on_model = on_model

    def show(self) -> BeforeAndAfter:
        """Let parent and live version answer the last message the live one learned from.

        Blocks until the model has had the time. Raises ChatError.
        """
        with sentences():
            live = self._policies.current()
            if live.id == BASE_VERSION or live.parent is None:
                raise ChatError(tr("The untrained model speaks: there is no lesson to show."))
            parent = self._policies.get(live.parent)
            prompt = self._prompt(live)
        results: Queue[tuple[Completion, ...] | Exception] = Queue()
        self._on_model(lambda: results.put(self._written(prompt, parent, live)))
        try:
            result = results.get(timeout=PATIENCE_S)
        except Empty as error:
            raise ChatError(tr("The model is busy with replies: try again in a moment.")) from error
        if isinstance(result, Exception):
            raise ChatError(tr("This could not be shown: {result}", result=result)) from result
        texts = {one.policy_version: one.text for one in result}
        return BeforeAndAfter(
            version=live,
            message=prompt[-1].content,
            before=texts[parent.id],
            after=texts[live.id],
        )

    def _prompt(self, version: PolicyVersion) -> tuple[Message, ...]:
        lesson = self._policies.round(version.id)
        for pick in reversed(lesson.preference_ids if lesson else ()):
            comparison = self._picks.question_of(pick)
            if comparison is not None:
                return self._picks.detail(comparison).comparison.prompt
        raise ChatError(
            tr("The chats of its latest lesson were deleted: there is nothing to show.")
        )

    def _written(
        self, prompt: tuple[Message, ...], parent: PolicyVersion, live: PolicyVersion
    ) -> tuple[Completion, ...] | Exception:
        try:
            return self._replies.compare(
                prompt, (parent, live), SEED, lambda _: None, Event()
            ).shown
        except LearnerError as error:
            return error
