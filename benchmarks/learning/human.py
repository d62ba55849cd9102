"""Label efficiency on pairs that people chose: the reward head as ``twofold reward-eval`` runs it.

    python -m benchmarks.learning.human [--seeds 20] [--seconds 220]

Resumable; one JSON file a set in ``docs/learning/``. Shipped directions that were made from the set
itself are left out; recorded pairs have no time, so no change of taste is looked for. The third set
was labelled by a language model and is never counted as human agreement.
"""

import argparse
import json
import os
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.learning.label_factor import fewer_labels
from benchmarks.learning.suite import RESULTS
from learner.config import QueryRule
from learner.evaluation.options import RewardEvalOptions
from learner.evaluation.pair_features import pair_differences
from learner.evaluation.pairs import read_pairs
from learner.evaluation.replay import TIMELESS, replay
from learner.model_source import default_cache, resolve_model
from learner.reward.taste import load_taste

SETS = {
    "oasst": "pairs_human.jsonl.gz",
    "hh-harmless-test": "pairs_human.jsonl.gz",
    "rasbt-pref": "pairs_ai.jsonl.gz",
}
LABELS = (10, 25, 50, 75, 100, 150, 200)
CONFIG = TIMELESS
FLAT = replace(CONFIG, flip_rates=(0.1,), hidden_prior_stds=(0.5,))
ARMS = {
    "style-only random": (replace(FLAT, hidden_components=0), QueryRule.RANDOM, False),
    "flat random": (FLAT, QueryRule.RANDOM, False),
    "ours random": (CONFIG, QueryRule.RANDOM, True),
    "ours infomax": (CONFIG, QueryRule.INFOMAX, True),
    "ours entropy": (CONFIG, QueryRule.ENTROPY, True),
    "flat infomax": (FLAT, QueryRule.INFOMAX, False),
}
"""Reward settings, rule, and whether the shipped directions are a prior."""
RESAMPLES = 1000
MEASURES = ("accuracy", "log_loss", "ece", "length_matched_accuracy", "longer_is_better")

_kept: dict[str, Any] = {}


def _load(name: str) -> tuple[Any, Any]:
    if name not in _kept:
        torch.set_num_threads(1)
        torch.set_grad_enabled(False)
        root = Path(__file__).parents[2].parent
        data = Path(os.environ.get("TWOFOLD_DATA", root / "shared" / "data"))
        model = resolve_model()
        recorded = read_pairs(data / SETS[name], only_set=name).pairs
        differences = pair_differences(
            recorded, model, layer=None, cache=default_cache() / "features", say=print
        )
        _kept[name] = recorded, differences, load_taste(model.sha256)
    return _kept[name]


def _run(job: tuple[str, str, int]) -> tuple[tuple[str, str, int], list[list[float]]]:
    name, arm, seed = job
    recorded, differences, taste = _load(name)
    config, rule, directed = ARMS[arm]
    if taste is not None:
        taste = taste.without(f"criterion:{name}" if directed else "")
    options = RewardEvalOptions(
        pairs=Path(SETS[name]), query=rule, labels=LABELS, seeds=2, out=Path("unused")
    )
    measures = replay(recorded, differences, options, config, seed=seed, taste=taste)
    return job, [[round(row[m], 4) for m in MEASURES] for row in measures]


def read(name: str) -> dict[str, dict[str, list[list[float]]]]:
    path = RESULTS / f"human--{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))["arms"] if path.is_file() else {}


def table(name: str) -> list[str]:
    """Accuracy by labels, what it is worth over style alone and in labels, calibration, of one set.

    Intervals are 95 % percentiles of resampled seeds; a seed is the same split for every arm.
    """
    found = {arm: runs for arm, runs in read(name).items() if runs}
    seeds = sorted(set.intersection(*(set(runs) for runs in found.values())), key=int)
    arms = {arm: np.array([runs[seed] for seed in seeds]) for arm, runs in found.items()}
    flat, style = (arms[one][:, :, 0] for one in ("flat random", "style-only random"))
    drawn = np.random.default_rng(0).integers(len(seeds), size=(RESAMPLES, len(seeds)))
    lines = [
        f"| {name} | "
        + " | ".join(str(n) for n in LABELS)
        + " | over style only at 200, points | labels saved | ECE |",
        "|---|" + "---|" * (len(LABELS) + 3),
    ]
    for arm, values in arms.items():
        accuracy = values[:, :, 0]
        over = 100 * (accuracy[:, -1] - style[:, -1])
        saved = [_saved(accuracy[rows], flat[rows]) for rows in drawn]
        lines.append(
            f"| {arm} | "
            + " | ".join(f"{x:.3f}" for x in accuracy.mean(axis=0))
            + f" | {over.mean():+.1f} ({_interval(over[drawn].mean(axis=1), '+.1f')})"
            + f" | {_saved(accuracy, flat):.1f} ({_interval(np.array(saved), '.1f')})"
            + f" | {values[:, -1, 2].mean():.3f} |"
        )
    return lines


def _interval(means: np.ndarray, form: str) -> str:
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{low:{form}} to {high:{form}}"


def _saved(accuracy: np.ndarray, flat: np.ndarray) -> float:
    """Times fewer labels to what flat random reaches with all, of mean curves (seeds, labels)."""
    level = float(flat.mean(axis=0)[-1])
    return fewer_labels(np.array(LABELS), accuracy.mean(axis=0), level, LABELS[-1])


def _write(name: str, arms: dict[str, dict[str, list[list[float]]]]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    rows = []
    for arm in ARMS:
        seeds = arms.get(arm, {})
        if seeds:
            lines = [
                f'   "{s}": {json.dumps(seeds[s], separators=(",", ":"))}'
                for s in sorted(seeds, key=int)
            ]
            rows.append(f'  "{arm}": {{\n' + ",\n".join(lines) + "\n  }")
    about = {
        "command": "python -m benchmarks.learning.human",
        "labels": LABELS,
        "measures": MEASURES,
    }
    text = json.dumps(about)[:-1] + ',\n "arms": {\n' + ",\n".join(rows) + "\n }\n}\n"
    (RESULTS / f"human--{name}.json").write_text(text.replace("NaN", "null"), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    began = time.monotonic()
    kept = {name: read(name) for name in SETS}
    missing = [
        (name, arm, seed)
        for seed in range(options.seeds)
        for name in SETS
        for arm in ARMS
        if str(seed) not in kept[name].get(arm, {})
    ]
    print(f"{len(missing)} replays to run", flush=True)
    with get_context("spawn").Pool(2) as workers:
        for (name, arm, seed), measures in workers.imap_unordered(_run, missing):
            kept[name].setdefault(arm, {})[str(seed)] = measures
            if time.monotonic() - began > options.seconds:
                workers.terminate()
                break
    for name in SETS:
        _write(name, kept[name])
        print("\n".join(table(name)), end="\n\n")


if __name__ == "__main__":
    main()
