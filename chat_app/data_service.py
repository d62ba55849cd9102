"""DataService: the picks as a person sees, corrects, takes out and exports them.

Like ``ChatService`` it knows no Gradio, SQL or tensors, and any thread may call it. What changes
what is learned is committed first; then the judges are refitted, which takes milliseconds, and the
learner finds it in the log by itself.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from chat_app.errors import sentences
from chat_app.exports import BESIDE_PICKS, ExportOptions, Row, export_rows, rows_a_pick, wanted
from chat_app.importing import Importing
from chat_app.record_exports import record_rows
from learner.protocols import ReplyMaker
from storage.database import Reader
from storage.dialogues import Demonstration, DemonstrationCounts, DialogueReader
from storage.forgetting import Forgotten
from storage.imports import ImportLog
from storage.logs import Logs
from storage.pick_list import PickDetail, PickFilter, PickReader, PickRow
from storage.rankings import RankingCounts, RankingReader
from storage.records import Choice, ComparisonId, ConversationId, PolicyVersionId

PAGE = 30
PREVIEW_ROWS = 3


class DeleteChat(Protocol):
    def __call__(self, conversation_id: ConversationId, *, unlearn: bool) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DataHooks:
    """What the chat beside it is told, and asked to do."""

    on_model: Callable[[Callable[[], None]], None]
    """Queues a job on the model's thread, behind every reply that somebody waits for. Raises
    RuntimeError where that thread is ending."""
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
        self._policies = logs.policies
        self._hooks = hooks
        self.importing = Importing(
            imports=imports,
            policies=logs.policies,
            replies=replies,
            on_model=hooks.on_model,
            refit=hooks.refit,
        )

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
        """Erase a conversation; with ``unlearn`` also what versions have learned from it.

        If none has yet, a lesson that runs just then is not kept.
        """
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
