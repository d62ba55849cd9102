"""Sentences of the page that depend on numbers."""

from datetime import datetime

from chat_app.views import Status
from learner.progress import LearnerState
from learner.protocols import Draft, Stage
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
