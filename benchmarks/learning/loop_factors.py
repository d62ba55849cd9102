"""Ours beside another arm: how far ahead it is, and how many fewer labels it needs.

Only runs that both arms have count, the same person and seed.
"""

from typing import Any

import numpy as np

from benchmarks.learning.label_factor import fewer_labels, said
from benchmarks.learning.loop_results import RESAMPLES, read_runs

SHOWN, ALONE = "win_rate_vs_base", "win_rate_weights_only"


def ahead_of(other: str, turns: tuple[int, ...] = (20, 50, 100)) -> list[str]:
    """Points by which ours wins more often, with the standard error between people."""
    ours, theirs = _curves("ours"), _curves(other)
    both = sorted(ours.keys() & theirs.keys())
    people = sorted({rater for rater, _ in both})
    if len(people) < 2:
        return []
    lines = []
    for what, measure in (("shown", SHOWN), ("weights alone", ALONE)):
        told = []
        for turn in turns:
            apart = {
                who: _at(ours[who], turn, measure) - _at(theirs[who], turn, measure) for who in both
            }
            by_person = [np.mean([apart[who] for who in both if who[0] == one]) for one in people]
            error = np.std(by_person, ddof=1) / len(people) ** 0.5
            told.append(f"{100 * np.mean(by_person):+.0f} (se {100 * error:.1f})")
        after = " / ".join(map(str, turns))
        lines.append(f"- ours {what} against it after {after} turns, points: {' / '.join(told)}")
    return lines


def _at(curve: list[dict[str, Any]], turn: int, measure: str) -> float:
    return next(c[measure] for c in curve if c["turn"] == turn)


def sooner_than(other: str) -> list[str]:
    """How much sooner ours is where ``other`` is after its last turn; runs that both have.

    Labels are turns, since every turn is a question. Mean curves, straight between checkpoints,
    over people, each the mean of the seeds that both have; intervals resample people. As many
    people are few, what it would be without each of them is told, too.
    """
    ours, theirs = _curves("ours"), _curves(other)
    both = sorted(ours.keys() & theirs.keys())
    if not both:
        return []
    people = sorted({rater for rater, _ in both})
    drawn = np.random.default_rng(0).integers(len(people), size=(RESAMPLES, len(people)))
    lines = []
    for what, mine, its in (
        ("shown, to what it shows", SHOWN, SHOWN),
        ("shown, to its weights alone", SHOWN, ALONE),
        ("weights alone, to its weights alone", ALONE, ALONE),
    ):
        runs = [[who for who in both if who[0] == rater] for rater in people]
        curves = np.array(
            [np.mean([[c[mine] for c in ours[who]] for who in of], axis=0) for of in runs]
        )
        levels = np.array([np.mean([theirs[who][-1][its] for who in of]) for of in runs])
        turns = np.array([c["turn"] for c in ours[both[0]]], dtype=float)
        ends = np.quantile([_factor(turns, curves[d], levels[d]) for d in drawn], [0.025, 0.975])
        low, high = (said(x, turns, turns[-1]) for x in ends)
        lines.append(
            f"- ours {what} after {turns[-1]:.0f} ({levels.mean():.0%}): "
            f"{said(_factor(turns, curves, levels), turns, turns[-1])} times fewer labels "
            f"({low} to {high}), {len(people)} people, {len(both)} runs each"
            f"{_without(people, turns, curves, levels)}"
        )
    return lines


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
