"""The simulated chat: the very code that serves a person, without the page.

Each turn says one prompt in a new conversation; where the loop asks, the rater picks; where
learning is on, the learner steps and its round is collected before the next turn. All waiting is
done here, so that a run repeats exactly under its seed.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from chat_app.service import ChatService
from chat_app.simulate.checkpoint import Checkpoint, Measuring, Progress, checkpoint_turns
from chat_app.simulate.errors import SimulationError
from chat_app.simulate.prompts import Prompt
from chat_app.simulate.rater import Rater
from learner.protocols import Learner
from storage.conversations import ConversationLog
from storage.feedback import FeedbackReader
from storage.policies import PolicyReader
from storage.records import (
    BASE_VERSION,
    Choice,
    Comparison,
    Completion,
    ConversationId,
    FinishReason,
    Preference,
    Role,
    Sampling,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """The real parts over one data folder; ``learner`` None leaves the policy as it is."""

    service: ChatService
    conversations: ConversationLog
    feedback: FeedbackReader
    policies: PolicyReader
    learner: Learner | None


class Simulation:
    """``prompts`` never ends. ``measuring`` looks from outside and changes nothing."""

    def __init__(
        self,
        loop: Loop,
        rater: Rater,
        prompts: Iterator[Prompt],
        measuring: Measuring,
        *,
        seed: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._loop = loop
        self._rater = rater
        self._prompts = prompts
        self._measuring = measuring
        self._rng = np.random.default_rng([seed, 1])  # the rater's noise
        self._clock = clock
        self._asked: list[Comparison] = []

    @property
    def asked(self) -> int:
        """Pairs shown so far."""
        return len(self._asked)

    def run(
        self, turns: int, *, started: float, said: Callable[[int], None]
    ) -> Iterator[Checkpoint]:
        """Yield each checkpoint as soon as it is measured; ``said`` is told of each turn done.

        ``started`` is the clock's reading when the run began. Raises SimulationError.
        """
        due = checkpoint_turns(turns)
        for turn in range(turns + 1):
            if turn > 0:
                self._turn(next(self._prompts))
                said(turn)
            if turn in due:
                yield self._measuring.measure(self._progress(turn, started))

    def _turn(self, prompt: Prompt) -> None:
        loop = self._loop
        conversation = loop.service.new_conversation()
        self._tell_history(conversation.id, prompt)
        loop.service.say(conversation.id, prompt[-1].content)
        loop.service.drain()
        view = loop.service.view(conversation.id)
        if view.failed is not None:
            raise SimulationError(view.failed)
        if view.question is None:
            return
        self._answer(view.question)
        if loop.learner is not None and loop.learner.step() is not None:
            loop.service.collect_now()
            loop.service.drain()  # the new version is prepared; no race decides what is cached

    def _answer(self, question: Comparison) -> None:
        self._asked.append(question)
        first, second = question.first.completion.text, question.second.completion.text
        choice = self._rater.choose(question.prompt, first, second, self._rng)
        self._loop.service.choose(question.token, choice, decision_ms=0)
        self._loop.service.drain()  # the ensemble is refitted

    def _tell_history(self, conversation_id: ConversationId, prompt: Prompt) -> None:
        """Store what was said before the last message, as if the base had replied."""
        turn_id = None
        for message in prompt[:-1]:
            if message.role is Role.USER:
                turn_id = self._loop.conversations.say(conversation_id, message.content).id
            else:
                self._loop.conversations.reply(turn_id, _written_before(message.content))

    def _progress(self, turn: int, started: float) -> Progress:
        return Progress(
            turn=turn,
            asked=len(self._asked),
            picks=self._picks(),
            live=self._loop.policies.current(),
            seconds=self._clock() - started,
        )

    def _picks(self) -> list[Preference]:
        answers = (self._loop.feedback.answer_of(question.id) for question in self._asked)
        return [pick for pick in answers if pick and pick.choice in (Choice.FIRST, Choice.SECOND)]


def _written_before(text: str) -> Completion:
    """A reply that came with the prompt: nobody sampled it, so it has no tokens to learn from."""
    return Completion(
        text=text,
        token_ids=(),
        logprobs=(),
        finish_reason=FinishReason.STOP,
        policy_version=BASE_VERSION,
        seed=0,
        sampling=Sampling(),
    )
