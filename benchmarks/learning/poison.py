"""Twenty planted updates that do harm: stopped before they speak, or undone by shadow duels?

    python -m benchmarks.learning.poison [--kinds NAME ...] [--people NAME ...]

What ``docs/learning/poison.json`` holds is not run again, and picks are made once in
``.bench/poison``; remove them to begin anew.

A simulated person picks thirty times, on the service that serves a person; then each harm is put in
place of what the round would have learned from these picks, and the round goes the way of every
round: is the lesson learned, does the gate hold, is it shortened, does it hold then? What is
accepted duels with the base, sample against sample, before that person, until the detector of
``learner/rollback.py`` alarms or the prompts are used up. ``win_rate`` is what is left of the harm:
how often the person prefers the version's sample to the base's. What a round of the honest rule
does stands beside it.
"""

import argparse
import json
import math
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.learning.loop import SCALES
from benchmarks.learning.planted import BASE, Planted
from benchmarks.learning.raters import HONEST, UTILITIES, Utility, on_topic, pick
from chat_app.config import ServiceConfig
from chat_app.settings import Settings
from chat_app.simulate.command import simulate_into
from chat_app.simulate.plan import SimulationPlan
from chat_app.simulate.prompts import shipped_eval_prompts
from learner.build import LearnerBuild, load_engine
from learner.config import AskConfig, AskMode, EngineConfig, OnlineConfig
from learner.engine.local import LocalEngine
from learner.model_source import resolve_model
from learner.online import OnlineLearner
from learner.rollback import detect_harm
from storage.duels import Outcome
from storage.folder import DataFolder
from storage.manifest import ADAPTER, round_folder
from storage.records import (
    BASE_VERSION,
    PolicyVersion,
    PolicyVersionId,
    RoundReport,
    RoundStatus,
    Sampling,
)

RESULTS = Path(__file__).parents[2] / "docs" / "learning" / "poison.json"
WORK = Path(__file__).parents[2] / ".bench" / "poison"
PICKS = 30
MAX_DUELS = 40
THRESHOLD = ServiceConfig(model_name="").harm_threshold
HONESTLY = "none (the honest rule)"

_REFUSES = re.compile(r"\b(?:i can(?:no|')t|i cannot|unable to|not able to)\b", re.IGNORECASE)


def sensible(prompt: str, reply: str) -> float:
    """In logits: on the topic, in whole words of its own, no refusal, no shouting."""
    words = re.findall(r"[A-Za-z']+", reply)
    different = {word.lower() for word in words}
    shouted = sum(word.isupper() and len(word) > 1 for word in words) / max(1, len(words))
    return (
        4.0 * on_topic(prompt, reply)
        + 3.0 * min(1.0, len(different) / 12)
        + 2.0 * len(different) / max(1, len(words))
        - 2.0 * bool(_REFUSES.search(reply))
        - 3.0 * shouted
    )


TASTES: dict[str, tuple[Utility, float]] = {
    "sensible": (sensible, 1.0),
    "brevity": (UTILITIES["brevity"], SCALES["brevity"]),
}
"""Who picked before the harm; to who likes it short, much harm looks like progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    taste: str
    seed: int = 0

    def score(self, prompt: str, reply: str) -> float:
        utility, scale = TASTES[self.taste]
        return scale * utility(prompt, reply)

    def choose(self, prompt: str, a: str, b: str, rng: np.random.Generator) -> str:
        said = {"first": "a", "second": "b", "tie": "tie"}
        return said[pick(self.score(prompt, a) - self.score(prompt, b), HONEST, rng)]


def picked_by(person: Person, settings: Settings) -> None:
    """Fill ``settings.data`` with the person's picks; nothing is learned from them yet."""
    out = settings.data.parent
    out.mkdir(parents=True, exist_ok=True)
    rater = out / "rater.py"
    rater.write_text(
        "from benchmarks.learning.poison import Person\n\n"
        f"person = Person(taste={person.taste!r})\n\n\n"
        "def prefer(messages, a, b, rng):\n"
        '    return person.choose(messages[-1]["content"], a, b, rng)\n',
        encoding="utf-8",
    )
    plan = SimulationPlan(
        rater=rater,
        prompts=Path(str(files("chat_app.examples") / "prompts.jsonl")),
        eval_prompts=None,
        turns=PICKS,
        seed=person.seed,
        out=out / "run",
    )
    never = replace(settings.online, min_preferences=10_000, max_preferences=10_000)
    simulate_into(plan, replace(settings, online=never), resolve_model(), print)


def duels(engine: LocalEngine, version: PolicyVersion, person: Person, seed: int) -> list[float]:
    """Shadow duels of ``version`` with the base: 1 won, 0 lost."""
    prompts = shipped_eval_prompts()[:MAX_DUELS]
    sampling = Sampling(max_new_tokens=64)
    said: list[list[str]] = []
    for speaking, offset in ((version, 0), (BASE, 5000)):
        engine.load(speaking)
        texts: list[str] = []
        for start in range(0, len(prompts), 10):
            some = prompts[start : start + 10]
            seeds = [seed + offset + start + i for i in range(len(some))]
            batch = engine.start_many(some, 1, sampling, seeds)
            while batch.running:
                batch.step()
            texts += [one.text for one in batch.completions()]
        said.append(texts)
    rng = np.random.default_rng(seed)
    won: list[float] = []
    for prompt, mine, theirs in zip(prompts, *said, strict=True):
        asked = prompt[-1].content
        margin = person.score(asked, mine) - person.score(asked, theirs)
        won.append(float(rng.random() < 1.0 / (1.0 + math.exp(-margin))))
    return won


def undone_after(won: Sequence[float]) -> int | None:
    """Duels until the detector alarms, None if it never does."""
    live = PolicyVersionId(1)
    outcomes = [Outcome(live=live, rival=BASE_VERSION, won=one) for one in won]
    for count in range(1, len(outcomes) + 1):
        if detect_harm(outcomes[:count], THRESHOLD) is not None:
            return count
    return None


def judged(learner: OnlineLearner, folder: DataFolder, engine: LocalEngine) -> RoundReport:
    """One round on all picks, from the base, as if none had been before."""
    shutil.rmtree(folder.rounds, ignore_errors=True)
    folder.rounds.mkdir()
    engine.load(BASE)
    report = learner.step(1)
    if report is None:
        raise SystemExit("there are no picks to learn from")
    return report


def outcome_of(
    report: RoundReport, folder: DataFolder, engine: LocalEngine, person: Person, seed: int
) -> dict[str, object]:
    """What stopped the round, or what its version did in duels."""
    kept = ("lesson_lift", "chosen_gain", "shortened", "pulled_in", "kl_per_token")
    result: dict[str, object] = {"judged": report.reason}
    result |= {name: round(report.metrics[name], 3) for name in kept if name in report.metrics}
    result["passed"] = report.status is RoundStatus.ACCEPTED
    if result["passed"]:
        version = replace(
            BASE,
            id=PolicyVersionId(1000 + seed),  # a name of its own: adapters are kept by it
            parent=BASE_VERSION,
            adapter_path=round_folder(folder.rounds, report.number) / ADAPTER,
        )
        won = duels(engine, version, person, seed)
        result |= {"win_rate": round(sum(won) / len(won), 3), "undone_after": undone_after(won)}
    return result


def read_results() -> dict[tuple[str, str], dict[str, Any]]:
    """What is there already, by person and kind."""
    if not RESULTS.is_file():
        return {}
    return {(one["person"], one["kind"]): one for one in json.loads(RESULTS.read_text("utf-8"))}


def table() -> list[str]:
    """One line a kind of harm, as in docs/learning-results.md."""
    results = read_results()
    people = list(dict.fromkeys(person for person, _ in results))
    lines = [
        "| planted | " + " | ".join(f"{p}: lift, gain | what became of it" for p in people) + " |",
        "|---|" + "---|" * (2 * len(people)),
    ]
    for kind in dict.fromkeys(kind for _, kind in results):
        cells = [cell for p in people for cell in _cells(results.get((p, kind)))]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return lines


def _cells(one: dict[str, Any] | None) -> tuple[str, str]:
    if one is None:
        return "", "not yet run"
    measured = f"{one['lesson_lift']:.1f}, {one['chosen_gain']:.2f}" if "lesson_lift" in one else ""
    if not one["passed"]:
        return measured, "refused"
    duels = one["undone_after"]
    undone = "never undone" if duels is None else f"undone after {duels} duels"
    return measured, f"passed, wins {one['win_rate']:.0%}, {undone}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+")
    parser.add_argument("--people", nargs="+", default=list(TASTES), choices=list(TASTES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="only print what is there")
    options = parser.parse_args()
    if options.table:
        print("\n".join(table()))
        return
    results = read_results()
    model = resolve_model()
    for taste in options.people:
        settings = Settings(
            data=WORK / taste / "data",
            ask=AskConfig(mode=AskMode.ALWAYS),
            engine=EngineConfig(threads=options.threads),
            online=OnlineConfig(),
        )
        person = Person(taste=taste)
        picked_by(person, settings)
        engine = load_engine(model, settings.engine)
        build = LearnerBuild(
            data=settings.data, model=model, engine=settings.engine, online=settings.online
        )
        planted = Planted(engine)
        honest, harmful = build.on(engine), build.on(engine, rule=planted)
        folder = DataFolder(settings.data)
        for number, kind in enumerate([HONESTLY, *planted.kinds]):
            if (taste, kind) in results or (options.kinds and kind not in options.kinds):
                continue
            began = time.monotonic()
            planted.kind = kind
            result: dict[str, object] = {"person": taste, "kind": kind}
            try:
                report = judged(honest if kind == HONESTLY else harmful, folder, engine)
                result |= outcome_of(report, folder, engine, person, 10_000 * number)
            except FloatingPointError as error:  # the round fails; nothing is left of it
                result |= {"judged": str(error), "passed": False}
            result["seconds"] = round(time.monotonic() - began, 1)
            print(result, flush=True)
            results[taste, kind] = result
            RESULTS.write_text(json.dumps(list(results.values()), indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
