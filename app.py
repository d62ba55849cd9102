"""twofold, put together: the one place that knows all parts.

torch and Gradio are imported inside the functions that need them: they take seconds, most commands
want neither, and the spawned learner imports this file again.
"""

import logging
import signal
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import typer

from chat_app.browser import open_page
from chat_app.cli import run, say
from chat_app.config import ServiceConfig
from chat_app.errors import ChatError
from chat_app.language import speak
from chat_app.port import check_port
from chat_app.progress import no_learner, read_progress
from chat_app.saved_settings import read_saved
from chat_app.settings import Learning, ServeOptions, Settings
from learner.control import LearnerControl
from learner.model_folder import ModelFolder
from learner.model_source import BUILT_IN, resolve_model
from learner.reward.lean_file import read_lean
from storage.base_models import settle
from storage.database import Store
from storage.errors import OtherModelError
from storage.folder import Claim, DataFolder
from storage.logs import Logs
from storage.rounds import sweep

if TYPE_CHECKING:
    from chat_app.service import ChatService
    from learner.protocols import ReplyMaker
    from learner.worker import LearnerProcess


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    """The loop over one data folder: what a page or a terminal stands before."""

    folder: DataFolder
    claim: Claim
    store: Store
    logs: Logs
    model: ModelFolder | None
    replies: "ReplyMaker"
    service: "ChatService"
    learner: "LearnerProcess | None"


def serve(settings: Settings, options: ServeOptions) -> None:
    """Serve the page until Ctrl+C. Raises StorageError, ModelError or ChatError."""
    from chat_app.tabs import build_tabs
    from chat_app.ui_server import serve_ui

    with _running(settings, demo=options.demo, port=options.port) as loop:
        folder, learner = loop.folder, loop.learner

        def ready(address: str) -> None:
            loop.claim.note_port(urlsplit(address).port)
            typer.echo(f"twofold is at {address} (Ctrl+C ends it)")
            if not options.demo:
                typer.echo(f"What you say and choose stays in {folder.root}")
            if options.open_browser:
                open_page(address)

        tabs = build_tabs(
            folder=folder,
            settings=settings,
            store=loop.store,
            logs=loop.logs,
            replies=loop.replies,
            service=loop.service,
            control=LearnerControl(folder.root) if learner else None,
            model=loop.model,
            revive=learner.revive if learner else lambda: None,
        )
        serve_ui(
            loop.service,
            tabs,
            candidates=settings.ask.candidates,
            port=options.port,
            ready=ready,
        )


def chat(settings: Settings, options: ServeOptions) -> None:
    """Chat in this terminal until the person ends it. Raises as ``serve`` does."""
    from chat_app.terminal import TerminalChat

    with suppress(ImportError):  # lines can be edited where it is there
        import readline  # noqa: F401
    with _running(settings, demo=options.demo, in_terminal=True) as loop:
        TerminalChat(
            loop.service,
            read=input,
            write=_print_at_once,
            candidates=settings.ask.candidates,
            is_terminal=sys.stdout.isatty(),
            interrupts=_ctrl_c,
        ).run()


@contextmanager
def _running(
    settings: Settings, *, demo: bool, in_terminal: bool = False, port: int = 0
) -> Generator[_Running]:
    """Everything behind the page, until the ``with`` block ends.

    ``port`` will be the page's, and must be free.
    ``in_terminal``: the learner leaves the terminal, and its Ctrl+C, to the chat.
    """
    from chat_app.merged_model import sweep_downloads
    from chat_app.service import ChatService

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # or the clean-up would be skipped
    with ExitStack() as stack:
        speak(settings.language.value)
        data = settings.data
        if demo:
            data = Path(stack.enter_context(TemporaryDirectory(prefix="twofold-demo-")))
        folder = DataFolder(data)
        claim = stack.enter_context(folder.claim())
        check_port(port)  # a mistake is told before the model loads
        store = stack.enter_context(Store(folder.database))
        logs = Logs.over(store, folder.rounds)
        sweep(logs.policies)
        sweep_downloads(folder.root)
        model = None if demo else resolve_model(settings.model, progress=say)
        if model is not None:
            _settle(store, folder, settings, model)
        learns = model is not None and settings.learning is Learning.ON
        replies = _replies(settings, folder, model)
        service = ChatService(
            logs,
            replies,
            ServiceConfig(
                model_name="a script" if model is None else model.name,
                min_preferences=settings.online.min_preferences,
                keep_versions=settings.keep_versions,
                candidates=settings.ask.candidates,
                seed=settings.engine.seed,
            ),
            partial(read_progress, folder.progress) if learns else no_learner,
        )
        stack.callback(service.close)
        yield _Running(
            folder=folder,
            claim=claim,
            store=store,
            logs=logs,
            model=model,
            replies=replies,
            service=service,
            learner=_start_learner(stack, settings, folder, model, quiet=in_terminal)
            if model is not None and learns
            else None,
        )


def _settle(store: Store, folder: DataFolder, settings: Settings, model: ModelFolder) -> None:
    """Or say that the folder is another model's, and what names this one if it was no flag."""
    try:
        settle(store, sha256=model.sha256, name=model.name)
    except OtherModelError as error:
        if settings.model is None or read_saved(folder.settings).model != settings.model:
            raise
        raise ChatError(
            f"{error} It was named on the Settings page: take it out of {folder.settings}, or add "
            f"--model {BUILT_IN}."
        ) from error


def _replies(settings: Settings, folder: DataFolder, model: ModelFolder | None) -> "ReplyMaker":
    if model is None:
        from learner.engine.scripted import ScriptedReplyMaker

        return ScriptedReplyMaker()
    from learner.build import build_replies

    return build_replies(
        model,
        engine=settings.engine,
        ask=settings.ask,
        reward=settings.online.reward,
        taught=settings.learning is not Learning.OFF,
        lean=partial(read_lean, folder.taste),
    )


def _start_learner(
    stack: ExitStack,
    settings: Settings,
    folder: DataFolder,
    model: ModelFolder,
    *,
    quiet: bool,
) -> "LearnerProcess":
    from learner.build import LearnerBuild
    from learner.worker import LearnerProcess

    online = settings.online
    build = LearnerBuild(data=folder.root, model=model, engine=settings.engine, online=online)
    learner = LearnerProcess(
        build,
        folder.progress,
        poll_s=online.poll_s,
        max_failures=online.max_failures,
        back_off_s=online.back_off_s,
        log_level=logging.ERROR if quiet else logging.INFO,
    )
    # Ctrl+C goes to all processes of a terminal. A child inherits what is ignored when it starts.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        learner.start()
    finally:
        signal.signal(signal.SIGINT, before)
    stack.callback(learner.stop)
    return learner


@contextmanager
def _ctrl_c() -> Generator[Event]:
    """Within it the first Ctrl+C sets the event; a second one ends the program as ever."""
    pressed = Event()

    def press(signum: int, frame: FrameType | None) -> None:
        if pressed.is_set():
            signal.default_int_handler(signum, frame)
        pressed.set()

    before = signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _print_at_once(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def main() -> None:
    run(serve, chat=chat)


if __name__ == "__main__":
    main()
