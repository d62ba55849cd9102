"""Ours beside another arm: how far ahead it is, and how many fewer labels it needs.

Only runs that both arms have count, the same person and seed.
"""

from typing import Any

import numpy as np

from benchmarks.learning.label_factor import fewer_labels, said
from benchmarks.learning.loop_results import RESAMPLES, mean_interval, read_runs

SHOWN, ALONE = "win_rate_vs_base", "win_rate_weights_only"


def ahead_of(other: str, turns: tuple[int, ...] = (20, 50, 100)) -> list[str]:
    """Points by which ours wins more often, with their interval between people, and by person."""
    ours, theirs = _curves("ours"), _curves(other)
    both = sorted(ours.keys() & theirs.keys())
    people = sorted({rater for rater, _ in both})
    if len(people) < 2:
        return []
    lines = []
    for what, measure in (("shown", SHOWN), ("weights alone", ALONE)):
        told, by_person = [], list[float]()
        for turn in turns:
            apart = {
                who: _at(ours[who], turn, measure) - _at(theirs[who], turn, measure) for who in both
            }
            by_person = [
                float(np.mean([apart[who] for who in both if who[0] == one])) for one in people
            ]
            mean, low, high = (100 * x for x in mean_interval(by_person))
            told.append(f"{mean:+.0f} ({low:+.0f} to {high:+.0f})")
        after = " / ".join(map(str, turns))
        each = ", ".join(
            f"{name} {100 * one:+.0f}" for name, one in zip(people, by_person, strict=True)
        )
        lines.append(
            f"- ours {what} against it after {after} turns, points: {' / '.join(told)}; "
            f"in the last {each}"
        )
    return lines


def _at(curve: list[dict[str, Any]], turn: int, measure: str) -> float:
    return next(c[measure] for c in curve if c["turn"] == turn)


def sooner_than(other: str) -> list[str]:
    """How much sooner ours is where ``other`` is after its last turn; runs that both have.

    Labels are turns, since every turn is a question. Mean curves, straight between checkpoints,
    over people, each the mean of the seeds that both have; intervals resample people, and of each
    person drawn the seeds. As people are few, what it would be without each of them is told, too.
    """
    ours, theirs = _curves("ours"), _curves(other)
    both = sorted(ours.keys() & theirs.keys())
    if not both:
        return []
    people = sorted({rater for rater, _ in both})
    runs = [[who for who in both if who[0] == rater] for rater in people]
    lines = []
    for what, mine, its in (
        ("shown, to what it shows", SHOWN, SHOWN),
        ("shown, to its weights alone", SHOWN, ALONE),
        ("weights alone, to its weights alone", ALONE, ALONE),
    ):
        all_curves = [np.array([[c[mine] for c in ours[who]] for who in of]) for of in runs]
        all_levels = [np.array([theirs[who][-1][its] for who in of]) for of in runs]
        curves = np.array([of.mean(axis=0) for of in all_curves])
        levels = np.array([of.mean() for of in all_levels])
        turns = np.array([c["turn"] for c in ours[both[0]]], dtype=float)
        ends = np.quantile(_resampled(turns, all_curves, all_levels), [0.025, 0.975])
        low, high = (said(x, turns, turns[-1]) for x in ends)
        lines.append(
            f"- ours {what} after {turns[-1]:.0f} ({levels.mean():.0%}): "
            f"{said(_factor(turns, curves, levels), turns, turns[-1])} times fewer labels "
            f"({low} to {high}), {len(people)} people, {len(both)} runs each"
            f"{_without(people, turns, curves, levels)}"
        )
    return lines


def _resampled(
    turns: np.ndarray, curves: list[np.ndarray], levels: list[np.ndarray]
) -> list[float]:
    """The factor of people drawn anew, each with seeds drawn anew; ``curves`` are (seeds, turns)
    a person, ``levels`` (seeds,)."""
    rng = np.random.default_rng(0)
    found: list[float] = []
    for _ in range(RESAMPLES):
        some = rng.integers(len(curves), size=len(curves))
        seeds = [rng.integers(len(levels[i]), size=len(levels[i])) for i in some]
        means = [curves[i][s].mean(axis=0) for i, s in zip(some, seeds, strict=True)]
        reached = [levels[i][s].mean() for i, s in zip(some, seeds, strict=True)]
        found.append(_factor(turns, np.array(means), np.array(reached)))
    return found


def _without(people: list[str], turns: np.ndarray, curves: np.ndarray, levels: np.ndarray) -> str:
    """The factor without each of the people, the lowest first; nothing where one is all."""
    if len(people) < 2:
        return ""
    left = {
        name: _factor(turns, np.delete(curves, i, axis=0), np.delete(levels, i))
        for i, name in enumerate(people)
    }
    told = (
        f"{name} {said(left[name], turns, turns[-1])}"
        for name in sorted(left, key=left.__getitem__)
    )
    return f"; without {', '.join(told)}"


def _factor(turns: np.ndarray, curves: np.ndarray, levels: np.ndarray) -> float:
    """Of mean curves: ``curves`` are (people, turns), ``levels`` (people,)."""
    return fewer_labels(turns, curves.mean(axis=0), float(levels.mean()), turns[-1])


def _curves(arm: str) -> dict[tuple[str, int], list[dict[str, Any]]]:
    return {(run["rater"], run["seed"]): run["checkpoints"] for run in read_runs(arm)}
