"""Change of taste: how soon what is shown follows, in all and by direction of the change."""

import numpy as np

from benchmarks.learning.curves import RESAMPLES, WIN, common_seeds, ran
from benchmarks.learning.suite import read_results

CHANGE = 150
"""The turn at which taste changes in the experiment of that name."""


def change_table() -> list[str]:
    """How the new taste is followed: the mean curve, and each run by itself."""
    lines = [
        "| arm | runs | win rate before | just after | +20 turns | +50 | +100 | +150 "
        "| questions in these | picks until 90 % of (win - 1/2): mean curve "
        "| mean of runs (that got there) |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for arm in ran("change"):
        found = read_results("change", arm)["people"]
        before = {name: _before_change(seeds) for name, seeds in found.items()}
        curves, picks, needed = [], [], []
        for name, seeds in found.items():
            opposite = "-to-".join(reversed(name.split("-to-")))
            for episode in seeds.values():
                since = since_change(episode)
                curves.append(since[:, WIN])
                picks.append(since[:, 1] - since[0, 1])
                needed.append(_picks_back(curves[-1], picks[-1], np.mean(before[opposite])))
        level = float(np.mean([win for wins in before.values() for win in wins]))
        length = min(map(len, curves))
        curve = np.mean([c[:length] for c in curves], axis=0)
        spent = np.mean([p[:length] for p in picks], axis=0)
        when = _picks_back(curve, spent, level)
        turns = 10 * int(np.argmax(spent >= when))
        whole = f"{when:.0f} ({turns} turns)" if np.isfinite(when) else "not reached"
        there = np.isfinite(needed)
        least = np.where(there, needed, [p[-1] for p in picks])
        each = f"{'' if there.all() else '>= '}{least.mean():.0f} ({100 * there.mean():.0f} %)"
        shown = " | ".join(f"{curve[i]:.3f}" for i in (0, 2, 5, 10, 15))
        lines.append(
            f"| {arm} | {len(curves)} | {level:.3f} | {shown} | {spent[15]:.0f} | {whole} "
            f"| {each} |"
        )
    return lines


def direction_table(arm: str = "ours") -> list[str]:
    """How the new taste is followed, by direction of the change, and an interval for all."""
    found = read_results("change", arm)["people"]
    names = sorted(found)
    seeds = common_seeds(found, names)
    since = [[since_change(found[name][seed]) for seed in seeds] for name in names]
    length = min(len(marks) for row in since for marks in row)
    marks = np.array([[m[:length] for m in row] for row in since])  # (directions, seeds, marks, *)
    wins, picks = marks[..., WIN], marks[..., 1] - marks[:, :, :1, 1]
    before = np.array([_before_change(found[name]) for name in names])
    opposite = [names.index("-to-".join(reversed(name.split("-to-")))) for name in names]
    lines = [
        "| change | win rate of the new taste before, in the opposite run | just after | +50 turns "
        "| +100 | +300 | picks until 90 % of (win - 1/2) |",
        "|---|---|---|---|---|---|---|",
    ]
    for i, name in enumerate(names):
        curve, level = wins[i].mean(axis=0), before[opposite[i]].mean()
        when = _picks_back(curve, picks[i].mean(axis=0), level)
        shown = " | ".join(f"{curve[k]:.3f}" for k in (0, 5, 10, length - 1))
        back = f"{when:.0f}" if np.isfinite(when) else "never"
        lines.append(f"| {name.replace('-to-', ' to ')} | {level:.3f} | {shown} | {back} |")
    pairs = sorted({tuple(sorted((i, opposite[i]))) for i in range(len(names))})
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        rows = [i for p in rng.integers(len(pairs), size=len(pairs)) for i in pairs[p]]
        cols = rng.integers(len(seeds), size=len(seeds))
        of = np.ix_(rows, cols)
        curve, spent = wins[of].mean(axis=(0, 1)), picks[of].mean(axis=(0, 1))
        drawn.append(_picks_back(curve, spent, before[of].mean()))
    low, high = np.quantile(drawn, [0.025, 0.975], method="nearest")
    ends = " to ".join(f"{x:.0f}" if np.isfinite(x) else "never" for x in (low, high))
    return [*lines, "", f"Picks of the mean curve, pairs of tastes and seeds resampled: {ends}."]


def _before_change(seeds: dict) -> list[float]:
    """Each seed's win rate on the last turn of the old taste."""
    marks = [np.array(episode["marks"]) for episode in seeds.values()]
    return [m[m[:, 0] == CHANGE - 1][-1][WIN] for m in marks]


def since_change(episode: dict) -> np.ndarray:
    """The marks at every tenth turn from the change on."""
    marks = np.array(episode["marks"])
    return marks[(marks[:, 0] >= CHANGE) & ((marks[:, 0] - CHANGE) % 10 == 0)]


def _picks_back(curve: np.ndarray, picks: np.ndarray, level: float) -> float:
    """Picks until the win rate is at nine tenths of ``level`` above one half; infinite if never.

    The level of a single run is what its new taste reached before the change in the opposite pair.
    """
    back = np.flatnonzero(curve - 0.5 >= 0.9 * (level - 0.5))
    return float(picks[back[0]]) if len(back) else float("inf")
