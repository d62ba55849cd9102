"""Answers to questions: given, taken back and changed. Each is stored before its method returns."""

from collections.abc import Callable
from datetime import datetime

from chat_app.core import Core
from chat_app.errors import sentences
from chat_app.teaching import Teaching
from storage.records import AskReason, Candidate, Choice, Comparison, Receipt


class Choosing:
    def __init__(
        self,
        core: Core,
        teaching: Teaching,
        clock: Callable[[], datetime],
        heed_duels: Callable[[], None],
    ) -> None:
        self._core = core
        self._heed_duels = heed_duels
        self._feedback = core.logs.feedback
        self._teaching = teaching
        self._clock = clock

    def question(self, token: str) -> Comparison:
        """The pair of this token, answered or not."""
        with sentences():
            return self._feedback.comparison(token)

    def choose(self, token: str, choice: Choice, decision_ms: int | None = None) -> Receipt:
        """Store the answer to a question and go on with the reply it names.

        Answering twice is no error: the receipt then tells what is stored. ``decision_ms`` None
        takes the time since the pair was shown.
        """
        with self._core.lock, sentences():
            question = self._feedback.comparison(token)
            if decision_ms is None:
                decision_ms = self._since(question)
            receipt = self._feedback.answer(
                token,
                choice,
                decision_ms=decision_ms,
                continue_with=continued(question, choice).id,
            )
        if not receipt.already_saved:
            self._answered(question)
        return receipt

    def write_better(self, token: str, text: str) -> Receipt:
        """Answer a question with a reply of one's own, better than both."""
        question = self.question(token)
        return self._teaching.write_better(
            question.conversation_id, token, text, self._since(question)
        )

    def undo(self, token: str) -> Receipt:
        """Take a choice back, or a better reply with all its pairs: it teaches nothing any more.

        The conversation stays as it is.
        """
        with self._core.lock, sentences():
            question = self._feedback.comparison(token)
            receipt = self._feedback.withdraw_act(token)
        self._answered(question)
        return receipt

    def change(self, token: str, choice: Choice) -> Receipt:
        """Answer otherwise, also after an undo; the reply it names is shown if it is the last."""
        logs = self._core.logs
        with self._core.lock, sentences():
            question = self._feedback.comparison(token)
            self._core.refuse_while_writing(question.conversation_id)
            receipt = self._feedback.change(token, choice, decision_ms=0)
            path = logs.conversations.path(question.conversation_id)
            if path and path[-1].parent_id == question.prompt_turn_id:
                logs.branches.show_reply(continued(question, choice).id)
        self._answered(question)
        return receipt

    def _answered(self, question: Comparison) -> None:
        self._core.answered(question.conversation_id)
        if question.question.reason is AskReason.DUEL:
            self._core.model.submit(self._heed_duels, urgent=False)

    def _since(self, comparison: Comparison) -> int:
        """Milliseconds since the pair was shown, 0 where the clock was set back."""
        return max(0, round((self._clock() - comparison.asked_at).total_seconds() * 1000))


def continued(comparison: Comparison, choice: Choice) -> Candidate:
    """The reply the conversation goes on with after ``choice``."""
    match choice:
        case Choice.FIRST | Choice.TIE | Choice.SKIP:
            return comparison.first
        case Choice.SECOND:
            return comparison.second
        case Choice.BOTH_BAD:
            return max(comparison.first, comparison.second, key=_reward)
        case Choice.WITHDRAWN:
            raise ValueError("a choice is withdrawn by undo, it is no answer")


def _reward(candidate: Candidate) -> float:
    mean = candidate.completion.reward_mean
    return float("-inf") if mean is None else mean
