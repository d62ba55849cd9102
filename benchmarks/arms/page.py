"""R10: a pair read through the page's own stream, and the same work without a page.

Server, engine and service are one process, as in life; the reader is another one that speaks what a
browser speaks to Gradio: it joins the queue for an event and reads the stream until the event ends.
"""

import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from threading import Event

from benchmarks.arms.ours import SAMPLING
from benchmarks.arms.words import user_text
from benchmarks.material import DIGEST
from chat_app.config import ServiceConfig
from chat_app.progress import no_learner
from chat_app.service import ChatService
from chat_app.settings import Settings
from chat_app.tabs import build_tabs
from chat_app.ui_server import PageServer
from learner.build import build_replies
from learner.config import AskConfig, AskMode, EngineConfig, RewardConfig
from learner.model_folder import ModelFolder
from storage.database import Store
from storage.folder import DataFolder
from storage.logs import Logs
from storage.records import Message, Role, Sampling


class Page:
    def __init__(
        self, model: str, candidates: int, new_tokens: int, engine: dict[str, object]
    ) -> None:
        self._stack = ExitStack()
        root = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        folder = DataFolder(root)
        store = self._stack.enter_context(Store(folder.database))
        logs = Logs.over(store, folder.rounds)
        self._policies = logs.policies
        config = EngineConfig(sampling=Sampling(max_new_tokens=new_tokens, **SAMPLING), **engine)
        weights = Path(model) / DIGEST
        digest = weights.read_text() if weights.exists() else "0" * 64
        self._replies = build_replies(
            ModelFolder(path=Path(model), name="bench", sha256=digest),
            engine=config,
            ask=AskConfig(mode=AskMode.ALWAYS, candidates=candidates),
            reward=RewardConfig(),
        )
        self._service = ChatService(
            logs,
            self._replies,
            ServiceConfig(model_name="bench"),
            no_learner,
        )
        self._stack.callback(self._service.close)
        tabs = build_tabs(
            folder=folder,
            settings=Settings(data=root, engine=config),
            store=store,
            logs=logs,
            replies=self._replies,
            service=self._service,
            control=None,
        )
        server = self._stack.enter_context(
            PageServer(self._service, tabs, candidates=candidates, port=0)
        )
        self._reader = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "benchmarks.arms.page_reader", server.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def round(self, number: int) -> dict[str, float]:
        text = user_text(number, 0)
        self._service.drain()
        used = time.process_time()
        self._reader.stdin.write(json.dumps(text) + "\n")
        seen = json.loads(self._reader.stdout.readline())
        cpu = time.process_time() - used
        self._service.drain()
        began = time.perf_counter()
        first: list[float] = []

        def emit(draft) -> None:  # noqa: ANN001
            if any(draft.texts) and not first:
                first.append(time.perf_counter() - began)

        prompt = [Message(role=Role.USER, content=user_text(number, 1))]
        used = time.process_time()
        self._replies.reply(prompt, self._policies.current(), number, emit, Event())
        wall = time.perf_counter() - began
        return {
            "page_wall_s": seen["wall_s"],
            "page_first_s": seen["first_s"],
            "page_events": float(seen["events"]),
            "page_cpu_s": cpu,
            "engine_wall_s": wall,
            "engine_first_s": first[0],
            "engine_cpu_s": time.process_time() - used,
        }

    def close(self) -> None:
        self._reader.stdin.close()
        self._reader.wait(10)
        self._stack.close()
