"""The full loop with new weights: arms, simulated people and seeds, resumable.

    python -m benchmarks.learning.loop [--arms ours passive ...] [--raters brevity ...] [--seeds 1]
        [--turns 100] [--processes 2] [--threads 1] [--seconds 10000] [--keep]

Each run is ``twofold simulate`` on the very service that serves a person; what is kept of it is a
small file in ``docs/learning/loop/``, and a run that is there is not run again. One that was cut
off goes on where it stopped, from ``.bench/loop``, where its log is, too, and with ``--keep`` all
its data, for ``benchmarks.learning.replay``; what offline arms learn from stays there. Runs are
taken seed by seed, so an interrupted suite is even. On two cores two at once, a thread each, took
twelve minutes; one alone with two threads took as long. ``--threads 2 --processes 1`` is for a run
that has to end soon: with one thread 1,000 turns took 1.9 and 2.7 hours, and a slow day takes more.
"""

import argparse
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from filelock import FileLock

from benchmarks.learning.loop_arms import ARMS
from benchmarks.learning.raters import HONEST, UTILITIES, Behaviour, pick, win_prob
from chat_app.settings import Settings
from chat_app.simulate.command import simulate_into
from chat_app.simulate.plan import SimulationPlan
from chat_app.simulate.summary import SUMMARY
from learner.build import LearnerBuild, build_replies
from learner.config import EngineConfig, OnlineConfig
from learner.model_source import resolve_model
from learner.worker import leave_with_parent
from storage.database import Store
from storage.folder import DataFolder
from storage.policy_registry import PolicyRegistry
from storage.rounds import collect

TURNS = 100
MANY = 10_000
"""More picks than a run has."""
ALONE = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
"""One thread a run, and none that spins while it waits."""
SPINNING = {"OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "10000000"}
"""Threads of a run that has the machine to itself: waking one costs more than most steps."""
RESULTS = Path(__file__).parents[2] / "docs" / "learning" / "loop"
WORK = Path(__file__).parents[2] / ".bench" / "loop"
COMMITS = "commits"
"""The file in a run's folder that names the code it was made with."""

EVERY_EVAL_PROMPT = Path(str(files("chat_app.examples") / "eval_prompts.jsonl"))
"""For long runs, where a drop of two points is looked for: 60 instead of 40."""

SCALES = {
    "brevity": 10.784,
    "detail": 7.469,
    "lists": 1.312,
    "prose": 2.664,
    "formality": 2.413,
    "enthusiasm": 2.685,
    "asks_back": 1.624,
    "on_topic": 4.652,
    "admits_ignorance": 1.352,
    "refuses_harm": 1.624,
    "quotes_question": 1.946,
    "plain_words": 4.884,
    "busy_but_polite": 3.625,
    "curious_friend": 4.004,
}
"""Logits a raw unit of utility: ``raters.calibrated`` on the plain samples of the stored pools."""

SIX = ("brevity", "enthusiasm", "lists", "plain_words", "formality", "busy_but_polite")
"""Surface and content, frequent and rare, and one mixture with an interaction."""

GATE_METRICS = (
    "perplexity_ratio",
    "kl_per_token",
    "kl_sampled",
    "mean_length_tokens",
    "repetition",
    "repetition_sampled",
    "lesson_lift",
    "chosen_gain",
    "shortened",
    "pulled_in",
)


def rater_of(taste: str, behaviour: Behaviour = HONEST):  # noqa: ANN201 - the rater file's form
    """The three functions of a rater's file, for ``twofold simulate``."""
    utility, scale = UTILITIES[taste], SCALES[taste]
    said = {"first": "a", "second": "b", "tie": "tie"}

    def score(messages: list[dict[str, str]], reply: str) -> float:
        return scale * utility(messages[-1]["content"], reply)

    def prefer(messages: list[dict[str, str]], a: str, b: str, rng: np.random.Generator) -> str:
        return said[pick(score(messages, a) - score(messages, b), behaviour, rng)]

    def won(messages: list[dict[str, str]], reply: str, rival: str) -> float:
        return win_prob(score(messages, reply) - score(messages, rival), behaviour)

    return prefer, score, won


@dataclass(frozen=True, slots=True)
class Job:
    arm: str
    taste: str
    seed: int
    turns: int = TURNS

    @property
    def kept(self) -> Path:
        """Where its results are, beside those of the same length."""
        folder = RESULTS if self.turns == TURNS else RESULTS / f"{self.turns}-turns"
        return folder / f"{self.arm}--{self.taste}--{self.seed}.json"


def jobs(arms: list[str], tastes: list[str], seeds: int, turns: int) -> Iterator[Job]:
    for seed in range(seeds):
        for arm in arms:
            for taste in tastes:
                yield Job(arm, taste, seed, turns)


def run(job: Job, threads: int, *, keep: bool = False) -> None:
    """One simulation; its checkpoints are kept, and with ``keep`` its folder."""
    arm, work = ARMS[job.arm], WORK / f"{job.kept.stem}--{job.turns}"
    settings = Settings(
        data=work / "run" / "data",
        ask=arm.ask,
        engine=EngineConfig(seed=job.seed, threads=threads),
        online=replace(arm.online, seed=job.seed),
    )
    if arm.offline:
        learn_offline(job, settings, work)
    else:
        simulate(job, settings, work)
    out = work / "run"
    summary = json.loads((out / SUMMARY).read_text(encoding="utf-8"))
    kept = {
        "arm": job.arm,
        "rater": job.taste,
        "seed": job.seed,
        "turns": job.turns,
        "commit": (work / COMMITS).read_text(encoding="utf-8"),
        "checkpoints": summary["checkpoints"],
        "rounds": rounds_of(out / "data"),
    }
    job.kept.parent.mkdir(parents=True, exist_ok=True)
    job.kept.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    if not keep:
        shutil.rmtree(work)


def simulate(job: Job, settings: Settings, work: Path) -> None:
    """Run the job in ``work``, or the rest of it."""
    work.mkdir(parents=True, exist_ok=True)
    rater = work / "rater.py"
    rater.write_text(
        "from benchmarks.learning.loop import rater_of\n\n"
        f"prefer, score, win_prob = rater_of({job.taste!r})\n",
        encoding="utf-8",
    )
    out = work / "run"
    plan = SimulationPlan(
        rater=rater,
        prompts=Path(str(files("chat_app.examples") / "prompts.jsonl")),
        eval_prompts=None if job.turns == TURNS else EVERY_EVAL_PROMPT,
        turns=job.turns,
        seed=job.seed,
        out=out,
    )
    note_commit(work / COMMITS)
    simulate_into(plan, settings, resolve_model(), print)


def learn_offline(job: Job, settings: Settings, work: Path) -> None:
    """Answers first, from ``.bench/loop`` where another arm has them; then one lesson on all."""
    never = OnlineConfig(min_preferences=MANY, max_preferences=MANY, seed=job.seed)
    asking = replace(settings, online=never)
    answers = WORK / f"answers--{job.taste}--{job.seed}--{job.turns}"
    WORK.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{answers}.lock"):  # another arm may be gathering the same ones
        simulate(job, replace(asking, data=answers / "run" / "data"), answers)
    shutil.rmtree(work, ignore_errors=True)  # of a lesson that was cut off
    shutil.copytree(answers, work)
    teach_at_once(settings)
    forget_last(work / "run" / SUMMARY)
    simulate(job, asking, work)


def note_commit(path: Path) -> None:
    """Add the commit to those that made a run: it may go on under another than it began under."""
    now = os.popen("git rev-parse --short HEAD").read().strip()  # noqa: S605, S607
    before = path.read_text(encoding="utf-8").split() if path.is_file() else []
    path.write_text(" ".join([*(one for one in before if one != now), now]), encoding="utf-8")


def teach_at_once(settings: Settings) -> None:
    """One lesson on all picks of a finished simulation."""
    settings = replace(settings, online=replace(settings.online, max_preferences=MANY))
    folder, model = DataFolder(settings.data), resolve_model()
    replies = build_replies(
        model, engine=settings.engine, ask=settings.ask, reward=settings.online.reward
    )
    learner = LearnerBuild(
        data=settings.data, model=model, engine=settings.engine, online=settings.online
    ).on(replies.engine)
    learner.step(1)
    with Store(folder.database) as store:
        collect(PolicyRegistry(store, folder.rounds))


def forget_last(path: Path) -> None:
    """Drop a finished run's last checkpoint, so that its last turn is measured again."""
    summary = json.loads(path.read_text(encoding="utf-8"))
    summary["checkpoints"].pop()
    path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def rounds_of(data: Path) -> list[dict[str, object]]:
    """What the gate measured of each round."""
    folder = DataFolder(data)
    with Store(folder.database) as store:
        reports = PolicyRegistry(store, folder.rounds).rounds_log()
        return [
            {"number": one.number, "status": one.status, "seconds": round(one.seconds, 1)}
            | {name: round(one.metrics[name], 4) for name in GATE_METRICS if name in one.metrics}
            for one in reports
        ]


def run_logged(job: Job, until: float, threads: int, *, keep: bool) -> str | None:
    """A run in a process of its own; its name, or None where ``until``, in seconds, has passed."""
    leave_with_parent()  # a killed suite would leave its runs on the cores
    if time.time() > until:
        return None
    WORK.mkdir(parents=True, exist_ok=True)
    log = WORK / f"{job.kept.stem}--{job.turns}.log"
    with log.open("w", encoding="utf-8") as said, redirect_stdout(said), redirect_stderr(said):
        run(job, threads, keep=keep)
    return job.kept.stem


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--raters", nargs="+", default=list(SIX), choices=list(UTILITIES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each run; 2 for one run alone")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no run after it")
    parser.add_argument("--keep", action="store_true", help="keep the data of finished runs")
    options = parser.parse_args()
    wanted = jobs(options.arms, options.raters, options.seeds, options.turns)
    missing = [job for job in wanted if not job.kept.is_file()]
    print(f"{len(missing)} runs are missing", flush=True)
    os.environ |= ALONE if options.threads == 1 else SPINNING  # before a process imports torch
    until = time.time() + options.seconds
    runs = partial(run_logged, until=until, threads=options.threads, keep=options.keep)
    with get_context("spawn").Pool(options.processes, maxtasksperchild=1) as workers:
        for stem in workers.imap_unordered(runs, missing):
            if stem is not None:
                print(f"{time.strftime('%H:%M')} {stem}", flush=True)


if __name__ == "__main__":
    main()
