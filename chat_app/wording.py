"""Sentences of the page that depend on numbers."""

from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise

from chat_app.language import N_, Words, tr, tr_n
from chat_app.markup import literal
from chat_app.views import ConversationView, DeletionView, Status
from learner.config import OnlineConfig
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

CHOICE_NAMES = Words(
    {
        Choice.FIRST: N_("Reply 1 is better"),
        Choice.SECOND: N_("Reply 2 is better"),
        Choice.TIE: N_("About the same"),
        Choice.BOTH_BAD: N_("Both are bad"),
        Choice.SKIP: N_("Skipped"),
        Choice.WITHDRAWN: N_("Taken back"),
    }
)

STRENGTHS = Words(
    {Strength.SLIGHTLY: N_("Slightly better"), Strength.CLEARLY: N_("Clearly better")}
)

REASONS = Words(
    {
        "correct": N_("Correct"),
        "on_task": N_("Followed my instructions"),
        "clear": N_("Clear"),
        "length": N_("Right length"),
        "tone": N_("Good tone"),
        "creative": N_("Creative"),
        "wrong": N_("Wrong facts"),
        "ignored": N_("Ignored instructions"),
        "too_long": N_("Too long"),
        "too_short": N_("Too short"),
        "refused": N_("Refused needlessly"),
        "style": N_("Bad style"),
    }
)

KEYS_HINT = N_(
    "The keys work outside of the message box (Esc leaves it); Alt+1 and Alt+2 work everywhere."
)
ANSWERS_HELP = N_(
    "\n- **Reply 1 / Reply 2 is better**: the chat goes on with it, and I learn "
    "that you like it better.\n- **About the same**: the chat goes on with Reply 1. "
    "I learn that there is little between them.\n- **Both are bad**: the chat goes "
    "on with the one my judges like better. I learn to avoid both.\n- **Write a "
    "better one**: the chat goes on with your text, and I learn that it beats "
    "both.\n- **Skip**, or simply typing on: the chat goes on with Reply 1. It "
    "teaches nothing, neither way.\n\nYou can choose while both are still being "
    "written: the other one then stops, and only my judges learn from it.\n\nYou "
    "can take back or change an answer later.\n\nWhich one my judges expect you to "
    "like, I say only afterwards, on the Data tab: your answer is to be your own.\n"
)
TEACHING = N_(
    "**A teaching chat**: you write both sides, and what you finish is an example. "
    "I suggest replies; what you write in their place counts as better."
)
READY = N_("Two replies are ready. Press 1 or 2.")
OFFLINE = N_(
    "twofold does not answer: it was ended, or it is starting again. Your text is "
    "kept; this page goes on by itself as soon as it is back."
)
KEYS = (
    ("Enter", N_("send")),
    (N_("Shift+Enter"), N_("new line")),
    ("Esc", N_("stop writing; else leave the text box; else close")),
    (
        "1, 2",
        N_(
            "Reply 1 or Reply 2 is better (Alt+1, Alt+2 also while typing); when teaching: use "
            "the suggestion, another one"
        ),
    ),
    ("0", N_("about the same")),
    ("9", N_("both are bad")),
    ("E", N_("write a better one")),
    ("S", N_("skip")),
    ("U", N_("undo")),
    (N_("Left, Right"), N_("previous, next reply to your last message")),
    (
        N_("1 to 9, =, R, C"),
        N_("on the Rank tab: the next best, tie, tie the rest, next criterion"),
    ),
    ("Enter, S, U, N", N_("on the Rank tab: save, skip, undo, new message")),
    (N_("Ctrl+Shift+O"), N_("new chat")),
    (N_("Ctrl+K"), N_("search chats")),
    (N_("Ctrl+/"), N_("this list")),
)
"""Keys of one character or an arrow work outside of text boxes."""

START_CHARS = 60
"""So much of a message names it in a list."""

OUTCOMES = Words(
    {
        RoundStatus.ACCEPTED: N_("kept"),
        RoundStatus.REFUSED: N_("tried, not kept"),
        RoundStatus.FAILED: N_("failed"),
    }
)
LEARNERS = Words(
    {
        None: N_("off"),
        LearnerState.IDLE: N_("idle"),
        LearnerState.LEARNING: N_("learning"),
        LearnerState.PAUSED: N_("paused"),
        LearnerState.HELD: N_("paused"),
        LearnerState.FAILED: N_("last lesson failed"),
    }
)


def version_name(version: PolicyVersionId) -> str:
    return (
        tr("the untrained model")
        if version == BASE_VERSION
        else tr("version {version}", version=version)
    )


def learner_name(status: Status) -> str:
    return LEARNERS[status.learner and status.learner.state]


def why_asked(question: Question) -> str:
    """Why the person is asked; nothing that favours one of the two, which would sway them."""
    spread = round(100 * question.disagreement)
    numbers = tr("My judges disagree by ±{spread} points about these two.", spread=spread)
    match question.reason:
        case AskReason.BURN_IN:
            return tr(
                "I ask often while I know little about your taste: at first, and when it seems to "
                "have changed. {numbers}",
                numbers=numbers,
            )
        case AskReason.UNCERTAIN:
            return tr("I am unsure which one you like better. {numbers}", numbers=numbers)
        case AskReason.ALWAYS:
            return tr("You want to see two replies each time. {numbers}", numbers=numbers)
        case AskReason.RANDOM:
            return tr("Now and then I ask at random, to check myself. {numbers}", numbers=numbers)
        case AskReason.DUEL:
            return tr(
                "One of the two is by an earlier version: does learning do good? {numbers}",
                numbers=numbers,
            )
        case AskReason.COMPARE:
            return tr(
                "You let two versions reply; which is which is told afterwards. {numbers}",
                numbers=numbers,
            )
        case AskReason.IMPORTED | AskReason.EDITED | AskReason.WRITTEN:
            return tr("You were not asked: this pair follows from what you wrote or brought along.")


def stage_line(draft: Draft, candidates: int) -> str:
    match draft.stage:
        case Stage.WAITING:
            return tr("Waiting for another reply to be finished…")
        case Stage.DRAFTING:
            return tr("Drafting {candidates} replies…", candidates=candidates)
        case Stage.STREAMING:
            return tr("Writing…") if len(draft.texts) == 1 else ""  # the pair says it itself
        case Stage.DONE:
            return ""


def lesson_line(status: Status) -> str:
    """How far the next lesson is, or what keeps it from coming."""
    waiting = status.waiting
    match status.learner and status.learner.state:
        case None:
            return tr_n(
                "{n} choice saved, learning is off", "{n} choices saved, learning is off", waiting
            )
        case LearnerState.PAUSED | LearnerState.HELD:
            return tr_n(
                "learning is paused, {n} choice waiting",
                "learning is paused, {n} choices waiting",
                waiting,
            )
        case LearnerState.LEARNING:
            taken = min(waiting, OnlineConfig().max_preferences)  # the others are the next lesson's
            return tr_n("learning from {n} choice", "learning from {n} choices", taken)
        case LearnerState.IDLE | LearnerState.FAILED if status.missing:
            return tr_n(
                "{n} more choice until the next lesson",
                "{n} more choices until the next lesson",
                status.missing,
            )
        case LearnerState.IDLE | LearnerState.FAILED:
            return tr("the next lesson is about to start")


def answer_name(answer: Answered) -> str:
    """What the person did, as a sentence of the receipt."""
    match answer.reason:
        case _ if answer.choice is Choice.WITHDRAWN:
            return f"{CHOICE_NAMES[Choice.WITHDRAWN]}."
        case AskReason.EDITED:
            return tr("Saved: you made this reply better.")
        case AskReason.WRITTEN:
            return tr("Saved: you wrote a better one.")
        case _:
            prefix = "" if answer.choice is Choice.SKIP else tr("Saved: ")
            return f"{prefix}{CHOICE_NAMES[answer.choice]}."


def receipt(answer: Answered, status: Status) -> str:
    """What became of an answer, up to now."""
    if answer.choice in (Choice.WITHDRAWN, Choice.SKIP):
        return tr("It teaches nothing.")
    if not answer.counts:
        unread = answer.reason in (AskReason.EDITED, AskReason.WRITTEN)
        return tr("I read it in a moment.") if unread else tr("It is kept and not learned from.")
    if answer.held_out:
        return tr(
            "One chat in ten only checks what I learned, and this is one: it is not learned from."
        )
    if answer.choice in (Choice.TIE, Choice.BOTH_BAD):
        return tr("My judges know it from the next reply on.")
    if answer.attempts:
        return _attempted(answer.attempts[-1])
    return _queued(status)


def _attempted(attempt: Attempt) -> str:
    match attempt.status:
        case RoundStatus.ACCEPTED if attempt.live:
            return tr("Learned in version {round}, live.", round=attempt.round)
        case RoundStatus.ACCEPTED:
            return tr(
                "Learned in version {round}, which is not live now: it waits again.",
                round=attempt.round,
            )
        case RoundStatus.REFUSED:
            return tr(
                "Tried in lesson {round}, not kept yet: it comes back with the next one.",
                round=attempt.round,
            )
        case RoundStatus.FAILED:
            return tr(
                "Lesson {round} failed: it comes back with the next one.", round=attempt.round
            )


def _queued(status: Status) -> str:
    match status.learner and status.learner.state:
        case None:
            return tr("It is in the queue; learning is off.")
        case LearnerState.PAUSED | LearnerState.HELD:
            return tr("It is in the queue; learning is paused.")
        case LearnerState.LEARNING:
            return tr("It is in the queue; a lesson is running.")
        case LearnerState.IDLE | LearnerState.FAILED if status.missing:
            return tr_n(
                "It is in the queue; {n} more choice starts a lesson.",
                "It is in the queue; {n} more choices start a lesson.",
                status.missing,
            )
        case LearnerState.IDLE | LearnerState.FAILED:
            return tr("It is in the queue; a lesson is about to start.")


def earlier_choices(answers: Iterable[Answered]) -> str:
    """What became of the choices before the last reply, as one line; empty if there are none."""
    learned = waiting = 0
    for answer in answers:
        if answer.counts and answer.choice in (Choice.FIRST, Choice.SECOND):
            if any(one.status is RoundStatus.ACCEPTED and one.live for one in answer.attempts):
                learned += 1
            elif not answer.held_out:
                waiting += 1
    parts = [
        f"{count} {word}"
        for count, word in ((learned, tr("learned")), (waiting, tr("waiting")))
        if count
    ]
    return tr("Earlier choices here: {known}.", known=", ".join(parts)) if parts else ""


def earlier_receipts(view: ConversationView, status: Status) -> list[tuple[str, str]]:
    """What was said before each earlier choice of this chat, and its receipt; newest first."""
    last = view.answers.get(view.turns[-1].id)
    receipts = []
    for before, turn in pairwise(view.turns):
        answer = view.answers.get(turn.id)
        if answer is not None and answer != last:
            told = f"{answer_name(answer)} {receipt(answer, status)}"
            receipts.append((_start(before.message.content), told))
    return receipts[::-1]


def _start(text: str) -> str:
    said = " ".join(text.split())
    return said if len(said) <= START_CHARS else f"{said[: START_CHARS - 1].rstrip()}…"


def deletion(view: DeletionView) -> str:
    """What is asked before a conversation is deleted."""
    sentence = tr(
        "Delete “{title}”? {messages} and {choices} go for good, here and in what I learn from "
        "next.",
        title=literal(view.title),
        messages=tr_n("{n} message", "{n} messages", view.messages),
        choices=tr_n("{n} choice", "{n} choices", view.choices),
    )
    if not view.versions:
        return sentence
    learned = tr_n(
        "Version {names} learned from it, or after it.",
        "Versions {names} learned from it, or after it.",
        len(view.versions),
        names=", ".join(map(str, view.versions)),
    )
    return f"{sentence} {learned}"


def about_chat(chat: Conversation) -> str:
    """What a person should know of what this chat is used for; empty where it is as usual."""
    if chat.purpose is Purpose.TEACHING:
        return tr(TEACHING)
    if chat.temporary:
        return tr("A temporary chat: it is never learned from, and erased as soon as you leave it.")
    if not chat.learn:
        return tr(
            "This chat will not be learned from, so I ask nothing here. Earlier lessons "
            "stay unless you delete them."
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
        marks.append(tr("written by you"))
    elif reply.completion.policy_version != BASE_VERSION:
        marks.append(version_name(reply.completion.policy_version))
    answer = view.answers.get(last.id)
    if answer is not None and answer.choice is Choice.BOTH_BAD:
        marks.append(tr("you found both replies bad"))
    if last.state is TurnState.ABORTED:
        marks.append(tr("stopped here"))
    elif reply.completion.finish_reason is FinishReason.LENGTH:
        marks.append(tr("cut at the length limit"))
    return ", ".join(marks)


def age(since: datetime, now: datetime) -> str:
    """How long ago, in the largest unit that makes a whole number."""
    minutes = int((now - since).total_seconds() // 60)
    if minutes < 1:
        return tr("just now")
    if minutes < 60:
        return tr_n("{n} minute ago", "{n} minutes ago", minutes)
    hours = minutes // 60
    if hours < 48:
        return tr_n("{n} hour ago", "{n} hours ago", hours)
    return tr("{n} days ago", n=hours // 24)
