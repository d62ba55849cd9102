"""Sentences of the page that depend on numbers."""

from collections.abc import Iterable
from datetime import datetime

from chat_app.views import ConversationView, DeletionView, Status
from learner.progress import LearnerState
from learner.protocols import Draft, Stage
from storage.receipts import Answered, Attempt
from storage.records import (
    BASE_VERSION,
    AskReason,
    Author,
    Choice,
    Conversation,
    FinishReason,
    PolicyVersionId,
    Purpose,
    Question,
    RoundStatus,
    Strength,
    TurnState,
)

CHOICE_NAMES = {
    Choice.FIRST: "Reply 1 is better",
    Choice.SECOND: "Reply 2 is better",
    Choice.TIE: "About the same",
    Choice.BOTH_BAD: "Both are bad",
    Choice.SKIP: "Skipped",
    Choice.WITHDRAWN: "Taken back",
}

STRENGTHS = {Strength.SLIGHTLY: "Slightly better", Strength.CLEARLY: "Clearly better"}

REASONS = {
    "correct": "Correct",
    "on_task": "Followed my instructions",
    "clear": "Clear",
    "length": "Right length",
    "tone": "Good tone",
    "creative": "Creative",
    "wrong": "Wrong facts",
    "ignored": "Ignored instructions",
    "too_long": "Too long",
    "too_short": "Too short",
    "refused": "Refused needlessly",
    "style": "Bad style",
}

KEYS_HINT = (
    "The keys work outside of the message box (Esc leaves it); Alt+1 and Alt+2 work everywhere."
)
ANSWERS_HELP = """
- **Reply 1 / Reply 2 is better**: the chat goes on with it, and I learn that you like it better.
- **About the same**: the chat goes on with Reply 1. I learn that there is little between them.
- **Both are bad**: the chat goes on with the one my judges like better. I learn to avoid both.
- **Write a better one**: the chat goes on with your text, and I learn that it beats both.
- **Skip**, or simply typing on: the chat goes on with Reply 1. It teaches nothing, neither way.

You can take back or change an answer later.
"""
TEACHING = (
    "**A teaching chat**: you write both sides, and what you finish is an example. "
    "I suggest replies; what you write in their place counts as better."
)
READY = "Two replies are ready. Press 1 or 2."
OFFLINE = (
    "twofold does not answer: it was ended, or it is starting again. Your text is kept; "
    "this page goes on by itself as soon as it is back."
)
KEYS = (
    ("Enter", "send"),
    ("Shift+Enter", "new line"),
    ("Esc", "stop writing; else leave the text box; else close"),
    (
        "1, 2",
        "Reply 1 or Reply 2 is better (Alt+1, Alt+2 also while typing); when teaching: use "
        "the suggestion, another one",
    ),
    ("0", "about the same"),
    ("9", "both are bad"),
    ("E", "write a better one"),
    ("S", "skip"),
    ("U", "undo"),
    ("Left, Right", "previous, next reply to your last message"),
    ("1 to 9, =, R, C", "on the Rank tab: the next best, tie, tie the rest, next criterion"),
    ("Enter, S, U, N", "on the Rank tab: save, skip, undo, new message"),
    ("Ctrl+Shift+O", "new chat"),
    ("Ctrl+K", "search chats"),
    ("Ctrl+/", "this list"),
)
"""Keys of one character or an arrow work outside of text boxes."""

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
    LearnerState.HELD: "paused",
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
        case AskReason.DUEL:
            return f"One of the two is by an earlier version: does learning do good? {numbers}"
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
        case LearnerState.PAUSED | LearnerState.HELD:
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


def about_chat(chat: Conversation) -> str:
    """What a person should know of what this chat is used for; empty where it is as usual."""
    if chat.purpose is Purpose.TEACHING:
        return TEACHING
    if chat.temporary:
        return "A temporary chat: it is never learned from, and erased as soon as you leave it."
    if not chat.learn:
        return (
            "This chat will not be learned from, so I ask nothing here. "
            "Earlier lessons stay unless you delete them."
        )
    return ""


def reply_mark(view: ConversationView) -> str:
    """What a person should know of the last reply: who wrote it, and why it ends where it does."""
    last = view.turns[-1]
    if last.candidate_id is None:
        return ""
    reply = view.written[last.candidate_id]
    marks: list[str] = []
    if reply.author is Author.PERSON:
        marks.append("written by you")
    elif reply.completion.policy_version != BASE_VERSION:
        marks.append(f"version {reply.completion.policy_version}")
    answer = view.answers.get(last.id)
    if answer is not None and answer.choice is Choice.BOTH_BAD:
        marks.append("you found both replies bad")
    if last.state is TurnState.ABORTED:
        marks.append("stopped here")
    elif reply.completion.finish_reason is FinishReason.LENGTH:
        marks.append("cut at the length limit")
    return ", ".join(marks)


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
