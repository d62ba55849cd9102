"""The simulated chat: the very code that serves a person, without the page.

Each turn says one prompt in a new conversation; where the loop asks, the rater picks; where
learning is on, the learner steps and its round is collected before the next turn. All waiting is
done here, so that a run repeats exactly under its seed.

How far a run has come is read from the log of its chats, as a server that was killed does it: what
was said last is finished first, and the next turn follows.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from chat_app.service import ChatService
from chat_app.simulate.checkpoint import Checkpoint, Measuring, Progress, checkpoint_turns
from chat_app.simulate.errors import SimulationError
from chat_app.simulate.keys import TurnKeys
from chat_app.simulate.prompts import Prompt
from chat_app.simulate.rater import Rater
from chat_app.views import ConversationView
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
    keys: TurnKeys
    """What ``conversations`` takes its keys from."""


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
        self._seed = seed
        self._clock = clock

    def run(
        self, turns: int, *, measured: int, started: float, said: Callable[[int], None]
    ) -> Iterator[Checkpoint]:
        """Yield each checkpoint as soon as it is measured; ``said`` is told of each turn done.

        ``measured`` is the turn of the last checkpoint of an earlier start, -1 without one;
        ``started`` the clock's reading when the run began. Raises SimulationError.
        """
        due = {turn for turn in checkpoint_turns(turns) if turn > measured}
        begun = len(self._loop.conversations.list(limit=turns + 1))
        for turn in range(turns + 1):
            if turn > 0:
                prompt = next(self._prompts)
                if turn >= begun:
                    self._turn(turn, prompt)
                said(turn)
            if turn in due:
                yield self._measuring.measure(self._progress(turn, started))

    def _turn(self, turn: int, prompt: Prompt) -> None:
        """One turn, or the rest of it where a start before this one was cut off."""
        loop = self._loop
        loop.keys.begin(turn)
        loop.service.collect_now()
        conversation = self._begun(turn)
        self._tell(conversation, prompt)
        loop.service.drain()
        view = loop.service.view(conversation)
        if view.failed is not None:
            raise SimulationError(view.failed)
        if view.question is not None:
            self._answer(turn, view.question)
        if loop.learner is not None and loop.learner.step() is not None:
            loop.service.collect_now()
            loop.service.drain()  # the new version is prepared; no race decides what is cached

    def _begun(self, turn: int) -> ConversationId:
        """The chat of this turn, a new one if need be."""
        chats = self._loop.conversations.list(limit=turn)
        if len(chats) == turn:
            return chats[0].id  # the newest comes first
        return self._loop.service.new_conversation().id

    def _tell(self, conversation_id: ConversationId, prompt: Prompt) -> None:
        """Say what was not said yet; what comes before the last message, as if the base had."""
        loop = self._loop
        path = loop.conversations.path(conversation_id)
        turn_id = path[-1].id if path else None
        for message in prompt[len(path) : -1]:
            if message.role is Role.USER:
                turn_id = loop.conversations.say(conversation_id, message.content).id
            else:
                loop.conversations.reply(turn_id, _written_before(message.content))
        if len(path) < len(prompt):
            loop.service.say(conversation_id, prompt[-1].content)
        elif _has_no_reply(loop.service.view(conversation_id)):
            loop.service.retry(conversation_id)

    def _answer(self, turn: int, question: Comparison) -> None:
        first, second = question.first.completion.text, question.second.completion.text
        noise = np.random.default_rng([self._seed, 1, turn])  # the rater's own
        choice = self._rater.choose(question.prompt, first, second, noise)
        self._loop.service.choose(question.token, choice, decision_ms=0)
        self._loop.service.drain()  # the ensemble is refitted

    def _progress(self, turn: int, started: float) -> Progress:
        feedback = self._loop.feedback
        answers = sorted(
            [*feedback.preferences(), *feedback.held_out()], key=lambda answer: answer.id
        )
        return Progress(
            turn=turn,
            asked=len(answers),  # each is answered at once, be it with a skip
            picks=[one for one in answers if one.choice in (Choice.FIRST, Choice.SECOND)],
            live=self._loop.policies.current(),
            seconds=self._clock() - started,
        )


def _has_no_reply(view: ConversationView) -> bool:
    """Whether the last message went without one, or with one that was stopped on its way."""
    last = view.turns[-1].candidate_id
    stopped = (
        last is not None and view.written[last].completion.finish_reason is FinishReason.ABORTED
    )
    return view.interrupted or stopped


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
