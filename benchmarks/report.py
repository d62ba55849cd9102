"""The table of docs/benchmarks.md and its plot, from the JSON results and nothing else."""

import json
import math
from pathlib import Path
from typing import Any

from benchmarks.row import ROOT

RESULTS = ROOT / "docs" / "benchmarks"
PAGE = ROOT / "docs" / "benchmarks.md"
PLOT = ROOT / "docs" / "images" / "benchmarks.svg"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
VERDICTS = {"aim": "aim reached", "reached": "reached", "missed": "**missed**", None: ""}
COLOURS = {"aim": "#0072b2", "reached": "#56b4e9", "missed": "#d55e00"}


def write_report() -> None:
    results = load()
    if PAGE.exists():
        page = PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        _, found, after = rest.partition(END)
        if found:
            PAGE.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{after}", encoding="utf-8")
    plot(results)


def load() -> list[dict[str, Any]]:
    return [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(RESULTS.glob("r[0-9]*.json"), key=_place)
    ]


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: each figure with its target, verdict, spread and command."""
    lines = [
        "| command | figure | median (middle half) | at least | aim | |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        row = f"`make bench ROW={result['row']}` ([raw](benchmarks/{result['row']}.json))"
        for one in result["figures"]:
            if "absent" in one:
                value = f"not measured: {one['absent']}"
            else:
                ends = f" ({number(one['q1'])} to {number(one['q3'])})"
                value = f"{number(one['median'])} {one['unit']}{ends}"
            targets = " | ".join(
                "" if one[name] is None else f"{number(one[name])} {one['unit']}"
                for name in ("at_least", "aim")
            )
            verdict = VERDICTS[one.get("verdict")]
            lines.append(f"| {row} | {one['title']} | {value} | {targets} | {verdict} |")
    return "\n".join(lines)


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def plot(results: list[dict[str, Any]]) -> None:
    """Every figure with a target, as a multiple of it; right of the line is better."""
    import matplotlib as mpl  # noqa: PLC0415 - half a second

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "twofold", "svg.fonttype": "none"}
    from matplotlib import pyplot as plt  # noqa: PLC0415

    rows = [
        (f"{result['row']}  {one['title']}", *_scores(one), one["verdict"])
        for result in results
        for one in result["figures"]
        if one.get("verdict")
    ]
    if not rows:
        return
    rows.reverse()
    figure, axes = plt.subplots(figsize=(10, 0.34 * len(rows) + 1.2))
    for place, (_, median, low, high, verdict) in enumerate(rows):
        axes.barh(place, median - 1, left=1, color=COLOURS[verdict], height=0.6)
        axes.plot([low, high], [place, place], color="black", linewidth=1)
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(range(len(rows)), [title for title, *_ in rows], fontsize=8)
    axes.set_xlabel("multiple of the target (1 = just reached; further right is better)")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOT, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def _scores(one: dict[str, Any]) -> tuple[float, float, float]:
    values = [one[name] / one["at_least"] for name in ("median", "q1", "q3")]
    if one["less_is_better"]:
        median, low, high = (1 / max(value, 1e-9) for value in values)
        return median, high, low
    return values[0], values[1], values[2]


def _place(path: Path) -> tuple[int, str]:
    digits = "".join(c for c in path.stem if c.isdigit())
    return int(digits), path.stem
