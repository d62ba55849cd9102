"""How long the loop takes, on the real model, through the service that serves a person.

    make bench            (or: python -m benchmarks.live_loop --out docs/benchmarks/live_loop.json)

Measured twice, with the learner's process idle and while it trains a round: time to the first
visible token, tokens a second for one reply and for a pair, gaps between tokens. Then, with the
machine otherwise idle: milliseconds from a pick to a refitted reward ensemble, seconds from the
pick that completes a round to a new live version, and the swap itself. A fresh data folder, fixed
prompts and seeds; run it on a machine that does nothing else.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from threading import Event

import torch

from chat_app.config import ServiceConfig
from chat_app.progress import no_learner
from chat_app.service import ChatService
from learner.asking import AskingReplyMaker
from learner.build import LearnerBuild, build_replies, load_engine
from learner.config import AskConfig, AskMode, EngineConfig, OnlineConfig, RewardConfig
from learner.model_source import resolve_model
from learner.protocols import Draft, Stage
from learner.updates.online_dpo import OnlineDpo
from learner.updates.pairs import human_pairs
from learner.worker import LearnerProcess
from storage.conversations import ConversationLog
from storage.database import Reader, Store
from storage.feedback import FeedbackLog, FeedbackReader
from storage.folder import DataFolder
from storage.policies import PolicyReader, PolicyRegistry
from storage.records import Choice, Message, PolicyVersion, Role, Sampling

PROMPTS = (
    "Explain how a bicycle stays upright.",
    "Write a short story about a lighthouse.",
    "What should I think about when I buy a used car?",
    "Describe a good day in the mountains.",
    "How does bread rise?",
    "Tell me about the history of paper.",
)


@dataclass
class Speed:
    """One arm's raw figures, in seconds and tokens a second."""

    first_token_s: list[float] = field(default_factory=list)
    tokens_per_s: list[float] = field(default_factory=list)
    gaps_s: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        gaps = sorted(self.gaps_s)
        return {
            "first_token_s": statistics.median(self.first_token_s),
            "tokens_per_s": statistics.median(self.tokens_per_s),
            "gap_p50_ms": 1000 * gaps[len(gaps) // 2],
            "gap_p99_ms": 1000 * gaps[int(len(gaps) * 0.99)],
        }


def measure(replies: AskingReplyMaker, version: PolicyVersion, prompts: int) -> Speed:
    """Replies one after the other, until the shown ones are complete."""
    speed = Speed()
    for i, text in enumerate(PROMPTS[:prompts]):
        times: list[float] = []
        first: list[float] = []
        began = time.perf_counter()

        def emit(draft: Draft, times: list[float] = times, first: list[float] = first) -> None:
            times.append(time.perf_counter())
            if draft.stage is Stage.STREAMING and any(draft.texts) and not first:
                first.append(times[-1])

        plan = replies.reply(
            [Message(role=Role.USER, content=text)], version, 1000 * i, emit, Event()
        )
        tokens = sum(len(c.token_ids) for c in plan.shown)
        speed.first_token_s.append(first[0] - began)
        speed.tokens_per_s.append(tokens / (times[-1] - began))
        speed.gaps_s += [b - a for a, b in pairwise(times)]
    return speed


def pick(service: ChatService, prompt: str) -> float:
    """One message and one decided pick that may train; returns the seconds of the refit."""
    while True:
        conversation = service.new_conversation()
        if conversation.held_out:
            continue  # its picks measure, they never train
        service.say(conversation.id, prompt)
        service.drain()
        question = service.view(conversation.id).question
        if question is None:
            continue
        shorter = len(question.first.completion.text) < len(question.second.completion.text)
        began = time.perf_counter()
        service.choose(question.token, Choice.FIRST if shorter else Choice.SECOND, 1000)
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
        self._pairs = human_pairs(picks, dpo.label_smoothing)

    def step(self) -> None:
        self._rule.update(self._parent, self._pairs, seed=0)
        self._rule.close()


@dataclass(frozen=True)
class EndlessBuild:
    build: LearnerBuild

    def __call__(self) -> Endless:
        return Endless(self.build)


def run(rounds: int, prompts: int) -> dict[str, object]:
    result: dict[str, object] = {"machine": machine()}
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = DataFolder(root)
        store = stack.enter_context(Store(folder.database))
        policies = PolicyRegistry(store, folder.rounds)
        model = resolve_model()
        engine, online = EngineConfig(), OnlineConfig()
        began = time.perf_counter()
        pair = build_replies(
            model, engine=engine, ask=AskConfig(mode=AskMode.ALWAYS), reward=RewardConfig()
        )
        result["load_model_s"] = time.perf_counter() - began
        single = AskingReplyMaker(
            engine=pair.engine,
            features=pair.features,
            reward=pair.reward,
            ask=AskConfig(mode=AskMode.NEVER),
            sampling=engine.sampling,
        )
        result["decode_steps_per_s"] = {n: decode_rate(pair, n) for n in (1, 2, 4, 8)}
        measure(pair, policies.current(), 1)  # warm-up
        result["idle"] = {
            "pair": measure(pair, policies.current(), prompts).summary(),
            "single": measure(single, policies.current(), prompts).summary(),
        }
        service = ChatService(
            ConversationLog(store),
            FeedbackLog(store),
            policies,
            pair,
            ServiceConfig(model_name=model.name, collect_every_s=0.2),
            no_learner,
        )
        stack.callback(service.close)
        build = LearnerBuild(data=root, model=model, engine=engine, online=online)
        learner = LearnerProcess(build, folder.progress)
        learner.start()
        wait_for(folder.progress.exists)
        result |= time_rounds(service, policies, pair, rounds, online.min_preferences)
        learner.stop()
        result["idle_with_adapter"] = {
            "pair": measure(pair, policies.current(), prompts).summary(),
            "single": measure(single, policies.current(), prompts).summary(),
        }
        folder.progress.unlink()
        endless = LearnerProcess(EndlessBuild(build), folder.progress, poll_s=0.01)
        endless.start()
        wait_for(folder.progress.exists)
        time.sleep(2.0)  # into the first pass
        result["while_learning"] = {
            "pair": measure(pair, policies.current(), prompts).summary(),
            "single": measure(single, policies.current(), prompts).summary(),
        }
        endless.stop()
        result["rounds"] = [
            {"seconds": r.seconds, "status": r.status, **dict(r.metrics)}
            for r in policies.rounds_log()
        ]
    return result


def time_rounds(
    service: ChatService,
    policies: PolicyRegistry,
    replies: AskingReplyMaker,
    rounds: int,
    min_preferences: int,
) -> dict[str, float]:
    """From the pick that completes a round to the new version live, the person waiting idly."""
    refits, lives, swaps = [], [], []
    for _ in range(rounds):
        refits += [pick(service, text) for text in PROMPTS[: min_preferences - 1]]
        before = len(policies.rounds_log())
        refits.append(pick(service, PROMPTS[-1]))
        began = time.perf_counter()
        wait_for(lambda before=before: len(policies.rounds_log()) > before, limit_s=300)
        lives.append(time.perf_counter() - began)
        began = time.perf_counter()
        replies.engine.load(policies.current())
        swaps.append(time.perf_counter() - began)
    return {
        "pick_to_refit_ms": 1000 * statistics.median(refits),
        "pick_to_live_s": statistics.median(lives),
        "swap_ms": 1000 * statistics.median(swaps),
    }


def decode_rate(replies: AskingReplyMaker, n: int) -> float:
    """Steps a second of ``n`` candidates in one batch, all still running."""
    batch = replies.engine.start(
        [Message(role=Role.USER, content=PROMPTS[1])], n, Sampling(), seed=7
    )
    for _ in range(4):
        batch.step()
    began, steps = time.perf_counter(), 0
    while batch.running and steps < 64 and not any(batch.done(i) for i in range(n)):
        batch.step()
        steps += 1
    return steps / (time.perf_counter() - began)


def wait_for(condition, limit_s: float = 120.0) -> None:  # noqa: ANN001
    until = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError("the learner took too long")
        time.sleep(0.02)


def machine() -> dict[str, object]:
    return {
        "cores": os.cpu_count(),
        "processor": platform.processor() or platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "load_1min": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=len(PROMPTS))
    options = parser.parse_args()
    result = run(options.rounds, options.prompts)
    text = json.dumps(result, indent=1, default=str)
    print(text)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
