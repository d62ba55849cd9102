"""Sentences of the Data tab."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from chat_app.data_service import ExportPreview
from chat_app.exports import BESIDE_PICKS, ExportFormat
from chat_app.file_records import FileDialogue, FilePair, FileRanking
from chat_app.importing import ImportPreview, ImportProgress
from chat_app.language import N_, Words, tr, tr_n
from chat_app.wording import CHOICE_NAMES, age, version_name
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

REASONS = Words(
    {
        AskReason.BURN_IN: N_("it knew little about your taste, or it seemed changed"),
        AskReason.UNCERTAIN: N_("the judges were unsure"),
        AskReason.RANDOM: N_("at random, to check itself"),
        AskReason.ALWAYS: N_("asking was set to always"),
        AskReason.DUEL: N_("to see whether learning does good"),
        AskReason.COMPARE: N_("you compared two versions"),
        AskReason.IMPORTED: N_("it came out of a file"),
        AskReason.EDITED: N_("you rewrote the reply"),
        AskReason.WRITTEN: N_("you wrote a better one"),
    }
)
STATES = Words(
    {
        "": N_("All"),
        "used": N_("Used for learning"),
        "left-out": N_("Left out"),
        "held-out": N_("Only measures"),
    }
)
FORMATS = Words(
    {
        ExportFormat.PREFERENCE: N_("Preference pairs (TRL: DPO, reward models)"),
        ExportFormat.UNPAIRED: N_("Liked or not (TRL: KTO)"),
        ExportFormat.MESSAGES: N_("Chosen replies (messages, for supervised tuning)"),
        ExportFormat.PARQUET: N_("Preference pairs as Parquet"),
        ExportFormat.DATASET: N_("Data set folder with a card (datasets)"),
        ExportFormat.EVERYTHING: N_("Everything about choices (JSON lines)"),
        ExportFormat.RANKINGS: N_("Rankings (JSON lines)"),
        ExportFormat.RANKED_PAIRS: N_("Rankings as preference pairs (TRL)"),
        ExportFormat.DIALOGUES: N_("Example dialogues (messages, for supervised tuning)"),
        ExportFormat.THUMBS: N_("Thumbs (TRL: KTO)"),
        ExportFormat.LABELS: N_("Marked replies (JSON lines)"),
    }
)
RECORDS = {
    FilePair: (N_("{n} choice"), N_("{n} choices")),
    FileRanking: (N_("{n} ranking"), N_("{n} rankings")),
    FileDialogue: (N_("{n} dialogue"), N_("{n} dialogues")),
}
NEW_RECORDS = {
    FilePair: (N_("{n} new choice"), N_("{n} new choices")),
    FileRanking: (N_("{n} new ranking"), N_("{n} new rankings")),
    FileDialogue: (N_("{n} new dialogue"), N_("{n} new dialogues")),
}
CORRECTIONS = (Choice.FIRST, Choice.SECOND, Choice.TIE, Choice.BOTH_BAD, Choice.WITHDRAWN)

LABEL_CHARS = 60

NONE_YET = Words(
    {
        ExportFormat.RANKINGS: N_("No ranking yet: the Rank tab makes them."),
        ExportFormat.RANKED_PAIRS: N_("No ranking yet: the Rank tab makes them."),
        ExportFormat.DIALOGUES: N_("No example yet: finish a teaching chat, or import dialogues."),
        ExportFormat.THUMBS: N_("No thumb yet: they are under each reply of a chat."),
        ExportFormat.LABELS: N_("Nothing marked yet: it is done below a reply of a chat."),
    }
)

NO_PICKS = N_(
    "## No choices yet\n\nWhen the chat shows two replies and you pick one, it "
    "appears here, and you can look it up, correct it or take it back out."
)
NOTHING_FOUND = N_("## Nothing matches\n\nUse fewer words, or clear the filters.")


def author_of(reply: Candidate) -> str:
    if reply.author is Author.PERSON:
        return tr("you")
    return version_name(reply.completion.policy_version)


def reason_of(reason: AskReason) -> str:
    return REASONS[reason]


def choices_found(total: int, filtered: bool) -> str:
    found = tr_n("{n:,} choice", "{n:,} choices", total)
    return tr("{count} found", count=found) if filtered else found


def beside_line(rankings: RankingCounts, dialogues: DemonstrationCounts) -> str:
    """What there is beside choices; empty where there is nothing."""
    parts = []
    if rankings.ranked:
        made = tr_n("{n:,} pair", "{n:,} pairs", rankings.pairs)
        parts.append(f"{tr_n('{n} ranking', '{n} rankings', rankings.ranked)} ({made})")
    if dialogues.dialogues:
        replies = tr_n("{n} reply", "{n} replies", dialogues.replies)
        examples = tr_n("{n} example dialogue", "{n} example dialogues", dialogues.dialogues)
        parts.append(f"{examples} ({replies})")
    if not parts:
        return ""
    return tr("Also here: {known}. Export has formats for them.", known=tr(" and ").join(parts))


def pick_label(row: PickRow, now: datetime) -> str:
    """Two lines: what was said, and what was chosen when. The first line is cut to fit."""
    said = " ".join(row.prompt.split()) or tr("(no text)")
    marks = [CHOICE_NAMES[row.choice], *_marks(row), age(row.asked_at, now)]
    start = said if len(said) <= LABEL_CHARS else f"{said[: LABEL_CHARS - 1].rstrip()}…"
    return f"{start}\n{' · '.join(marks)}"


def _marks(row: PickRow) -> list[str]:
    if row.forgotten:
        return [tr("forgotten")]
    return [tr("left out")] * row.excluded + [tr("only measures")] * row.held_out


def is_learned_from(pick: PickDetail) -> bool:
    row = pick.row
    silent = row.forgotten or row.excluded or row.held_out or not pick.teaches
    return not silent and row.choice not in (Choice.WITHDRAWN, Choice.SKIP)


def state_of(pick: PickDetail) -> str:
    """Whether and why it teaches, in one sentence."""
    row = pick.row
    if row.forgotten:
        return tr("Forgotten: nothing learns from it, and no version that did speaks any more.")
    if row.choice is Choice.WITHDRAWN:
        return tr("Taken back: it teaches nothing.")
    if row.excluded:
        return tr("Left out by you: it teaches nothing until you take it back in.")
    if not pick.teaches:
        return tr("Its chat is set not to be learned from.")
    if row.held_out:
        return tr("It only measures: its chat is one of the tenth that never trains.")
    if row.choice is Choice.SKIP:
        return tr("Skipped: it teaches nothing.")
    if row.choice in (Choice.FIRST, Choice.SECOND):
        return tr("It teaches: the judges use it now, and lessons train on it.")
    return tr("It teaches: the judges use it now.")


def lessons_of(lessons: Sequence[Lesson]) -> str:
    if not lessons:
        return tr("no lesson yet")
    return ", ".join(_lesson(lesson) for lesson in lessons)


def _lesson(lesson: Lesson) -> str:
    if lesson.status is not RoundStatus.ACCEPTED:
        return tr("tried in lesson {number}, not kept", number=lesson.number)
    if lesson.live:
        return tr("learned in v{number} (live)", number=lesson.number)
    return tr("learned in v{number} (not live)", number=lesson.number)


def forget_warning(versions: Sequence[PolicyVersionId]) -> str:
    """What forgetting costs, before it is done."""
    if not versions:
        return tr(
            "No version has learned from it. It will never be learned from, whatever happens."
        )
    return tr_n(
        "**{n} version learned from it, or after it ({versions}), and will never speak again.** "
        "Its files are deleted. Your other choices stay and are learned anew. "
        "This cannot be undone.",
        "**{n} versions learned from it, or after it ({versions}), and will never speak again.** "
        "Their files are deleted. Your other choices stay and are learned anew. "
        "This cannot be undone.",
        len(versions),
        versions=listed(versions),
    )


def forgotten_line(done: Forgotten) -> str:
    now = version_name(done.live)
    if not done.versions:
        return tr("Forgotten. No version had learned from it; {now} speaks on.", now=now)
    return tr(
        "Forgotten. {versions} will never speak again; {now} speaks now.",
        versions=listed(done.versions),
        now=now,
    )


def deleted_line(done: Forgotten) -> str:
    if not done.versions:
        return tr("The chat was deleted.")
    now = version_name(done.live)
    return tr(
        "The chat was deleted, with what {versions} learned; {now} speaks now.",
        versions=listed(done.versions),
        now=now,
    )


def listed(versions: Sequence[PolicyVersionId]) -> str:
    names = [f"v{version}" for version in versions]
    return (
        tr("{known} and {number} more", known=", ".join(names[:6]), number=len(names) - 6)
        if len(names) > 6
        else ", ".join(names)
    )


def export_line(preview: ExportPreview, format_: ExportFormat) -> str:
    rows = tr_n("{n:,} row", "{n:,} rows", preview.rows)
    if format_ in BESIDE_PICKS:
        if not preview.rows:
            return tr("{none} The filters above are about choices only.", none=NONE_YET[format_])
        return tr("**{rows}**, whatever the filters above say. The first of them:", rows=rows)
    picks = tr_n("{n:,} choice", "{n:,} choices", preview.picks)
    if not preview.rows:
        return tr(
            "{picks} in this selection, and no row of this format: nothing to download.",
            picks=picks,
        )
    return tr(
        "{picks} in this selection make **{rows}**. The first of them:", picks=picks, rows=rows
    )


def import_line(preview: ImportPreview) -> str:
    parts = [f"**{preview.name}**: {new_ones(preview)}"]
    if preview.known:
        parts.append(tr("{known} here already", known=preview.known))
    if preview.bad_lines:
        parts.append(
            tr_n(
                "{n} line that cannot be read",
                "{n} lines that cannot be read",
                preview.bad_lines,
            )
        )
    line = ", ".join(parts) + "."
    if preview.problems:
        told = "\n".join(
            tr("- line {line}: {sentence}", line=one.line, sentence=one.sentence)
            for one in preview.problems
        )
        more = preview.bad_lines - len(preview.problems)
        line += f"\n\n{told}" + ("\n" + tr("- and {more} more", more=more) if more > 0 else "")
    return line


def new_ones(preview: ImportPreview) -> str:
    """What a file would add: 3 new choices, 1 new ranking."""
    return _counted(preview, NEW_RECORDS) or tr("nothing new")


def import_label(preview: ImportPreview) -> str:
    """What the button says that imports them."""
    return tr("Import {records}", records=_counted(preview, RECORDS))


def import_progress_line(progress: ImportProgress) -> str:
    if progress.error:
        return tr(
            "The import of {name} stopped after {added}: {error} What was read is kept; "
            "import the file again for the rest.",
            name=progress.name,
            added=progress.added,
            error=progress.error,
        )
    if progress.running:
        return tr(
            "Reading {name}: {done} of {total}. You can chat meanwhile.",
            name=progress.name,
            done=progress.done,
            total=progress.total,
        )
    line = tr(
        "{name}: {n:,} imported. What is not left out teaches from now on.",
        name=progress.name,
        n=progress.added,
    )
    if progress.failed:
        line += " " + tr(
            "{failed} could not be imported; the log says which and why.", failed=progress.failed
        )
    return line


def delete_warning(versions: Sequence[PolicyVersionId]) -> str:
    """What deleting a chat does, with and without what was learned from it."""
    line = tr("Everything said in this chat is erased, and its choices teach nothing any more.")
    return with_lessons(line, versions)


def with_lessons(line: str, versions: Sequence[PolicyVersionId]) -> str:
    """What is erased, and what versions know of it."""
    if not versions:
        return tr("{line} No version has learned from it. This cannot be undone.", line=line)
    return tr_n(
        "{line} {versions} learned from it, or after it: keep it, or let it never "
        "speak again. This cannot be undone.",
        "{line} {versions} learned from it, or after it: keep them, or let them never "
        "speak again. This cannot be undone.",
        len(versions),
        line=line,
        versions=listed(versions),
    )


def earlier(messages: Sequence[Message]) -> str:
    """What came before the message, folded into one line."""
    if not messages:
        return ""
    return tr_n(
        "After {n} earlier message in the same chat.",
        "After {n} earlier messages in the same chat.",
        len(messages),
    )


def reply_title(number: int, choice: Choice) -> str:
    better = {1: Choice.FIRST, 2: Choice.SECOND}[number]
    return tr("### Reply {number}", number=number) + (
        " · " + tr("your choice") if choice is better else ""
    )


def judged(question: Question) -> str:
    chance = round(100 * question.first_better_prob)
    spread = round(100 * question.disagreement)
    return tr("{chance} % for Reply 1, ±{spread} points", chance=chance, spread=spread)


def history(answers: Sequence[Preference], now: datetime) -> str:
    """Every answer, oldest first: what counts is the last."""
    return tr(", then ").join(
        f"{CHOICE_NAMES[one.choice]} ({age(one.decided_at, now)})" for one in answers
    )


def _counted(preview: ImportPreview, names: Mapping[type, tuple[str, str]]) -> str:
    """How many of each kind a file would add, by the singular and the plural of its name."""
    counted = {kind: sum(isinstance(one, kind) for one in preview.new) for kind in names}
    return ", ".join(tr_n(*names[kind], count) for kind, count in counted.items() if count)
