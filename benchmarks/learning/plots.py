"""The suite's results as pictures for docs/: what is learned, asked, followed and kept.

    python -m benchmarks.learning.plots

Needs only ``docs/learning/``. Bands are 95 % percentiles of 2,000 resamples of raters.
"""

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.learning.change import CHANGE, since_change
from benchmarks.learning.curves import LABELS, OWN, PLAIN, RESAMPLES, WIN, curves, turns_of
from benchmarks.learning.loop import SIX
from benchmarks.learning.loop_arms import ARMS
from benchmarks.learning.loop_results import at_turn, read_runs
from benchmarks.learning.suite import read_results

IMAGES = Path(__file__).parents[2] / "docs" / "images"
COLOURS = {
    "ours": "#0d9488",
    "ours-always": "#0d9488",
    "infomax": "#7c3aed",
    "passive-infomax": "#d97706",
    "passive": "#64748b",
    "coin-gate": "#d97706",
    "no-second-burn-in": "#d97706",
    "no-change-points": "#64748b",
    "offline": "#d97706",
}


def band(axes: Axes, x: np.ndarray, by_rater: np.ndarray, arm: str, label: str) -> None:
    """Mean over raters, (raters, x), and its interval."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(by_rater), size=(RESAMPLES, len(by_rater)))
    low, high = np.quantile(by_rater[drawn].mean(axis=1), [0.025, 0.975], axis=0)
    axes.fill_between(x, low, high, color=COLOURS[arm], alpha=0.12, linewidth=0)
    axes.plot(x, by_rater.mean(axis=0), color=COLOURS[arm], linewidth=2, label=label)


def learned() -> Figure:
    """Utility gained by answers, on stored candidates."""
    figure, (shown, alone) = _panels("what is shown", "the reward ensemble alone: eight plain ones")
    for axes, measure in ((shown, OWN), (alone, PLAIN)):
        for arm, label in (
            ("ours-always", "ours"),
            ("infomax", "infomax, same candidates"),
            ("passive-infomax", "infomax, plain samples"),
            ("passive", "random pairs, plain samples"),
        ):
            band(axes, LABELS, curves("rules", arm, measure).mean(axis=1), arm, label)
        axes.set(xlabel="answers", xlim=(0, 100))
    shown.set_ylabel("utility gained, sd of plain samples")
    shown.legend(frameon=False, loc="upper left")
    return figure


def asked() -> Figure:
    """How often is asked, and what is shown meanwhile."""
    figure, (rate, shown) = _panels("questions", "utility of what is shown")
    lines = (
        ("auto", "ours", "ours, asking when unsure"),
        ("auto", "coin-gate", "the same pairs, at random moments"),
    )
    for experiment, arm, label in lines:
        turns, share = turns_of(experiment, arm, "asked")
        band(rate, turns, share.mean(axis=1), arm, label)
        band(shown, *_meaned(turns_of(experiment, arm, "shown")), arm, label)
    turns, best = turns_of("always200", "ours-always", "shown")
    shown.plot(turns, best.mean(axis=(0, 1)), color="black", linestyle=":", label="asking always")
    rate.set(xlabel="turn", ylabel="share of turns", ylim=(0, 1))
    shown.set(xlabel="turn", ylabel="utility gained, sd of plain samples")
    shown.legend(frameon=False, loc="lower right")
    return figure


def followed() -> Figure:
    """Win rate around a change of taste."""
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axes = figure.subplots()
    for arm, label in (
        ("ours", "ours"),
        ("no-second-burn-in", "no second burn-in"),
        ("no-change-points", "a taste that never changes"),
    ):
        people = read_results("change", arm)["people"]
        by_rater = [
            np.mean([since_change(episode)[:, WIN] for episode in seeds.values()], axis=0)
            for seeds in people.values()
        ]
        length = min(map(len, by_rater))
        curve = np.array([one[:length] for one in by_rater])
        band(axes, 10 * np.arange(length), curve, arm, label)
    axes.axhline(0.5, color="grey", linewidth=0.6)
    axes.set(xlabel=f"turns since the change (at turn {CHANGE})", ylabel="win rate, new taste")
    axes.legend(frameon=False, loc="lower right")
    return figure


def looped() -> Figure:
    """Win rate against the base by turns, new weights and all; a panel a person."""
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    grid = figure.subplots(2, 3, sharex=True, sharey=True)
    for axes, taste in zip(grid.flat, SIX, strict=True):
        for arm in ("ours", "passive", "offline"):
            runs = [run for run in read_runs(arm) if run["rater"] == taste]
            for measure, style in (("win_rate_vs_base", "-"), ("win_rate_weights_only", "--")):
                _mean_run(axes, runs, measure, arm, style)
        axes.axhline(0.5, color="grey", linewidth=0.6)
        axes.set_title(taste.replace("_", " "), fontsize=10)
    for axes in grid[1]:
        axes.set_xlabel("turns")
    for axes in grid[:, 0]:
        axes.set_ylabel("wins against the base")
    drawn = [axes.get_legend_handles_labels() for axes in grid.flat]  # not each person has all arms
    lines = {name: line for some in drawn for line, name in zip(*some, strict=True)}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _mean_run(axes: Axes, runs: list[dict], measure: str, arm: str, style: str) -> None:
    turns = [turn for turn in (0, 10, 20, 50, 100) if runs and all(at_turn(r, turn) for r in runs)]
    if turns:
        means = [np.mean([at_turn(run, turn)[measure] for run in runs]) for turn in turns]
        what = "shown" if style == "-" else "weights alone"
        # The offline arm's weights stand still until the lesson after its last turn.
        drawn = "steps-post" if ARMS[arm].offline else "default"
        axes.plot(
            turns,
            means,
            color=COLOURS[arm],
            linestyle=style,
            drawstyle=drawn,
            label=f"{arm}: {what}",
        )


def _meaned(found: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    turns, values = found
    return turns, values.mean(axis=1)


def _panels(*titles: str) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    panels = list(figure.subplots(1, len(titles)))
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, fontsize=10)
    return figure, panels


PLOTS: dict[str, Callable[[], Figure]] = {
    "learned": learned,
    "asked": asked,
    "followed": followed,
    "looped": looped,
}


def main() -> None:
    mpl.rcParams |= {"svg.hashsalt": "twofold", "font.size": 9}
    for name, plot in PLOTS.items():
        plot().savefig(IMAGES / f"{name}.svg", metadata={"Date": None})
        print(f"docs/images/{name}.svg")


if __name__ == "__main__":
    main()
