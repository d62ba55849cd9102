"""twofold, put together: the one place that knows all parts.

torch and Gradio are imported inside the functions that need them: they take seconds, most commands
want neither, and the spawned learner imports this file again.
"""

import signal
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import typer

from chat_app.browser import open_page
from chat_app.cli import run, say
from chat_app.config import ServiceConfig
from chat_app.language import speak
from chat_app.progress import no_learner, read_progress
from chat_app.settings import Learning, ServeOptions, Settings
from learner.control import LearnerControl
from learner.model_folder import ModelFolder
from learner.model_source import resolve_model
from learner.reward.lean_file import read_lean
from storage.database import Store
from storage.folder import DataFolder
from storage.logs import Logs
from storage.rounds import sweep

if TYPE_CHECKING:
    from learner.protocols import ReplyMaker
    from learner.worker import LearnerProcess


def serve(settings: Settings, options: ServeOptions) -> None:
    """Serve the page until Ctrl+C. Raises StorageError, ModelError or ChatError."""
    from chat_app.merged_model import sweep_downloads
    from chat_app.service import ChatService
    from chat_app.tabs import build_tabs
    from chat_app.ui_server import serve_ui

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # or the clean-up would be skipped
    with ExitStack() as stack:
        speak(settings.language.value)
        data = settings.data
        if options.demo:
            data = Path(stack.enter_context(TemporaryDirectory(prefix="twofold-demo-")))
        folder = DataFolder(data)
        claim = stack.enter_context(folder.claim())
        store = stack.enter_context(Store(folder.database))
        logs = Logs.over(store, folder.rounds)
        sweep(logs.policies)
        sweep_downloads(folder.root)
        model = None if options.demo else resolve_model(settings.model, progress=say)
        learns = model is not None and settings.learning is Learning.ON
        replies = _replies(settings, folder, model)
        service = ChatService(
            logs,
            replies,
            ServiceConfig(
                model_name="a script" if model is None else model.name,
                min_preferences=settings.online.min_preferences,
                candidates=settings.ask.candidates,
                seed=settings.engine.seed,
            ),
            partial(read_progress, folder.progress) if learns else no_learner,
        )
        stack.callback(service.close)
        learner = _start_learner(stack, settings, folder, model) if learns else None

        def ready(address: str) -> None:
            claim.note_port(urlsplit(address).port)
            typer.echo(f"twofold is at {address} (Ctrl+C ends it)")
            if options.open_browser:
                open_page(address)

        tabs = build_tabs(
            folder=folder,
            settings=settings,
            store=store,
            logs=logs,
            replies=replies,
            service=service,
            control=LearnerControl(folder.root) if learner else None,
            model=model,
            revive=learner.revive if learner else lambda: None,
        )
        serve_ui(service, tabs, candidates=settings.ask.candidates, port=options.port, ready=ready)


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
    stack: ExitStack, settings: Settings, folder: DataFolder, model: ModelFolder
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
    )
    learner.start()
    stack.callback(learner.stop)
    return learner


def main() -> None:
    run(serve)


if __name__ == "__main__":
    main()
