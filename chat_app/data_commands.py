"""``twofold export``, ``import`` and ``backup``: the Data tab without a page."""

import json
import secrets
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from chat_app import options as o
from chat_app.data_service import DataHooks, DataService
from chat_app.dataset_zip import file_bytes
from chat_app.errors import ChatError
from chat_app.exports import (
    BESIDE_PICKS,
    BINARY,
    ExportFormat,
    ExportOptions,
    Row,
    export_rows,
    json_lines,
    wanted,
)
from chat_app.pick_query import PickQuery
from chat_app.record_exports import record_rows
from chat_app.saved_settings import model_of
from chat_app.wording_data import import_line
from learner.config import AskConfig, EngineConfig, OnlineConfig
from learner.model_source import resolve_model
from storage.backup import back_up
from storage.base_models import settle
from storage.database import Reader, Store
from storage.folder import DataFolder
from storage.imports import ImportLog
from storage.logs import Logs
from storage.pick_list import PickReader

_WHICH = "Which choices"

Words = Annotated[str, typer.Option("--search", help="Words that occur.", rich_help_panel=_WHICH)]
Chosen = Annotated[str, typer.Option(help="first, second, tie, ...", rich_help_panel=_WHICH)]
Reason = Annotated[str, typer.Option(help="Why it was asked.", rich_help_panel=_WHICH)]
Version = Annotated[str, typer.Option(help="Who wrote a reply.", rich_help_panel=_WHICH)]
State = Annotated[str, typer.Option(help="used, left-out or held-out.", rich_help_panel=_WHICH)]
Since = Annotated[str, typer.Option(help="A day, as 2026-11-22.", rich_help_panel=_WHICH)]
Until = Annotated[str, typer.Option(help="The last day.", rich_help_panel=_WHICH)]


def export(
    out: Annotated[Path | None, typer.Option(help="File to write; none prints the rows.")] = None,
    format_: Annotated[ExportFormat, typer.Option("--format")] = ExportFormat.PREFERENCE,
    held_out: Annotated[bool, typer.Option(help="Also what only measures.")] = True,
    partial: Annotated[bool, typer.Option(help="Also replies that were cut off.")] = False,
    meta: Annotated[bool, typer.Option(help="Also the columns that begin with meta_.")] = True,
    search: Words = "",
    choice: Chosen = "",
    reason: Reason = "",
    version: Version = "",
    state: State = "",
    since: Since = "",
    until: Until = "",
    data: o.Data = None,
) -> None:
    """Write the choices of a data folder as a file; also while a chat runs."""
    query = PickQuery(
        words=search,
        choice=choice,
        reason=reason,
        version=version,
        state=state,
        since=since,
        until=until,
    )
    chosen = ExportOptions(format=format_, held_out=held_out, partial=partial, meta=meta)
    if format_ in BINARY and out is None:
        raise ChatError(f"The format {format_} cannot be printed: name a file with --out.")
    folder = DataFolder(data or DataFolder.default_root(), make=False)
    with Reader(folder.database) as reader:
        if format_ in BESIDE_PICKS:
            rows = record_rows(reader, chosen)
        else:
            only = wanted(query.filter(), chosen)
            picks = iter(()) if only is None else PickReader(reader).answered(only)
            rows = export_rows(picks, chosen)
        out = o.at_home(out)
        if out is None:
            for line in json_lines(rows):
                sys.stdout.write(line)
            return
        counted = _Counted()
        _write(out, chosen, counted.through(rows))
    typer.echo(f"{counted.rows} rows in {out}", err=True)


def import_(
    file: Annotated[Path, typer.Argument(help="JSON lines with prompt, chosen and rejected.")],
    data: o.Data = None,
    model: o.Model = None,
    dry_run: Annotated[bool, typer.Option(help="Only say what would be imported.")] = False,
    as_json: o.AsJson = False,
) -> None:
    """Take in a file of preferences; the folder must not be used by a running chat.

    Ends with status 2 where no line of it could be used.
    """
    folder = DataFolder(data or DataFolder.default_root())
    jobs = deque[Callable[[], None]]()
    with folder.claim(), Store(folder.database) as store:
        service = _service(folder, store, model, jobs.append, reads=not dry_run)
        preview = service.importing.preview(file, file.name)
        added = failed = 0
        typer.echo(import_line(preview).replace("**", ""), err=True)
        if preview.new and not dry_run:
            service.importing.start(preview.key)
            while jobs:
                jobs.popleft()()
            progress = service.importing.progress()
            if progress is not None:
                if progress.error:
                    raise ChatError(progress.error)
                added, failed = progress.added, progress.failed
        if as_json:
            said = {"new": len(preview.new), "known": preview.known, "bad": preview.bad_lines}
            typer.echo(json.dumps(said | {"imported": added, "failed": failed}))
        elif not dry_run:
            typer.echo(f"{added} imported" + (f", {failed} failed" if failed else ""))
    if not preview.known and len(preview.new) == failed:
        raise typer.Exit(2)


def backup(
    to: Annotated[
        Path | None, typer.Option(help="Folder for it. Default: backups/ in the data folder.")
    ] = None,
    data: o.Data = None,
) -> None:
    """Copy the database, check the copy, and print where it is; also while a chat runs."""
    folder = DataFolder(data or DataFolder.default_root(), make=False)
    typer.echo(back_up(folder.database, o.at_home(to) or folder.backups))


class _Counted:
    """Counts what passes."""

    rows = 0

    def through(self, rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            self.rows += 1
            yield row


def _write(out: Path, options: ExportOptions, rows: Iterable[Row]) -> None:
    """Under a temporary name first, so that a file of this name is a whole one."""
    part = out.parent / f".twofold-{secrets.token_hex(4)}.part"
    try:
        if out.is_dir():
            raise ChatError(f"{out} is a folder: name a file in it with --out.")
        if options.format in BINARY:
            part.write_bytes(file_bytes(rows, options))
        else:
            with part.open("w", encoding="utf-8") as file:
                file.writelines(json_lines(rows))
        part.replace(out)
    except OSError as error:
        raise ChatError(
            f"{out} cannot be written ({error.strerror}): name another file with --out."
        ) from error
    finally:
        with suppress(OSError):  # where it could not be made, it cannot be looked for either
            part.unlink(missing_ok=True)


def _service(
    folder: DataFolder,
    store: Store,
    model: str | None,
    on_model: Callable[[Callable[[], None]], None],
    *,
    reads: bool,
) -> DataService:
    """A Data service of this process, ``on_model`` as in DataHooks; without ``reads`` it loads no
    model."""
    if reads:
        from learner.build import build_replies  # noqa: PLC0415 - torch, seconds

        known = resolve_model(
            model_of(folder.root, model), progress=lambda line: typer.echo(line, err=True)
        )
        settle(store, sha256=known.sha256, name=known.name)
        replies = build_replies(
            known,
            engine=EngineConfig(),
            ask=AskConfig(),
            reward=OnlineConfig().reward,
        )
    else:
        from learner.engine.scripted import ScriptedReplyMaker  # noqa: PLC0415

        replies = ScriptedReplyMaker()
    logs = Logs.over(store, folder.rounds)
    return DataService(
        reader=store,
        picks=PickReader(store),
        logs=logs,
        imports=ImportLog(store),
        replies=replies,
        hooks=DataHooks(
            on_model=on_model,
            answered=lambda _: None,
            refit=lambda: None,
            version_changed=lambda: None,
            delete_chat=logs.forgetting.delete_conversation,
        ),
    )
