"""The kept runs of the full loop, and what is read off a run or the runs of an arm."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.learning.loop import RESULTS

RESAMPLES = 2000


def read_runs(arm: str, folder: Path | None = None) -> list[dict[str, Any]]:
    """Runs of an arm, by person and seed; from ``folder``, where others than the newest lie."""
    return _read(folder or RESULTS, f"{arm}--*.json")


def read_long_runs() -> list[dict[str, Any]]:
    return _read(RESULTS, "*-turns/*.json")


def _read(folder: Path, pattern: str) -> list[dict[str, Any]]:
    paths = sorted(folder.glob(pattern))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def interval(values: list[float]) -> str:
    """Mean with its interval, in percent."""
    rng = np.random.default_rng(0)
    sample = np.array(values)
    means = rng.choice(sample, size=(RESAMPLES, len(sample))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{100 * sample.mean():.0f} ({100 * low:.0f} to {100 * high:.0f})"


def by_person(runs: Sequence[dict[str, Any]], turn: int, measure: str) -> list[float]:
    """A figure after so many turns, the mean of each person's seeds; shorter runs are left out."""
    found: dict[str, list[float]] = {}
    for run in runs:
        checkpoint = at_turn(run, turn)
        if checkpoint is not None:
            found.setdefault(run["rater"], []).append(checkpoint[measure])
    return [float(np.mean(values)) for values in found.values()]


def at_turn(run: dict[str, Any], turn: int) -> dict[str, Any] | None:
    return next((c for c in run["checkpoints"] if c["turn"] == turn), None)


def perplexity_ratio(run: dict[str, Any]) -> float:
    """Of the last version over the base's; 1 where the base still speaks."""
    accepted = [one for one in run["rounds"] if one["status"] == "accepted"]
    return accepted[-1]["perplexity_ratio"] if accepted else 1.0


def tank_index(run: dict[str, Any]) -> float:
    """The best win rate of the weights alone less the last one (arXiv 2603.17378), 0 to 1."""
    alone = [c["win_rate_weights_only"] for c in run["checkpoints"]]
    return max(alone) - alone[-1]


def drop(values: list[float]) -> float:
    """How far a curve ever falls below the best it had reached before."""
    curve = np.array(values)
    return float((np.maximum.accumulate(curve) - curve).max())
