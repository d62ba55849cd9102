"""R9: the whole loop as a person has it, through the service, with a learner process beside it.

One round is one fresh data folder: replies with the learner at rest, rounds of picks until new
weights are live, replies while the learner trains without a pause (at idle priority, and, to see
what that is worth, at the same priority as the chat). Memory is the proportional set size of server
and learner together, so that what they share counts once.
"""

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from threading import Event

from chat_app.config import ServiceConfig
from chat_app.progress import no_learner
from chat_app.service import ChatService
from learner.asking import AskingReplyMaker
from learner.build import LearnerBuild, build_replies, load_engine
from learner.config import AskConfig, AskMode, EngineConfig, OnlineConfig, RewardConfig
from learner.model_folder import ModelFolder
from learner.model_source import resolve_model
from learner.protocols import Draft, Stage
from learner.reward.head import BayesianRewardHead
from learner.updates.lesson import Lesson
from learner.updates.online_dpo import OnlineDpo
from learner.updates.pairs import human_pairs
from learner.worker import LearnerProcess
from storage.database import Reader, Store
from storage.feedback import FeedbackReader
from storage.folder import DataFolder
from storage.logs import Logs
from storage.policies import PolicyReader
from storage.policy_registry import PolicyRegistry
from storage.records import Choice, Message, PolicyVersion, Role, Sampling

PROMPTS = (
    "Explain how a bicycle stays upright.",
    "Write a short story about a lighthouse.",
    "What should I think about when I buy a used car?",
    "Describe a good day in the mountains.",
    "How does bread rise?",
    "Tell me about the history of paper.",
)
LIMIT_S = 120.0


class Loop:
    def __init__(
        self, engine: dict[str, object], prompts: int, rounds: int, model: str | None = None
    ) -> None:
        self._model = (
            resolve_model()
            if model is None
            else ModelFolder(path=Path(model), name="tiny", sha256="0" * 64)
        )
        sampling = Sampling(max_new_tokens=8) if model else Sampling()
        self._engine = EngineConfig(sampling=sampling, **engine)
        self._online = OnlineConfig()
        self._prompts, self._rounds = prompts, rounds
        self._pairs = build_replies(
            self._model,
            engine=self._engine,
            ask=AskConfig(mode=AskMode.ALWAYS),
            reward=RewardConfig(),
        )

    def round(self, number: int) -> dict[str, float]:  # noqa: ARG002
        with ExitStack() as stack:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            folder = DataFolder(root)
            store = stack.enter_context(Store(folder.database))
            logs = Logs.over(store, folder.rounds)
            policies = logs.policies
            service = ChatService(
                logs,
                self._pairs,
                ServiceConfig(model_name=self._model.name, collect_every_s=0.2),
                no_learner,
            )
            stack.callback(service.close)
            service.drain()
            build = LearnerBuild(
                data=root, model=self._model, engine=self._engine, online=self._online
            )
            with running(LearnerProcess(build, folder.progress), folder) as learner:
                metrics = self._rounds_of_picks(service, policies, learner)
            live = policies.current()
            metrics |= self._speed(live, "idle")
            for name, equal in (("learning", False), ("equal_priority", True)):
                endless = EndlessBuild(build, equal)
                with running(LearnerProcess(endless, folder.progress, poll_s=0.01), folder):
                    time.sleep(2.0)  # into the first pass
                    metrics |= self._speed(live, name)
        return metrics

    def _rounds_of_picks(
        self, service: ChatService, policies: PolicyRegistry, learner: LearnerProcess
    ) -> dict[str, float]:
        """The person waits, idly, from the pick that completes a round to the new version."""
        refits: list[float] = []
        lives: list[float] = []
        with Memory(learner) as memory:
            for _ in range(self._rounds):
                first = PROMPTS[: self._online.min_preferences - 1]
                refits += [pick(service, text) for text in first]
                before = len(policies.rounds_log())
                refits.append(pick(service, PROMPTS[-1]))
                chosen = time.perf_counter() - refits[-1]
                wait_for(lambda before=before: len(policies.rounds_log()) > before, 200.0)
                lives.append(time.perf_counter() - chosen)
            seconds = [one.seconds for one in policies.rounds_log()]
        return {
            "pick_to_refit_ms": 1000 * statistics.median(refits),
            "pick_to_live_s": statistics.median(lives),
            "round_s": statistics.median(seconds),
            "accepted_rounds": float(policies.current().id > 0),
            "peak_pss_gb": memory.peak / 1e9,
            "peak_pss_server_gb": memory.peak_server / 1e9,
            "peak_pss_learner_gb": memory.peak_learner / 1e9,
        }

    def _speed(self, version: PolicyVersion, name: str) -> dict[str, float]:
        """Pairs one after the other: first visible token, and the gaps between visible ones."""
        speed = Speed()
        for i, text in enumerate(PROMPTS[: self._prompts]):
            speed.take(self._pairs, version, text, seed=1000 * i)
        return speed.summary(name)


@dataclass
class Speed:
    first_s: list[float] = field(default_factory=list)
    gaps_s: list[float] = field(default_factory=list)
    wall_s: float = 0.0

    def take(self, replies: AskingReplyMaker, version: PolicyVersion, text: str, seed: int) -> None:
        """A gap is from one growth of what streams to the next; drafts are not seen."""
        shown: tuple[str, ...] = ()
        times: list[float] = []
        began = time.perf_counter()

        def emit(draft: Draft) -> None:
            nonlocal shown
            if draft.stage is Stage.STREAMING and any(draft.texts) and draft.texts != shown:
                shown = draft.texts
                times.append(time.perf_counter())

        replies.reply([Message(role=Role.USER, content=text)], version, seed, emit, Event())
        if not times:  # an empty reply: there was nothing to read
            return
        self.first_s.append(times[0] - began)
        self.gaps_s += [b - a for a, b in pairwise(times)]
        self.wall_s += times[-1] - times[0]

    def summary(self, name: str) -> dict[str, float]:
        gaps = sorted(self.gaps_s)
        return {
            f"{name}_first_token_s": statistics.median(self.first_s),
            f"{name}_gap_p50_ms": 1000 * gaps[len(gaps) // 2],
            f"{name}_gap_p99_ms": 1000 * gaps[int(len(gaps) * 0.99)],
            f"{name}_steps_s": len(gaps) / self.wall_s,
        }


def pick(service: ChatService, prompt: str) -> float:
    """One message and one decided pick that may train; seconds from the pick to the refit's end."""
    while True:
        conversation = service.new_conversation()
        if conversation.held_out:
            continue  # its picks measure, they never train
        service.say(conversation.id, prompt)
        service.drain()
        question = service.view(conversation.id).question
        if question is None:
            continue
        # For the longer one: what streams is measured, and short replies are done in the draft.
        longer = len(question.first.completion.text) >= len(question.second.completion.text)
        began = time.perf_counter()
        service.choose(question.token, Choice.FIRST if longer else Choice.SECOND, 1000)
        service.drain()
        return time.perf_counter() - began


class Endless:
    """A learner that trains on the same picks over and over and publishes nothing."""

    def __init__(self, build: LearnerBuild) -> None:
        folder = DataFolder(build.data)
        reader = Reader(folder.database)
        engine = load_engine(build.model, build.engine)
        dpo = build.online.dpo
        self._rule = OnlineDpo(engine.backbone, dpo, max_prompt_tokens=2048)
        self._parent = PolicyReader(reader, folder.rounds).current()
        picks = FeedbackReader(reader).preferences()
        reward = BayesianRewardHead(build.online.reward, seed=0)
        self._lesson = Lesson(pairs=tuple(human_pairs(picks, reward, dpo.label_smoothing)))

    def step(self) -> None:
        self._rule.update(self._parent, self._lesson, seed=0)
        self._rule.close()


@dataclass(frozen=True)
class EndlessBuild:
    build: LearnerBuild
    equal_priority: bool

    def __call__(self) -> Endless:
        if self.equal_priority:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        return Endless(self.build)


class Memory:
    """Looks ten times a second at server and learner; the sum's peak is what counts."""

    def __init__(self, learner: LearnerProcess) -> None:
        self._learner = learner
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak = self.peak_server = self.peak_learner = 0

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            server = pss_bytes(os.getpid())
            learner = 0 if self._learner.pid is None else pss_bytes(self._learner.pid)
            self.peak = max(self.peak, server + learner)
            self.peak_server = max(self.peak_server, server)
            self.peak_learner = max(self.peak_learner, learner)


def pss_bytes(pid: int) -> int:
    """Proportional set size: private pages whole, shared ones divided by their sharers."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
    except OSError:  # it ended meanwhile
        return 0
    line = next((one for one in text.splitlines() if one.startswith("Pss:")), "Pss: 0 kB")
    return int(line.split()[1]) * 1024


@contextmanager
def running(learner: LearnerProcess, folder: DataFolder) -> Iterator[LearnerProcess]:
    folder.progress.unlink(missing_ok=True)
    learner.start()
    try:
        wait_for(folder.progress.exists, LIMIT_S)
        yield learner
    finally:
        learner.stop()


def wait_for(condition: Callable[[], bool], limit_s: float) -> None:
    until = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError("the learner took too long")
        time.sleep(0.02)
