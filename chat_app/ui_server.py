"""The page on 127.0.0.1: Gradio behind our own guard, on one fixed port.

One port, because browsers keep what belongs to a page by its address; a taken port is an error and
never a silent move to the next one.
"""

import asyncio
import os
import socket
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Self

# Read once, by the first import of gradio, which is on the next lines.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
# Gradio builds a component anew for each output of each update, and each resolves this folder where
# it is not named: that was nine tenths of what an update of the page cost.
os.environ.setdefault("GRADIO_TEMP_DIR", str(Path(tempfile.gettempdir()).resolve() / "gradio"))

import gradio as gr
import uvicorn
from fastapi import FastAPI

from chat_app.api import Api
from chat_app.downloads import add_downloads
from chat_app.guard import LocalGuard
from chat_app.hang_up import HangUp
from chat_app.importing import MAX_FILE_BYTES
from chat_app.port import HOST, bound
from chat_app.service import ChatService
from chat_app.tabs import Tabs
from chat_app.ui import ASSETS, THEME, build_ui

PORT = 7860
SCRIPTS = ("page.js", "rank.js", "folds.js")
"""Functions without arguments, run in this order once a page has loaded."""
STYLES = ("style.css", "tabs.css", "rank.css", "teach.css")


class PageServer:
    """Serves the page from its creation until ``stop``; ``port`` 0 takes a free one."""

    def __init__(
        self, service: ChatService, tabs: Tabs, *, candidates: int, port: int = PORT
    ) -> None:
        self._socket = bound(port)
        self.address = f"http://{HOST}:{self._socket.getsockname()[1]}"
        ending = asyncio.Event()
        config = uvicorn.Config(
            page_app(service, tabs, candidates=candidates, ending=ending), log_level="warning"
        )
        self._server = _Server(config, ending)

    def run(self) -> None:
        """Serve on this thread until the process is told to end."""
        self._server.run(sockets=[self._socket])

    def __enter__(self) -> Self:
        """Serve on a thread of its own, for tests and scripts."""
        self._thread = Thread(target=self.run, name="page", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()


class _Server(uvicorn.Server):
    """Lets go of open pages before it waits for their connections."""

    def __init__(self, config: uvicorn.Config, ending: asyncio.Event) -> None:
        super().__init__(config)
        self._ending = ending

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending.set()
        await super().shutdown(sockets)


def page_app(
    service: ChatService, tabs: Tabs, *, candidates: int, ending: asyncio.Event
) -> FastAPI:
    api = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    api.add_middleware(HangUp, ending=ending)
    api.add_middleware(LocalGuard)

    @api.get("/changes")
    async def changes(seen: str = "", key: str = "") -> dict[str, bool]:
        return service.revisions.news(seen, key)

    add_downloads(api, tabs)
    Api(
        tabs.completions,
        tabs.api_key,
        max_chars=service.max_message_chars,
        is_on=lambda: tabs.settings.current.api,
    ).add_to(api)
    page = build_ui(service, tabs, candidates=candidates)
    page.queue(default_concurrency_limit=None)
    scripts = [(ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS]
    return gr.mount_gradio_app(
        api,
        page,
        path="/",
        server_name=HOST,
        theme=THEME,
        css_paths=[ASSETS / name for name in STYLES],
        js="() => {" + "".join(f"({one})();" for one in scripts) + "}",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        show_error=False,
        mcp_server=False,
        enable_monitoring=False,
        max_file_size=MAX_FILE_BYTES,
    )


def serve_ui(
    service: ChatService,
    tabs: Tabs,
    *,
    candidates: int,
    port: int = PORT,
    ready: Callable[[str], None],
) -> None:
    """Serve until Ctrl+C; ``ready`` is told the address as soon as it answers."""
    server = PageServer(service, tabs, candidates=candidates, port=port)
    ready(server.address)
    with suppress(KeyboardInterrupt):  # uvicorn ends in order, then hands the signal on
        server.run()
