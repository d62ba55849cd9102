"""DataService: the picks as a person sees, corrects, takes out, exports and imports them.

Like ``ChatService`` it knows no Gradio, SQL or tensors, and any thread may call it. What changes
what is learned is committed first; then the judges are refitted, which takes milliseconds, and the
learner finds it in the log by itself.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Protocol

from chat_app.errors import ChatError, sentences
from chat_app.exports import BESIDE_PICKS, ExportOptions, Row, export_rows, rows_a_pick, wanted
from chat_app.import_file import (
    FileDialogue,
    FilePair,
    FileProblem,
    FileRanking,
    FileRecord,
    read_records,
)
from chat_app.language import tr
from chat_app.record_exports import record_rows
from learner.errors import LearnerError
from learner.protocols import ReplyMaker
from storage.conversations import random_key
from storage.database import Reader
from storage.dialogues import Demonstration, DemonstrationCounts, DialogueReader
from storage.errors import StorageError
from storage.forgetting import Forgotten
from storage.imports import (
    Imported,
    ImportedDialogue,
    ImportedPair,
    ImportedRanking,
    ImportLog,
)
from storage.logs import Logs
from storage.pick_list import PickDetail, PickFilter, PickReader, PickRow
from storage.rankings import RankingCounts, RankingReader
from storage.records import (
    BASE_VERSION,
    Choice,
    ComparisonId,
    Completion,
    ConversationId,
    Message,
    PolicyVersionId,
)

log = logging.getLogger(__name__)

PAGE = 30
PREVIEW_ROWS = 3
MAX_PROBLEMS = 8
"""So many bad lines of a file are told; the rest is counted."""
MAX_FILE_BYTES = 64 * 2**20

KINDS: dict[type[FileRecord], type[Imported]] = {
    FilePair: ImportedPair,
    FileRanking: ImportedRanking,
    FileDialogue: ImportedDialogue,
}
KEPT_PREVIEWS = 4
"""Files that were looked at and may be imported; an older one has to be chosen again."""


class DeleteChat(Protocol):
    def __call__(self, conversation_id: ConversationId, *, unlearn: bool) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DataHooks:
    """What the chat beside it is told, and asked to do."""

    on_model: Callable[[Callable[[], None]], None]
    """Queues a job on the model's thread, behind every reply that somebody waits for."""
    answered: Callable[[ConversationId], None]
    """Answers of a conversation changed: the judges are to know it, and its pages."""
    refit: Callable[[], None]
    version_changed: Callable[[], None]
    delete_chat: DeleteChat


@dataclass(frozen=True, slots=True, kw_only=True)
class PickPage:
    rows: tuple[PickRow, ...]
    total: int
    next: ComparisonId | None
    """Give it as ``before`` for the page after this one; None where this is the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportPreview:
    picks: int
    rows: int
    sample: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPreview:
    key: str
    """Names it in ``start_import``."""
    name: str
    new: tuple[FileRecord, ...]
    known: int
    """Records that are here already."""
    problems: tuple[FileProblem, ...]
    """The first few."""
    bad_lines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportProgress:
    name: str
    done: int
    total: int
    added: int
    failed: int = 0
    """Pairs that the model could not read, as those with too long a prompt."""
    error: str = ""

    @property
    def running(self) -> bool:
        return self.done < self.total and not self.error


class DataService:
    def __init__(
        self,
        *,
        reader: Reader,
        picks: PickReader,
        logs: Logs,
        imports: ImportLog,
        replies: ReplyMaker,
        hooks: DataHooks,
    ) -> None:
        self._picks = picks
        self._reader = reader
        self._feedback = logs.feedback
        self._forgetting = logs.forgetting
        self._imports = imports
        self._policies = logs.policies
        self._replies = replies
        self._hooks = hooks
        self._lock = Lock()
        self._import: ImportProgress | None = None
        self._previews: dict[str, ImportPreview] = {}

    # --- The list ----------------------------------------------------------------------------

    def page(self, only: PickFilter, before: ComparisonId | None = None) -> PickPage:
        """A page of picks, newest first."""
        with sentences():
            found = self._picks.page(only, before=before, limit=PAGE + 1)
            return PickPage(
                rows=tuple(found[:PAGE]),
                total=self._picks.count(only),
                next=found[PAGE - 1].id if len(found) > PAGE else None,
            )

    def detail(self, pick: ComparisonId) -> PickDetail:
        with sentences():
            return self._picks.detail(pick)

    def versions(self) -> list[PolicyVersionId]:
        """Those that wrote a reply of the list."""
        with sentences():
            return self._picks.versions()

    def beside(self) -> tuple[RankingCounts, DemonstrationCounts]:
        """What is kept beside choices."""
        with sentences():
            return RankingReader(self._reader).counts(), DialogueReader(self._reader).counts()

    def examples(self, limit: int = 50) -> list[Demonstration]:
        """The newest dialogues that train or measure."""
        with sentences():
            return DialogueReader(self._reader).newest(limit=limit)

    # --- Changing what is learned ------------------------------------------------------------

    def correct(self, pick: ComparisonId, choice: Choice) -> PickDetail:
        """Change the answer, by a new row; what was excluded stays excluded."""
        return self._change(pick, lambda one: self._correct(one, choice))

    def exclude(self, pick: ComparisonId) -> PickDetail:
        """Leave it out of every later fit; ``include`` takes it back in."""
        return self._change(pick, lambda one: self._feedback.exclude(one.comparison.token))

    def include(self, pick: ComparisonId) -> PickDetail:
        return self._change(pick, lambda one: self._feedback.include(one.comparison.token))

    def versions_that_saw(self, pick: ComparisonId) -> list[PolicyVersionId]:
        """The versions that forgetting this pick would end."""
        with sentences():
            return self._forgetting.versions_that_saw([pick])

    def versions_that_saw_chat(self, pick: ComparisonId) -> list[PolicyVersionId]:
        """The versions that deleting its chat, with what was learned, would end."""
        with sentences():
            chat = self._picks.detail(pick).comparison.conversation_id
            return self._forgetting.versions_that_saw_chat(chat)

    def forget(self, pick: ComparisonId) -> Forgotten:
        """Never use the pick again, and let no version speak that has seen it."""
        with sentences():
            chat = self._picks.detail(pick).comparison.conversation_id
            done = self._forgetting.forget([pick], reason="learned from a pick that was forgotten")
        self._hooks.answered(chat)
        self._hooks.version_changed()
        return done

    def delete_chat(self, conversation_id: ConversationId, *, unlearn: bool) -> Forgotten:
        """Erase a conversation; with ``unlearn`` also what versions have learned from it."""
        with sentences():
            seen = self._forgetting.versions_that_saw_chat(conversation_id) if unlearn else []
        self._hooks.delete_chat(conversation_id, unlearn=unlearn)
        self._hooks.version_changed()
        return Forgotten(versions=tuple(seen), live=self._policies.current().id)

    # --- Export ------------------------------------------------------------------------------

    def preview_export(self, only: PickFilter, options: ExportOptions) -> ExportPreview:
        """How many rows a download would have, and the first of them."""
        if options.format in BESIDE_PICKS:
            with sentences():
                rows = list(record_rows(self._reader, options))
            return ExportPreview(picks=0, rows=len(rows), sample=tuple(rows[:PREVIEW_ROWS]))
        with sentences():
            narrowed = wanted(only, options)
            return ExportPreview(
                picks=self._picks.count(only),
                rows=0
                if narrowed is None
                else self._picks.count(narrowed) * rows_a_pick(options.format),
                sample=tuple(islice(self.export(only, options), PREVIEW_ROWS)),
            )

    def export(self, only: PickFilter, options: ExportOptions) -> Iterator[Row]:
        """The rows, oldest record first; what is not made of picks heeds no filter of them."""
        if options.format in BESIDE_PICKS:
            yield from record_rows(self._reader, options)
            return
        narrowed = wanted(only, options)
        if narrowed is not None:
            yield from export_rows(self._picks.answered(narrowed), options)

    # --- Import ------------------------------------------------------------------------------

    def preview_import(self, path: Path, name: str) -> ImportPreview:
        """What a file would add. Raises ChatError where it cannot be read at all."""
        records, problems = list[FileRecord](), list[FileProblem]()
        for one in read_records(_lines(path, name)):
            (problems if isinstance(one, FileProblem) else records).append(one)  # type: ignore[arg-type]
        if not records and not problems:
            raise ChatError(
                tr("{name} is empty: choose a file with one JSON object a line.", name=name)
            )
        with sentences():
            new = {one.sha256: one for one in records if not self._is_known(one)}
        preview = ImportPreview(
            key=random_key(),
            name=name,
            new=tuple(new.values()),
            known=len(records) - len(new),
            problems=tuple(problems[:MAX_PROBLEMS]),
            bad_lines=len(problems),
        )
        with self._lock:
            self._previews[preview.key] = preview
            for key in list(self._previews)[:-KEPT_PREVIEWS]:
                del self._previews[key]
        return preview

    def start_import(self, key: str) -> None:
        """Have the model read what is new, one after the other, between the replies."""
        with self._lock:
            preview = self._previews.get(key)
            if preview is None:
                raise ChatError(tr("Choose the file again; this preview is too old."))
            if self._import is not None and self._import.running:
                raise ChatError(
                    tr("{name} is still being imported: wait for it.", name=self._import.name)
                )
            if not preview.new:
                raise ChatError(tr("There is nothing new in this file."))
            self._import = ImportProgress(
                name=preview.name, done=0, total=len(preview.new), added=0
            )
        for record in preview.new:
            self._hooks.on_model(lambda record=record: self._take_in(record))

    def import_progress(self) -> ImportProgress | None:
        """How far the newest import is; None before the first."""
        with self._lock:
            return self._import

    # --- Private -----------------------------------------------------------------------------

    def _change(self, pick: ComparisonId, change: Callable[[PickDetail], object]) -> PickDetail:
        with sentences():
            change(self._picks.detail(pick))
            changed = self._picks.detail(pick)
        self._hooks.answered(changed.comparison.conversation_id)
        return changed

    def _correct(self, pick: PickDetail, choice: Choice) -> None:
        if choice is Choice.WITHDRAWN:
            self._feedback.withdraw(pick.comparison.token)
        else:
            self._feedback.change(pick.comparison.token, choice, decision_ms=0)

    def _is_known(self, record: FileRecord) -> bool:
        kind = KINDS[type(record)]
        named = record.id is not None and self._imports.known_names(kind, [record.id])
        return bool(named or self._imports.known_rows(kind, [record.sha256]))

    def _take_in(self, record: FileRecord) -> None:
        """On the model's thread: let the model read the replies it learns from, then keep them."""
        progress = self._import
        if progress is None or progress.error:
            return
        try:
            added = self._imports.add([self._read(record)])
            progress = replace(progress, added=progress.added + added)
        except LearnerError as error:
            log.warning("Line %d of %s: %s", record.line, progress.name, error)
            progress = replace(progress, failed=progress.failed + 1)
        except StorageError as error:
            progress = replace(progress, error=str(error))
        with self._lock:
            self._import = progress = replace(progress, done=progress.done + 1)
        if not progress.running:
            self._hooks.refit()

    def _read(self, record: FileRecord) -> Imported:
        said = {"row_sha256": record.sha256, "meta_json": record.meta_json}
        match record:
            case FilePair():
                first, second = self._replies_read(record.prompt, (record.first, record.second))
                return ImportedPair(
                    prompt=record.prompt,
                    first=first,
                    second=second,
                    choice=record.choice,
                    token=record.id,
                    held_out=record.held_out,
                    decision_ms=record.decision_ms,
                    **said,
                )
            case FileRanking():
                return ImportedRanking(
                    prompt=record.prompt,
                    answers=self._replies_read(record.prompt, record.answers),
                    orders=record.orders,
                    token=record.id,
                    held_out=record.held_out,
                    decision_ms=record.decision_ms,
                    **said,
                )
            case FileDialogue():
                return ImportedDialogue(
                    messages=record.messages, held_out=record.held_out, key=record.id, **said
                )

    def _replies_read(
        self, prompt: Sequence[Message], texts: Sequence[str]
    ) -> tuple[Completion, ...]:
        base = self._policies.get(BASE_VERSION)
        read = (self._replies.written(prompt, text, base) for text in texts)
        return tuple(_as_read(one, text) for one, text in zip(read, texts, strict=True))


def _as_read(completion: Completion, text: str) -> Completion:
    """The file's own text, whatever the tokenizer would make of it."""
    return replace(completion, text=text)


def _lines(path: Path, name: str) -> Iterator[str]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ChatError(
                tr(
                    "{name} is larger than {number} MB: split it and import the parts.",
                    name=name,
                    number=MAX_FILE_BYTES // 2**20,
                )
            )
        with path.open(encoding="utf-8-sig") as file:
            yield from file
    except UnicodeDecodeError as error:
        raise ChatError(
            tr("{name} is not UTF-8 text: export it as JSON lines.", name=name)
        ) from error
    except OSError as error:
        raise ChatError(
            tr("{name} cannot be read ({strerror}).", name=name, strerror=error.strerror)
        ) from error
