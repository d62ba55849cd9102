"""A file of records on its way into the log: first what it would add, then the reading of it.

The model reads what is new one after the other, between the replies; any thread may call this.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Lock

from chat_app.errors import ChatError, sentences
from chat_app.file_records import (
    FileDialogue,
    FilePair,
    FileProblem,
    FileRanking,
    FileRecord,
)
from chat_app.import_file import read_records
from chat_app.language import tr, tr_told
from learner.errors import LearnerError
from learner.protocols import ReplyMaker
from storage.conversation_rows import random_key
from storage.errors import StorageError
from storage.imports import (
    Imported,
    ImportedDialogue,
    ImportedPair,
    ImportedRanking,
    ImportLog,
)
from storage.policies import PolicyReader
from storage.records import BASE_VERSION, Completion, Message

log = logging.getLogger(__name__)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPreview:
    key: str
    """Names it in ``Importing.start``."""
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
    """Records that could not be taken in, as those with too long a prompt; the log says why."""
    error: str = ""

    @property
    def running(self) -> bool:
        return self.done < self.total and not self.error


class Importing:
    """One file at a time."""

    def __init__(
        self,
        *,
        imports: ImportLog,
        policies: PolicyReader,
        replies: ReplyMaker,
        on_model: Callable[[Callable[[], None]], None],
        refit: Callable[[], None],
    ) -> None:
        """``on_model`` and ``refit`` as in ``DataHooks``."""
        self._imports = imports
        self._policies = policies
        self._replies = replies
        self._on_model = on_model
        self._refit = refit
        self._lock = Lock()
        self._progress: ImportProgress | None = None
        self._previews: dict[str, ImportPreview] = {}

    def preview(self, path: Path, name: str) -> ImportPreview:
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

    def start(self, key: str) -> None:
        """Have the model read what is new, one after the other, between the replies."""
        with self._lock:
            preview = self._previews.get(key)
            if preview is None:
                raise ChatError(tr("Choose the file again; this preview is too old."))
            if self._progress is not None and self._progress.running:
                raise ChatError(
                    tr("{name} is still being imported: wait for it.", name=self._progress.name)
                )
            if not preview.new:
                raise ChatError(tr("There is nothing new in this file."))
            progress = ImportProgress(name=preview.name, done=0, total=len(preview.new), added=0)
            self._progress = progress
        self._go_on(progress, deque(preview.new))

    def progress(self) -> ImportProgress | None:
        """How far the newest import is; None before the first."""
        with self._lock:
            return self._progress

    def _is_known(self, record: FileRecord) -> bool:
        kind = KINDS[type(record)]
        named = record.id is not None and self._imports.known_names(kind, [record.id])
        return bool(named or self._imports.known_rows(kind, [record.sha256]))

    def _go_on(self, progress: ImportProgress, left: deque[FileRecord]) -> None:
        """Tell how far it is, and queue the next record.

        One waits at a time, so that a reply that is asked for meanwhile is written between two, and
        the thread may end.
        """
        with self._lock:
            self._progress = progress
        try:
            if progress.running:
                self._on_model(partial(self._take_in, progress, left))
            else:
                self._refit()
        except RuntimeError:  # the model's thread is ending
            if progress.running:
                log.warning("%s: %d lines were not imported", progress.name, len(left))
                with self._lock:
                    self._progress = replace(progress, error=tr("twofold is ending."))

    def _take_in(self, progress: ImportProgress, left: deque[FileRecord]) -> None:
        """On the model's thread: let the model read the replies it learns from, then keep them."""
        record = left.popleft()
        progress = replace(progress, done=progress.done + 1)
        try:
            added = self._imports.add([self._read(record)])
            progress = replace(progress, added=progress.added + added)
        except StorageError as error:
            progress = replace(progress, error=tr_told(str(error)))
        except LearnerError as error:
            log.warning("Line %d of %s: %s", record.line, progress.name, error)
            progress = replace(progress, failed=progress.failed + 1)
        except Exception:
            # A value that nobody thought of must not keep the rest of the file out.
            log.exception("Line %d of %s could not be imported", record.line, progress.name)
            progress = replace(progress, failed=progress.failed + 1)
        self._go_on(progress, left)

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
                    labels=record.labels,
                    excluded=record.excluded,
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
