"""The learning suite on stored pools: every arm, rater and seed, resumable.

    python -m benchmarks.learning.suite [--experiment NAME ...] [--seeds 20] [--seconds 220]

Each experiment is a JSON file in ``docs/learning/``; what a file already holds is not run again, so
an interrupted suite goes on where it stopped. ``--smoke`` runs a few episodes and writes nothing.
"""

import argparse
import json
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from benchmarks.learning.arms import ARMS
from benchmarks.learning.drafts import load_drafts
from benchmarks.learning.episode import run_episode
from benchmarks.learning.experiments import EXPERIMENTS
from benchmarks.learning.others import against_others
from benchmarks.learning.pools import load_pools, pool_folder
from benchmarks.learning.raters import UTILITIES
from benchmarks.learning.world import World, build_world
from learner.model_source import resolve_model
from learner.reward.taste import Taste, load_taste

RESULTS = Path(__file__).parents[2] / "docs" / "learning"
POOLS = 104
"""The first so many prompts; another number is another experiment."""
KEPT_MARKS = ("turn", "answers", "questions", "own", "plain", "share", "win", "ece")


_shared: dict[str, Any] = {}


def _prepare(count: int = POOLS) -> None:
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    model = resolve_model()
    pools = load_pools(model.sha256)[:count]
    if len(pools) < count:
        raise SystemExit(
            f"{len(pools)} of {count} pools are sampled: python -m benchmarks.learning.pools"
        )
    try:
        drafts = load_drafts(model.sha256, count)
    except FileNotFoundError:
        drafts = None  # only the experiment "commit" needs them
    _shared["world"] = build_world(pools, pool_folder(), drafts)
    _shared["taste"] = load_taste(model.sha256)


def _run(job: tuple[str, str, str, int]) -> tuple[tuple[str, str, str, int], dict[str, Any]]:
    experiment, arm, person, seed = job
    plan = EXPERIMENTS[experiment]
    world: World = _shared["world"]
    taste: Taste | None = _shared["taste"]
    result = run_episode(
        world,
        taste,
        ARMS[arm],
        plan.people[person],
        turns=plan.turns,
        labels=plan.labels,
        seed=seed,
    )
    return job, _condensed(result)


def _condensed(result: dict[str, list[list[float]]]) -> dict[str, Any]:
    """Marks, and of the turns: questions and mean utility shown in blocks of 25 turns."""
    blocks = [result["turns"][i : i + 25] for i in range(0, len(result["turns"]), 25)]
    return {
        "others": True,
        "marks": result["marks"],
        "asked": [round(sum(t[0] for t in b) / len(b), 3) for b in blocks],
        "shown": [round(sum(t[1] for t in b) / len(b), 3) for b in blocks],
        "shown_asked": round(
            sum(t[1] for t in result["turns"] if t[0]) / max(1, sum(t[0] for t in result["turns"])),
            3,
        ),
        "change_prob": [round(max(t[2] for t in b), 2) for b in blocks],
    }


def jobs(names: list[str], seeds: int) -> Iterator[tuple[str, str, str, int]]:
    """Seed by seed, so that an interrupted suite is even."""
    for seed in range(seeds):
        for name in names:
            plan = EXPERIMENTS[name]
            for arm in plan.arms:
                if arm in plan.main or 3 * seed < seeds:
                    for person in plan.people:
                        yield name, arm, person, seed


def result_path(experiment: str, arm: str) -> Path:
    return RESULTS / f"{experiment}--{arm}.json"


def read_results(experiment: str, arm: str) -> dict[str, Any]:
    """What is stored, each reply shown set against the others (``others.py``)."""
    found = stored(experiment, arm)
    plain = arm in ARMS and not ARMS[arm].ladder
    people = {
        name: {seed: against_others(one, KEPT_MARKS, plain=plain) for seed, one in seeds.items()}
        for name, seeds in found["people"].items()
    }
    return found | {"people": people}


def stored(experiment: str, arm: str) -> dict[str, Any]:
    """A result file as it is; nobody's results where there is none."""
    path = result_path(experiment, arm)
    if not path.is_file():
        return {"people": {}}
    return json.loads(path.read_text(encoding="utf-8"))


def _write(experiment: str, arm: str, people: dict[str, dict[str, Any]]) -> None:
    plan, path = EXPERIMENTS[experiment], result_path(experiment, arm)
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "command": f"python -m benchmarks.learning.suite --experiment {experiment}",
        "experiment": plan.about,
        "arm": ARMS[arm].about,
        "turns": plan.turns,
        "marks": list(KEPT_MARKS),
    }
    unfinished = path.with_suffix(".unfinished")
    # One line per episode keeps diffs and the file readable.
    lines = []
    for person, seeds in sorted(people.items()):
        rows = [
            f'      "{s}": {json.dumps(seeds[s], separators=(",", ":"))}'
            for s in sorted(seeds, key=int)
        ]
        lines.append(f'    "{person}": {{\n' + ",\n".join(rows) + "\n    }")
    text = (
        json.dumps(about, indent=2)[:-2] + ',\n  "people": {\n' + ",\n".join(lines) + "\n  }\n}\n"
    )
    unfinished.write_text(text, encoding="utf-8")
    unfinished.rename(path)


def _about_world() -> dict[str, Any]:
    """What the figures refer to."""
    world: World = _shared["world"]
    return {
        "prompts": {"train": len(world.train), "test": len(world.test)},
        "raters": {
            name: {
                "spread": round(world.spread[name], 4),
                "base": round(world.base[name], 4),
                "positive_share": round(world.common[name], 4),
            }
            for name in UTILITIES
        },
    }


def _settle_world() -> None:
    """Note what the figures refer to. Raises SystemExit where those stored refer to other pools."""
    path, here = RESULTS / "world.json", _about_world()
    if not path.is_file():
        path.write_text(json.dumps(here, indent=1) + "\n", encoding="utf-8")
    elif json.loads(path.read_text(encoding="utf-8")) != here:
        raise SystemExit(
            f"The results in {RESULTS} are of other candidates than the pools here. Point "
            "TWOFOLD_DATA at the shared data and sample the pools anew, or keep results of your "
            "own by moving those away."
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", action="append", choices=list(EXPERIMENTS))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--pools", type=int, default=POOLS, help="only for --smoke")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    names = options.experiment or list(EXPERIMENTS)
    if options.smoke:
        _prepare(options.pools)
        print(json.dumps(_about_world(), indent=1))
        for job in list(jobs(names, 1))[:: max(1, len(list(jobs(names, 1))) // 8)]:
            began = time.perf_counter()
            _, result = _run(job)
            print(
                *job, f"{time.perf_counter() - began:.1f} s", result["marks"][-1], result["asked"]
            )
        return
    began = time.monotonic()
    kept = {(n, a): stored(n, a)["people"] for n in names for a in EXPERIMENTS[n].arms}
    wanted = list(jobs(names, options.seeds))
    missing = [(n, a, p, s) for n, a, p, s in wanted if str(s) not in kept[n, a].get(p, {})]
    print(f"{len(wanted) - len(missing)} of {len(wanted)} episodes are there", flush=True)
    if missing:
        _prepare()
        _settle_world()
    changed: set[tuple[str, str]] = set()

    def keep() -> None:
        for name, arm in changed:
            _write(name, arm, kept[name, arm])
        changed.clear()

    with get_context("spawn").Pool(options.processes, initializer=_prepare) as workers:
        for done, (job, result) in enumerate(workers.imap_unordered(_run, missing), 1):
            name, arm, person, seed = job
            kept[name, arm].setdefault(person, {})[str(seed)] = result
            changed.add((name, arm))
            spent = time.monotonic() - began
            if done % 50 == 0:
                keep()
                left = spent / done * (len(missing) - done)
                print(f"{done} of {len(missing)}, {left / 60:.0f} min left", flush=True)
            if spent > options.seconds:
                workers.terminate()
                break
    keep()


if __name__ == "__main__":
    main()
