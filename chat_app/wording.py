"""Sentences of the page that depend on numbers."""

from collections.abc import Iterable
from datetime import datetime

from chat_app.views import DeletionView, Status
from learner.progress import LearnerState
from learner.protocols import Draft, Stage
from storage.receipts import Answered, Attempt
from storage.records import BASE_VERSION, AskReason, Choice, PolicyVersionId, Question, RoundStatus

CHOICE_NAMES = {
    Choice.FIRST: "Reply 1 is better",
    Choice.SECOND: "Reply 2 is better",
    Choice.TIE: "About the same",
    Choice.BOTH_BAD: "Both are bad",
    Choice.SKIP: "Skipped",
    Choice.WITHDRAWN: "Taken back",
}

OUTCOMES = {
    RoundStatus.ACCEPTED: "kept",
    RoundStatus.REFUSED: "tried, not kept",
    RoundStatus.FAILED: "failed",
}
LEARNERS = {
    None: "off",
    LearnerState.IDLE: "idle",
    LearnerState.LEARNING: "learning",
    LearnerState.PAUSED: "paused",
    LearnerState.FAILED: "last lesson failed",
}


def version_name(version: PolicyVersionId) -> str:
    return "the untrained model" if version == BASE_VERSION else f"version {version}"


def learner_name(status: Status) -> str:
    return LEARNERS[status.learner and status.learner.state]


def why_asked(question: Question) -> str:
    """Why the person is asked, from the numbers that decided it."""
    chance = round(100 * question.first_better_prob)
    spread = round(100 * question.disagreement)
    numbers = (
        f"I give Reply 1 a {chance} % chance of being the one you like; "
        f"my judges disagree by ±{spread} points."
    )
    match question.reason:
        case AskReason.BURN_IN:
            return f"I know little about your taste yet, so I ask often. {numbers}"
        case AskReason.UNCERTAIN | AskReason.ALWAYS:
            return numbers
        case AskReason.RANDOM:
            return f"Now and then I ask at random, to check myself. {numbers}"
        case AskReason.COMPARE:
            return f"You let two versions reply; which is which is told afterwards. {numbers}"
        case AskReason.IMPORTED | AskReason.EDITED | AskReason.WRITTEN:
            return "You were not asked: this pair follows from what you wrote or brought along."


def stage_line(draft: Draft, candidates: int) -> str:
    match draft.stage:
        case Stage.WAITING:
            return "Waiting for another reply to be finished…"
        case Stage.DRAFTING:
            return f"Drafting {candidates} replies…"
        case Stage.STREAMING:
            return "Writing…" if len(draft.texts) == 1 else ""  # the pair says it itself
        case Stage.DONE:
            return ""


def lesson_line(status: Status) -> str:
    """How far the next lesson is, or what keeps it from coming."""
    waiting = count_of(status.waiting, "pick")
    match status.learner and status.learner.state:
        case None:
            return f"{waiting} saved, learning is off"
        case LearnerState.PAUSED:
            return f"learning is paused, {waiting} waiting"
        case LearnerState.LEARNING:
            return f"learning from {waiting}"
        case LearnerState.IDLE | LearnerState.FAILED if status.missing:
            return f"{count_of(status.missing, 'more pick')} until the next lesson"
        case LearnerState.IDLE | LearnerState.FAILED:
            return "the next lesson is about to start"


def answer_name(answer: Answered) -> str:
    """What the person did, as a sentence of the receipt."""
    match answer.reason:
        case AskReason.EDITED:
            return "Saved: you made this reply better."
        case AskReason.WRITTEN:
            return "Saved: you wrote a better one."
        case _:
            prefix = "" if answer.choice in (Choice.WITHDRAWN, Choice.SKIP) else "Saved: "
            return f"{prefix}{CHOICE_NAMES[answer.choice]}."


def receipt(answer: Answered, status: Status) -> str:
    """What became of an answer, up to now."""
    match answer.choice:
        case Choice.WITHDRAWN | Choice.SKIP:
            return "It teaches nothing."
        case Choice.TIE | Choice.BOTH_BAD if answer.counts:
            return "My judges know it from the next reply on."
        case _:
            pass
    if not answer.counts:
        unread = answer.reason in (AskReason.EDITED, AskReason.WRITTEN)
        return "I read it in a moment." if unread else "It is kept and not learned from."
    if answer.held_out:
        return (
            "One chat in ten only checks what I learned, and this is one: it is not learned from."
        )
    if answer.attempts:
        return _attempted(answer.attempts[-1])
    return _queued(status)


def _attempted(attempt: Attempt) -> str:
    match attempt.status:
        case RoundStatus.ACCEPTED if attempt.live:
            return f"Learned in version {attempt.round}, live."
        case RoundStatus.ACCEPTED:
            return f"Learned in version {attempt.round}, which is not live now: it waits again."
        case RoundStatus.REFUSED:
            return (
                f"Tried in lesson {attempt.round}, not kept yet: it comes back with the next one."
            )
        case RoundStatus.FAILED:
            return f"Lesson {attempt.round} failed: it comes back with the next one."


def _queued(status: Status) -> str:
    match status.learner and status.learner.state:
        case None:
            return "It is in the queue; learning is off."
        case LearnerState.PAUSED:
            return "It is in the queue; learning is paused."
        case LearnerState.LEARNING:
            return "It is in the queue; a lesson is running."
        case LearnerState.IDLE | LearnerState.FAILED if status.missing:
            return f"It is in the queue; {count_of(status.missing, 'more pick')} start a lesson."
        case LearnerState.IDLE | LearnerState.FAILED:
            return "It is in the queue; a lesson is about to start."


def earlier_picks(answers: Iterable[Answered]) -> str:
    """What became of the picks before the last reply, as one line; empty if there are none."""
    learned = waiting = 0
    for answer in answers:
        if answer.counts and answer.choice in (Choice.FIRST, Choice.SECOND):
            if any(one.status is RoundStatus.ACCEPTED and one.live for one in answer.attempts):
                learned += 1
            elif not answer.held_out:
                waiting += 1
    parts = [
        f"{count} {word}" for count, word in ((learned, "learned"), (waiting, "waiting")) if count
    ]
    return f"Earlier picks here: {', '.join(parts)}." if parts else ""


def deletion(view: DeletionView) -> str:
    """What is asked before a conversation is deleted."""
    goes = f"{count_of(view.messages, 'message')} and {count_of(view.choices, 'choice')}"
    sentence = f"Delete “{view.title}”? {goes} go for good, here and in what I learn from next."
    if not view.versions:
        return sentence
    names = ", ".join(map(str, view.versions))
    noun = "Version" if len(view.versions) == 1 else "Versions"
    verb = "has" if len(view.versions) == 1 else "have"
    return f"{sentence} {noun} {names} {verb} learned from them."


def age(since: datetime, now: datetime) -> str:
    """How long ago, in the largest unit that makes a whole number."""
    minutes = int((now - since).total_seconds() // 60)
    if minutes < 1:
        return "just now"
    if minutes < 60:
        return f"{count_of(minutes, 'minute')} ago"
    hours = minutes // 60
    return f"{count_of(hours, 'hour')} ago" if hours < 48 else f"{hours // 24} days ago"


def count_of(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"
