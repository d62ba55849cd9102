"""The kept runs of the full loop, and what is read off a run or the runs of an arm."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.learning.loop import RESULTS

RESAMPLES = 2000
T975 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16)
"""Student's t at .975 by degrees of freedom, from 1: for the means of two to fourteen people."""


def read_runs(arm: str, folder: Path | None = None) -> list[dict[str, Any]]:
    """Runs of an arm, by person and seed; from ``folder``, where others than the newest lie."""
    return _read(folder or RESULTS, f"{arm}--*.json")


def read_long_runs() -> list[dict[str, Any]]:
    return _read(RESULTS, "*-turns/*.json")


def _read(folder: Path, pattern: str) -> list[dict[str, Any]]:
    paths = sorted(folder.glob(pattern))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean of people's figures, and its 95 % interval by Student's t: NaN of one person.

    People are few: percentiles of resamples, which know no degrees of freedom, would be a quarter
    too narrow for six.
    """
    sample = np.array(values)
    mean, n = float(sample.mean()), len(sample)
    if n < 2:
        return mean, float("nan"), float("nan")
    half = T975[n - 2] * float(sample.std(ddof=1)) / n**0.5
    return mean, mean - half, mean + half


def interval(values: Sequence[float]) -> str:
    """Mean share with its interval, in percent."""
    mean, low, high = mean_interval(values)
    if np.isnan(low):
        return f"{100 * mean:.0f}"
    return f"{100 * mean:.0f} ({100 * max(0.0, low):.0f} to {100 * min(1.0, high):.0f})"


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
