"""Export and import on the Data tab: what would be written or read, before it is."""

import json
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from chat_app import wording_data as words
from chat_app.data_service import DataService
from chat_app.downloads import export_link
from chat_app.errors import ChatError
from chat_app.exports import ExportFormat, ExportOptions
from chat_app.language import tr
from chat_app.pick_query import PickQuery
from chat_app.ui_parts import LAST, QUIET, Update, hidden, line

PROGRESS_S = 0.7
FILE_TYPES = [".jsonl", ".json", ".ndjson"]


class ExchangePanels:
    def __init__(self, data: DataService) -> None:
        self._data = data

    def body(self) -> None:
        with gr.Accordion(tr("Export"), open=False, elem_id="export") as self.export_box:
            self.format = gr.Radio(
                choices=[(name, format_.value) for format_, name in words.FORMATS.items()],
                value=ExportFormat.PREFERENCE.value,
                label=tr("Format"),
                elem_id="export-format",
            )
            self.options = gr.CheckboxGroup(
                choices=[
                    (tr("Choices that only measure"), "held_out"),
                    (tr("Replies that were cut off"), "partial"),
                    (tr("Columns about each choice (meta_…)"), "meta"),
                ],
                value=["held_out", "meta"],
                label=tr("With"),
                elem_id="export-options",
            )
            self.export_said = gr.Markdown("", elem_id="export-said")
            self.sample = gr.Code(
                "",
                language="json",
                label=tr("First rows"),
                elem_id="export-sample",
                visible=False,
                max_lines=14,
                wrap_lines=True,
            )
            self.link = gr.HTML(elem_id="export-link")
        with gr.Accordion(tr("Import"), open=False, elem_id="import"):
            gr.Markdown(
                tr(
                    "A file of preferences, one JSON object a line: `prompt`, `chosen` and "
                    "`rejected`, as TRL has them; of dialogues: `messages`; or an export of "
                    "twofold's, rankings among them. They teach like your own."
                ),
                elem_id="import-hint",
            )
            self.file = gr.File(
                label=tr("File"), file_types=FILE_TYPES, file_count="single", elem_id="import-file"
            )
            self.import_key = gr.State("")
            self.import_said = gr.Markdown("", visible=False, elem_id="import-said")
            self.start = gr.Button(
                tr("Import"), variant="primary", visible=False, elem_id="import-start", size="md"
            )
            self.progress = gr.Markdown("", visible=False, elem_id="import-progress")
        self.timer = gr.Timer(PROGRESS_S, active=False)
        self.ended = hidden("import-ended")
        """Changes as an import ends."""

    def bind(self, query: list[Any]) -> None:
        export = [self.export_said, self.sample, self.link]
        gr.on(
            [self.export_box.expand, self.format.change, self.options.change],
            self.preview_export,
            [self.format, self.options, *query],
            export,
            **LAST,
        )
        reading = [self.file, self.import_key, self.import_said, self.start, self.progress]
        self.file.upload(self.preview_import, [self.file], reading, **QUIET)
        progress = [self.progress, self.timer, self.ended]
        following = [self.import_said, self.start, *progress]
        self.start.click(self.begin, [self.import_key], following, **QUIET)
        self.timer.tick(self.follow, [self.import_key], progress, **QUIET)

    @property
    def drawn_with_the_list(self) -> list[Any]:
        return [self.link, self.export_said, self.sample]

    def draw(self, query: PickQuery) -> Update:
        """Another selection makes the preview stale: it is made again when it is looked at."""
        del query
        return {
            self.export_said: tr("Choose a format to see what the selection above makes."),
            self.sample: gr.update(visible=False),
            self.link: "",
        }

    # --- Events ------------------------------------------------------------------------------

    def preview_export(self, format_: str, options: list[str], *query: str) -> Update:
        chosen = ExportOptions(
            format=ExportFormat(format_),
            held_out="held_out" in options,
            partial="partial" in options,
            meta="meta" in options,
        )
        try:
            asked = PickQuery.listed(query)
            preview = self._data.preview_export(asked.filter(), chosen)
        except ChatError as error:
            return {
                self.export_said: str(error),
                self.sample: gr.update(visible=False),
                self.link: "",
            }
        sample = "\n".join(json.dumps(row, ensure_ascii=False, indent=1) for row in preview.sample)
        return {
            self.export_said: words.export_line(preview, chosen.format),
            self.sample: gr.update(value=sample, visible=bool(sample)),
            self.link: _download(export_link(asked, chosen), chosen) if preview.sample else "",
        }

    def preview_import(self, file: str | None) -> Update:
        """Look into an uploaded file and delete it: what is needed of it is in memory then."""
        if file is None:
            return {self.import_said: line("")}
        path = Path(file)
        try:
            preview = self._data.importing.preview(path, path.name)
        except ChatError as error:
            return {
                self.file: None,
                self.import_said: line(str(error)),
                self.start: gr.update(visible=False),
            }
        finally:
            with suppress(OSError):
                path.unlink()
                path.parent.rmdir()
        new = len(preview.new)
        return {
            self.file: None,
            self.import_key: preview.key,
            self.import_said: line(words.import_line(preview)),
            self.start: gr.update(visible=bool(new), value=words.import_label(preview)),
            self.progress: line(""),
        }

    def begin(self, key: str) -> Update:
        try:
            self._data.importing.start(key)
        except ChatError as error:
            return {self.import_said: line(str(error))}
        return {
            self.import_said: line(""),
            self.start: gr.update(visible=False),
            **self.follow(key),
        }

    def follow(self, key: str) -> Update:
        progress = self._data.importing.progress()
        if progress is None:
            return {self.progress: line(""), self.timer: gr.Timer(active=False)}
        return {
            self.progress: line(words.import_progress_line(progress)),
            self.timer: gr.Timer(active=progress.running),
            self.ended: "" if progress.running else key,
        }


def _download(link: str, options: ExportOptions) -> str:
    name = escape(options.file_name)
    said = tr("Download {name}", name=name)
    return f'<a class="button" href="{escape(link)}" download="{name}">{said}</a>'
