"""Sentences of the Data tab."""

from collections.abc import Sequence
from datetime import datetime

from chat_app.data_service import ExportPreview, ImportPreview, ImportProgress
from chat_app.exports import BESIDE_PICKS, ExportFormat
from chat_app.import_file import FileDialogue, FilePair, FileRanking
from chat_app.wording import CHOICE_NAMES, age, count_of, version_name
from storage.dialogues import DemonstrationCounts
from storage.forgetting import Forgotten
from storage.pick_list import Lesson, PickDetail, PickRow
from storage.rankings import RankingCounts
from storage.records import (
    AskReason,
    Author,
    Candidate,
    Choice,
    Message,
    PolicyVersionId,
    Preference,
    Question,
    RoundStatus,
)

REASONS = {
    AskReason.BURN_IN: "it knew little about your taste yet",
    AskReason.UNCERTAIN: "the judges were unsure",
    AskReason.RANDOM: "at random, to check itself",
    AskReason.ALWAYS: "asking was set to always",
    AskReason.DUEL: "to see whether learning does good",
    AskReason.COMPARE: "you compared two versions",
    AskReason.IMPORTED: "it came out of a file",
    AskReason.EDITED: "you rewrote the reply",
    AskReason.WRITTEN: "you wrote a better one",
}
STATES = {
    "": "All",
    "used": "Used for learning",
    "left-out": "Left out",
    "held-out": "Only measures",
}
FORMATS = {
    ExportFormat.PREFERENCE: "Preference pairs (TRL: DPO, reward models)",
    ExportFormat.UNPAIRED: "Liked or not (TRL: KTO)",
    ExportFormat.MESSAGES: "Chosen replies (messages, for supervised tuning)",
    ExportFormat.PARQUET: "Preference pairs as Parquet",
    ExportFormat.DATASET: "Data set folder with a card (datasets)",
    ExportFormat.EVERYTHING: "Everything about choices (JSON lines)",
    ExportFormat.RANKINGS: "Rankings (JSON lines)",
    ExportFormat.RANKED_PAIRS: "Rankings as preference pairs (TRL)",
    ExportFormat.DIALOGUES: "Example dialogues (messages, for supervised tuning)",
    ExportFormat.THUMBS: "Thumbs (TRL: KTO)",
}
RECORDS = {FilePair: "choice", FileRanking: "ranking", FileDialogue: "dialogue"}
CORRECTIONS = (Choice.FIRST, Choice.SECOND, Choice.TIE, Choice.BOTH_BAD, Choice.WITHDRAWN)

LABEL_CHARS = 60

NONE_YET = {
    ExportFormat.RANKINGS: "No ranking yet: the Rank tab makes them.",
    ExportFormat.RANKED_PAIRS: "No ranking yet: the Rank tab makes them.",
    ExportFormat.DIALOGUES: "No example yet: finish a teaching chat, or import dialogues.",
    ExportFormat.THUMBS: "No thumb yet: they are under each reply of a chat.",
}

NO_PICKS = (
    "### No choices yet\n\nWhen the chat shows two replies and you pick one, it appears here, and "
    "you can look it up, correct it or take it back out."
)
NOTHING_FOUND = "### Nothing matches\n\nUse fewer words, or clear the filters."


def author_of(reply: Candidate) -> str:
    if reply.author is Author.PERSON:
        return "you"
    return version_name(reply.completion.policy_version)


def reason_of(reason: AskReason) -> str:
    return REASONS[reason]


def choices_found(total: int, filtered: bool) -> str:
    found = count_of(total, "choice").replace(str(total), f"{total:,}", 1)
    return f"{found} found" if filtered else found


def beside_line(rankings: RankingCounts, dialogues: DemonstrationCounts) -> str:
    """What there is beside choices; empty where there is nothing."""
    parts = []
    if rankings.ranked:
        made = count_of(rankings.pairs, "pair").replace(str(rankings.pairs), f"{rankings.pairs:,}")
        parts.append(f"{count_of(rankings.ranked, 'ranking')} ({made})")
    if dialogues.dialogues:
        replies = count_of(dialogues.replies, "reply", "replies")
        parts.append(f"{count_of(dialogues.dialogues, 'example dialogue')} ({replies})")
    return f"Also here: {' and '.join(parts)}. Export has formats for them." if parts else ""


def pick_label(row: PickRow, now: datetime) -> str:
    """Two lines: what was said, and what was chosen when. The first line is cut to fit."""
    said = " ".join(row.prompt.split()) or "(no text)"
    marks = [CHOICE_NAMES[row.choice], *_marks(row), age(row.asked_at, now)]
    start = said if len(said) <= LABEL_CHARS else f"{said[: LABEL_CHARS - 1].rstrip()}…"
    return f"{start}\n{' · '.join(marks)}"


def _marks(row: PickRow) -> list[str]:
    if row.forgotten:
        return ["forgotten"]
    return ["left out"] * row.excluded + ["only measures"] * row.held_out


def state_of(pick: PickDetail) -> str:
    """Whether and why it teaches, in one sentence."""
    row = pick.row
    if row.forgotten:
        return "Forgotten: nothing learns from it, and no version that did speaks any more."
    if row.choice is Choice.WITHDRAWN:
        return "Taken back: it teaches nothing."
    if row.excluded:
        return "Left out by you: it teaches nothing until you take it back in."
    if not pick.teaches:
        return "Its chat is set not to be learned from."
    if row.held_out:
        return "It only measures: its chat is one of the tenth that never trains."
    if row.choice is Choice.SKIP:
        return "Skipped: it teaches nothing."
    if row.choice in (Choice.FIRST, Choice.SECOND):
        return "It teaches: the judges use it now, and lessons train on it."
    return "It teaches: the judges use it now."


def lessons_of(lessons: Sequence[Lesson]) -> str:
    if not lessons:
        return "no lesson yet"
    return ", ".join(_lesson(lesson) for lesson in lessons)


def _lesson(lesson: Lesson) -> str:
    if lesson.status is not RoundStatus.ACCEPTED:
        return f"tried in lesson {lesson.number}, not kept"
    return f"learned in v{lesson.number}" + (" (live)" if lesson.live else " (not live)")


def forget_warning(versions: Sequence[PolicyVersionId]) -> str:
    """What forgetting costs, before it is done."""
    if not versions:
        return "No version has learned from it. It will never be learned from, whatever happens."
    names = count_of(len(versions), "version")
    return (
        f"**{names.capitalize()} learned from it, or after it ({_listed(versions)}), and will "
        "never speak again.** Their files are deleted. Your other choices stay and are learned "
        "anew. This cannot be undone."
    )


def forgotten_line(done: Forgotten) -> str:
    now = version_name(done.live)
    if not done.versions:
        return f"Forgotten. No version had learned from it; {now} speaks on."
    return f"Forgotten. {_listed(done.versions)} will never speak again; {now} speaks now."


def deleted_line(done: Forgotten) -> str:
    if not done.versions:
        return "The chat was deleted."
    now = version_name(done.live)
    return f"The chat was deleted, with what {_listed(done.versions)} learned; {now} speaks now."


def _listed(versions: Sequence[PolicyVersionId]) -> str:
    names = [f"v{version}" for version in versions]
    return (
        f"{', '.join(names[:6])} and {len(names) - 6} more" if len(names) > 6 else ", ".join(names)
    )


def export_line(preview: ExportPreview, format_: ExportFormat) -> str:
    if format_ in BESIDE_PICKS:
        if not preview.rows:
            return f"{NONE_YET[format_]} The filters above are about choices only."
        rows = count_of(preview.rows, "row").replace(str(preview.rows), f"{preview.rows:,}", 1)
        return f"**{rows}**, whatever the filters above say. The first of them:"
    picks = f"{preview.picks:,} {'choice' if preview.picks == 1 else 'choices'}"
    rows = f"{preview.rows:,} {'row' if preview.rows == 1 else 'rows'}"
    if not preview.rows:
        return f"{picks} in this selection, and no row of this format: nothing to download."
    return f"{picks} in this selection make **{rows}**. The first of them:"


def import_line(preview: ImportPreview) -> str:
    parts = [f"**{preview.name}**: {new_ones(preview)}"]
    if preview.known:
        parts.append(f"{preview.known} here already")
    if preview.bad_lines:
        parts.append(f"{count_of(preview.bad_lines, 'line')} that cannot be read")
    line = ", ".join(parts) + "."
    if preview.problems:
        told = "\n".join(f"- line {one.line}: {one.sentence}" for one in preview.problems)
        more = preview.bad_lines - len(preview.problems)
        line += f"\n\n{told}" + (f"\n- and {more} more" if more > 0 else "")
    return line


def new_ones(preview: ImportPreview) -> str:
    """What a file would add: 3 new choices, 1 new ranking."""
    counted = [
        (sum(isinstance(one, kind) for one in preview.new), name) for kind, name in RECORDS.items()
    ]
    told = [count_of(count, f"new {name}") for count, name in counted if count]
    return ", ".join(told) or "nothing new"


def import_progress_line(progress: ImportProgress) -> str:
    if progress.error:
        return (
            f"The import of {progress.name} stopped after {progress.added}: {progress.error} "
            "What was read is kept; import the file again for the rest."
        )
    if progress.running:
        return (
            f"Reading {progress.name}: {progress.done} of {progress.total}. You can chat meanwhile."
        )
    line = f"{progress.name}: {progress.added:,} imported. They teach from now on."
    if progress.failed:
        line += f" {progress.failed} could not be read by the model, as too long."
    return line


def delete_warning(versions: Sequence[PolicyVersionId]) -> str:
    """What deleting a chat does, with and without what was learned from it."""
    line = "Everything said in this chat is erased, and its choices teach nothing any more."
    if not versions:
        return f"{line} No version has learned from it. This cannot be undone."
    return (
        f"{line} {_listed(versions)} learned from it, or after it: keep them, or let them never "
        "speak again. This cannot be undone."
    )


def earlier(messages: Sequence[Message]) -> str:
    """What came before the message, folded into one line."""
    if not messages:
        return ""
    return f"After {count_of(len(messages), 'earlier message')} in the same chat."


def reply_title(number: int, choice: Choice) -> str:
    better = {1: Choice.FIRST, 2: Choice.SECOND}[number]
    return f"### Reply {number}" + (" · your choice" if choice is better else "")


def judged(question: Question) -> str:
    chance = round(100 * question.first_better_prob)
    spread = round(100 * question.disagreement)
    return f"{chance} % for Reply 1, ±{spread} points"


def history(answers: Sequence[Preference], now: datetime) -> str:
    """Every answer, oldest first: what counts is the last."""
    return ", then ".join(
        f"{CHOICE_NAMES[one.choice]} ({age(one.decided_at, now)})" for one in answers
    )
