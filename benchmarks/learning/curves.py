"""The suite's episodes as arrays over raters and seeds, their means and their intervals."""

from collections.abc import Callable

import numpy as np

from benchmarks.learning.experiments import EXPERIMENTS
from benchmarks.learning.label_factor import fewer_labels, said
from benchmarks.learning.suite import KEPT_MARKS, read_results

RESAMPLES = 2000
BLOCK = 25
"""Turns over which the suite averages what was asked and shown."""
OWN, PLAIN, SHARE, WIN, ECE = (KEPT_MARKS.index(k) for k in ("own", "plain", "share", "win", "ece"))
LABELS = np.array([0, 5, 10, 15, 20, 30, 40, 60, 80, 100])

Curves = np.ndarray
"""(raters, seeds, labels)"""


def curves(experiment: str, arm: str, measure: int, *, people: list[str] | None = None) -> Curves:
    """A measure at ``LABELS``, linear between the marks of each episode."""
    found = read_results(experiment, arm)["people"]
    names = people or sorted(found)
    seeds = common_seeds(found, names)
    return np.array(
        [
            [_at_labels(np.array(found[name][seed]["marks"]), measure) for seed in seeds]
            for name in names
        ]
    )


def _at_labels(marks: np.ndarray, measure: int) -> np.ndarray:
    answers, last = np.unique(marks[::-1, 1], return_index=True)
    return np.interp(LABELS, answers, marks[::-1][last, measure])


def common_seeds(found: dict, names: list[str]) -> list[str]:
    return sorted(set.intersection(*(set(found[name]) for name in names)), key=int)


def interval(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    raters: int,
    seeds: int,
    say: Callable[[float], str] = "{:.2f}".format,
) -> str:
    """The statistic with its interval; it gets the indices of raters and seeds to average over."""
    rng = np.random.default_rng(0)
    values = [
        statistic(rng.integers(raters, size=raters), rng.integers(seeds, size=seeds))
        for _ in range(RESAMPLES)
    ]
    low, high = np.nanquantile(values, [0.025, 0.975])
    whole = statistic(np.arange(raters), np.arange(seeds))
    return f"{say(whole)} ({say(low)} to {say(high)})"


def mean_of(curve: Curves, raters: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    return curve[raters][:, seeds].mean(axis=(0, 1))


def efficiency(ours: Curves, theirs: Curves, at: int) -> str:
    """How many times fewer labels ours needs for their level at ``at`` labels."""
    column = int(np.flatnonzero(at == LABELS)[0])

    def factor(raters: np.ndarray, seeds: np.ndarray) -> float:
        level = mean_of(theirs, raters, seeds)[column]
        return fewer_labels(LABELS, mean_of(ours, raters, seeds), level, at)

    def say(times: float) -> str:
        return said(times, LABELS, at, digits=2)

    return interval(factor, ours.shape[0], min(ours.shape[1], theirs.shape[1]), say)


def ran(experiment: str) -> list[str]:
    """The experiment's arms that have results."""
    return [a for a in EXPERIMENTS[experiment].arms if read_results(experiment, a)["people"]]


def asked_quality(experiment: str, arm: str) -> float:
    found = read_results(experiment, arm)["people"]
    return float(np.mean([e["shown_asked"] for p in found.values() for e in p.values()]))


def last_mark(
    experiment: str, arm: str, measure: int, people: list[str] | None = None
) -> np.ndarray:
    """(raters, seeds) of the last mark."""
    found = read_results(experiment, arm)["people"]
    names = people or sorted(found)
    seeds = common_seeds(found, names)
    return np.array([[found[n][s]["marks"][-1][measure] for s in seeds] for n in names])


def blocks(experiment: str, arm: str, what: str) -> np.ndarray:
    """(raters, seeds, blocks of 25 turns)."""
    found = read_results(experiment, arm)["people"]
    names = sorted(found)
    seeds = common_seeds(found, names)
    return np.array([[found[n][s][what] for s in seeds] for n in names])


def turns_of(experiment: str, arm: str, what: str) -> tuple[np.ndarray, np.ndarray]:
    """The middle turns of the blocks, and (raters, seeds, blocks) of ``asked`` or ``shown``."""
    values = blocks(experiment, arm, what)
    return BLOCK * (np.arange(values.shape[2]) + 0.5), values
