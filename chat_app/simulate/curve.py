"""``curve.png``: the learning curve of one run at a glance."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from chat_app.simulate.checkpoint import Checkpoint

TEAL, ORANGE, SLATE = "#0d9488", "#d97706", "#64748b"


def draw_curve(checkpoints: Sequence[Checkpoint], path: Path, *, title: str) -> None:
    """Win rate with its interval, that of the weights alone, and the ask rate, over turns.

    Draws on a figure of its own, so no display and no global state of matplotlib is needed.
    """
    turns = [c.turn for c in checkpoints]
    figure = Figure(figsize=(7.2, 4.2), dpi=150, layout="constrained")
    axes = figure.subplots()
    low, high = zip(*(c.win_rate_ci for c in checkpoints), strict=True)
    axes.fill_between(turns, low, high, color=TEAL, alpha=0.15, linewidth=0)
    axes.plot(
        turns,
        [c.win_rate_vs_base for c in checkpoints],
        color=TEAL,
        linewidth=2.2,
        marker="o",
        markersize=4,
        label="reply shown (best of N), 95 % interval",
    )
    axes.plot(
        turns,
        [c.win_rate_weights_only for c in checkpoints],
        color=ORANGE,
        linewidth=1.8,
        linestyle=(0, (4, 2)),
        marker="s",
        markersize=3.5,
        label="policy weights alone",
    )
    axes.step(
        turns[1:],
        [c.ask_rate for c in checkpoints[1:]],
        color=SLATE,
        linewidth=1.2,
        linestyle=":",
        where="mid",
        label="share of turns with a question",
    )
    axes.axhline(0.5, color=SLATE, linewidth=0.8, alpha=0.6)
    axes.set(
        xlabel="turns of chat",
        ylabel="win rate against the base model",
        ylim=(0.0, 1.0),
        xlim=(0, max(turns[-1], 1)),
        title=title,
    )
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(axis="y", color=SLATE, alpha=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right", fontsize=9)
    figure.savefig(path)
