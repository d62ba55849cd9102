"""What a link on the page downloads, straight from the data folder to the person's browser.

Gradio would copy each file to a temporary folder first; what people wrote shall not lie there.
The guard in front (``guard.py``) keeps strangers out, here as everywhere.
"""

from collections.abc import Mapping
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, PlainTextResponse, Response, StreamingResponse

from chat_app.dataset_zip import file_bytes
from chat_app.errors import ChatError
from chat_app.exports import BINARY, ExportFormat, ExportOptions, json_lines
from chat_app.pick_query import PickQuery
from chat_app.tabs import Tabs
from storage.records import PolicyVersionId

EXPORT = "/download/picks"
ADAPTER = "/download/adapter"
MERGED = "/download/merged"
BACKUP = "/download/backup"


def export_link(query: PickQuery, options: ExportOptions) -> str:
    flags = {
        "format": options.format.value,
        "held_out": int(options.held_out),
        "partial": int(options.partial),
        "meta": int(options.meta),
    }
    return f"{EXPORT}?{urlencode(flags)}&{query.urlencoded()}".rstrip("&")


def adapter_link(version: PolicyVersionId) -> str:
    return f"{ADAPTER}/{version}"


def merged_link(version: PolicyVersionId) -> str:
    return f"{MERGED}/{version}"


def add_downloads(api: FastAPI, tabs: Tabs) -> None:
    """Answer the links, before Gradio takes the rest of the addresses."""

    @api.get(EXPORT)
    def picks(request: Request) -> Response:
        try:
            options = _options(request.query_params)
            only = PickQuery.of(request.query_params).filter()
            rows = tabs.data.export(only, options)
            if options.format in BINARY:
                return _picks(Response(file_bytes(rows, options)), options)
            return _picks(StreamingResponse(json_lines(rows)), options)
        except ChatError as error:
            return PlainTextResponse(str(error), status_code=400)

    @api.get(ADAPTER + "/{version}")
    def adapter(version: int) -> Response:
        try:
            content = tabs.models.adapter(PolicyVersionId(version))
        except ChatError as error:
            return PlainTextResponse(str(error), status_code=400)
        return _attachment(Response(content), f"twofold-v{version}.zip", "application/zip")

    @api.get(MERGED + "/{version}")
    def merged(version: int) -> Response:
        try:
            content = StreamingResponse(tabs.models.merged(PolicyVersionId(version)))
        except ChatError as error:
            return PlainTextResponse(str(error), status_code=400)
        return _attachment(content, f"twofold-v{version}-merged.zip", "application/zip")

    @api.get(BACKUP + "/{name}")
    def backup(name: str) -> Response:
        path = tabs.settings.backup_named(name)
        if path is None:
            return PlainTextResponse("There is no such backup.", status_code=404)
        return FileResponse(path, filename=name, headers={"cache-control": "no-store"})


def _options(values: Mapping[str, str]) -> ExportOptions:
    name = values.get("format", ExportFormat.PREFERENCE.value)
    if name not in list(ExportFormat):
        raise ChatError(f"{name} is no format; known are {', '.join(ExportFormat)}.")
    return ExportOptions(
        format=ExportFormat(name),
        held_out=values.get("held_out", "1") == "1",
        partial=values.get("partial", "0") == "1",
        meta=values.get("meta", "1") == "1",
    )


def _picks(response: Response, options: ExportOptions) -> Response:
    return _attachment(response, options.file_name, options.media_type)


def _attachment(response: Response, name: str, media_type: str) -> Response:
    response.headers["content-type"] = media_type
    response.headers["content-disposition"] = f'attachment; filename="{name}"'
    response.headers["cache-control"] = "no-store"
    return response
