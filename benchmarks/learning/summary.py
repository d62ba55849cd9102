"""Tables of the suite's results, as they stand in docs/learning-results.md.

    python -m benchmarks.learning.summary

Means are over raters, each with the same weight, and seeds; intervals are 95 % percentiles of 2,000
resamples of raters and of seeds. Needs no model and no pools, only ``docs/learning/*.json``.
"""

import json
from collections.abc import Callable

import numpy as np

from benchmarks.learning.arms import Commit
from benchmarks.learning.change import change_table, direction_table
from benchmarks.learning.curves import (
    ECE,
    LABELS,
    OWN,
    PLAIN,
    WIN,
    Curves,
    asked_quality,
    blocks,
    curves,
    efficiency,
    interval,
    last_mark,
    mean_of,
    ran,
)
from benchmarks.learning.experiments import EXPERIMENTS
from benchmarks.learning.label_factor import fewer_labels, said
from benchmarks.learning.suite import KEPT_MARKS, RESULTS, read_results

AFTER_40 = int(np.flatnonzero(LABELS == 40)[0])
UNTOLD = ("on_topic", "refuses_harm", "quotes_question")
"""Raters whose taste no hidden style of the ladder says."""


def rules_table() -> list[str]:
    lines = [
        "| arm | win rate at 0 / 20 / 50 / 100 labels | gain shown, sd | gain of eight plain, sd "
        "| better of the pair, sd | ECE | fewer labels than passive: shown | of eight plain |",
        "|---|---|---|---|---|---|---|---|",
    ]
    base = {m: curves("rules", "passive", m) for m in (OWN, PLAIN)}
    for arm in ran("rules"):
        c = {m: curves("rules", arm, m) for m in (OWN, PLAIN, WIN, ECE)}
        every = np.arange(c[OWN].shape[0]), np.arange(c[OWN].shape[1])
        at = {m: mean_of(c[m], *every) for m in c}
        win50 = np.interp(50, LABELS, at[WIN])
        lines.append(
            f"| {arm} | {at[WIN][0]:.3f} / {at[WIN][4]:.3f} / {win50:.3f} / {at[WIN][-1]:.3f} "
            f"| {at[OWN][-1]:.2f} | {at[PLAIN][-1]:.2f} | {asked_quality('rules', arm):.2f} "
            f"| {at[ECE][-1]:.3f} "
            f"| {efficiency(c[OWN], base[OWN], 100)} | {efficiency(c[PLAIN], base[PLAIN], 100)} |"
        )
    return lines


def spread_table() -> list[str]:
    """Does the factor of ``ours-always`` hang on one rater, or on how quality is counted?"""

    def times(factor: float) -> str:
        return said(factor, LABELS, LABELS[-1])

    lines = [
        "| counted by | all raters | without one rater, least | median of the raters "
        "| least rater | those whose taste a hidden style says | those of whose taste none says |",
        "|---|---|---|---|---|---|---|",
    ]
    names = sorted(read_results("rules", "ours-always")["people"])
    untold = np.array([name in UNTOLD for name in names])
    for counted, measure in (
        ("gain shown", OWN),
        ("win rate", WIN),
        ("gain of eight plain", PLAIN),
    ):
        ours, theirs = (curves("rules", arm, measure) for arm in ("ours-always", "passive"))
        every = np.arange(len(ours))

        def factor(raters: np.ndarray, ours: Curves = ours, theirs: Curves = theirs) -> float:
            level = theirs[raters].mean(axis=(0, 1))[-1]
            return fewer_labels(LABELS, ours[raters].mean(axis=(0, 1)), level, LABELS[-1])

        without = [factor(np.delete(every, i)) for i in every]
        single = [factor(np.array([i])) for i in every]
        lines.append(
            f"| {counted} | {times(factor(every))} | {times(min(without))} "
            f"| {times(float(np.median(single)))} | {times(min(single))} "
            f"| {times(factor(every[~untold]))} | {times(factor(every[untold]))} |"
        )
    return lines


def auto_table() -> list[str]:
    always = last_mark("always200", "ours-always", OWN)
    shown_always = blocks("always200", "ours-always", "shown")
    lines = [
        "| arm | questions in 200 turns | ask rate after turn 50 | win rate at turn 200 | gain, sd "
        "| share of always asking | without one rater, least | shown over all turns, sd (always: "
        f"{shown_always.mean():.2f}) | ECE |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for arm in ran("auto"):
        own, win, ece = (last_mark("auto", arm, m) for m in (OWN, WIN, ECE))
        asked, shown = blocks("auto", arm, "asked"), blocks("auto", arm, "shown")
        questions = last_mark("auto", arm, KEPT_MARKS.index("questions"))

        def kept(r: np.ndarray, s: np.ndarray, own: np.ndarray = own) -> float:
            return float(own[r][:, s].mean() / always[r][:, s % always.shape[1]].mean())

        lines.append(
            f"| {arm} | {questions.mean():.0f} | {100 * asked[:, :, 2:].mean():.0f} % "
            f"| {win.mean():.3f} | {own.mean():.2f} | {interval(kept, *own.shape)} "
            f"| {_least_without_one(kept, own)} | {shown.mean():.2f} | {ece.mean():.3f} |"
        )
    return lines


def _least_without_one(
    statistic: Callable[[np.ndarray, np.ndarray], float], values: np.ndarray
) -> str:
    """The least that a statistic of (raters, seeds) comes to when any one rater is left out."""
    every, seeds = np.arange(values.shape[0]), np.arange(values.shape[1])
    return f"{min(statistic(np.delete(every, i), seeds) for i in every):.2f}"


def rater_table() -> list[str]:
    lines = [
        "| rater | passive: win rate at 100 | ours, always: at 20 / 100 | ours, auto: at turn 200 |"
        " questions | of always asking, in gain | gain, sd: passive 100 / ours 100 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in EXPERIMENTS["rules"].people:
        passive, ours = (
            {m: mean_of(curves("rules", arm, m, people=[name]), np.arange(1), slice(None))
             for m in (WIN, OWN)}
            for arm in ("passive", "ours-always")
        )  # fmt: skip
        auto = last_mark("auto", "ours", WIN, [name]).mean()
        questions = last_mark("auto", "ours", KEPT_MARKS.index("questions"), [name]).mean()
        own, always = (
            last_mark(experiment, arm, OWN, [name]).mean()
            for experiment, arm in (("auto", "ours"), ("always200", "ours-always"))
        )
        lines.append(
            f"| {name} | {passive[WIN][-1]:.3f} | {ours[WIN][4]:.3f} / {ours[WIN][-1]:.3f} "
            f"| {auto:.3f} | {questions:.0f} | {own / always:.2f} "
            f"| {passive[OWN][-1]:.2f} / {ours[OWN][-1]:.2f} |"
        )
    return lines


def rare_table() -> list[str]:
    """Tastes that fewer than one plain sample in ten pleases: utility shown over the base's.

    Where the base's mean utility is below 0, so many times it says nothing: the gain alone is told.
    Intervals resample seeds.
    """
    about = json.loads((RESULTS / "world.json").read_text(encoding="utf-8"))["raters"]
    lines = [
        "| rater | plain samples that please | times the base's utility after 40 answers: passive "
        "| passive-infomax | ours-always | four candidates, pair from drafts "
        "| gain, sd: passive | ours-always |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, known in about.items():
        if not 0.0 < known["positive_share"] < 0.1:
            continue
        gains = {
            arm: curves("rules", arm, OWN, people=[name])[:, :, AFTER_40]
            for arm in ("passive", "passive-infomax", "ours-always")
        }  # (1, seeds)
        gains["commit-pair"] = curves("commit", "commit-pair", OWN, people=[name])[:, :, AFTER_40]
        cells = [_times_the_base(own, known) for own in gains.values()]
        cells += [f"{gains[arm].mean():.2f}" for arm in ("passive", "ours-always")]
        lines.append(f"| {name} | {100 * known['positive_share']:.1f} % | {' | '.join(cells)} |")
    return lines


def _times_the_base(own: np.ndarray, known: dict[str, float]) -> str:
    if known["base"] <= 0.0:
        return "-"

    def times(_: np.ndarray, seeds: np.ndarray) -> float:
        return 1.0 + float(own[0, seeds].mean()) * known["spread"] / known["base"]

    return interval(times, 1, own.shape[1], "{:.1f}".format)


def noise_table() -> list[str]:
    found = read_results("noise", "ours")["people"]
    kinds = sorted({name.split("/")[1] for name in found})
    lines = [
        "| behaviour | gain at turn 200, sd | of the honest rater's | without one rater, least "
        "| win rate | questions |",
        "|---|---|---|---|---|---|",
    ]
    for kind in kinds:
        people = sorted(n for n in found if n.endswith(f"/{kind}"))
        honest = last_mark("auto", "ours", OWN, [n.split("/")[0] for n in people])
        own = last_mark("noise", "ours", OWN, people)

        def kept(
            r: np.ndarray, s: np.ndarray, own: np.ndarray = own, honest: np.ndarray = honest
        ) -> float:
            return float(own[r][:, s].mean() / honest[r][:, s % honest.shape[1]].mean())

        lines.append(
            f"| {kind} | {own.mean():.2f} | {interval(kept, *own.shape)} "
            f"| {_least_without_one(kept, own)} "
            f"| {last_mark('noise', 'ours', WIN, people).mean():.3f} "
            f"| {last_mark('noise', 'ours', KEPT_MARKS.index('questions'), people).mean():.0f} |"
        )
    return lines


def commit_table() -> list[str]:
    """Gain and win rate by when the pair is chosen, and what deciding early costs.

    Passive chooses among eight candidates, these among four.
    """
    rows = [
        "| the pair is chosen | gain at 20 / 40 / 100 answers | win rate at 100 "
        "| better of the pair | less the end, at 100 | fewer labels than passive: gain "
        "| win rate |",
        "|---|---|---|---|---|---|---|",
    ]
    passive = {m: curves("rules", "passive", m) for m in (OWN, WIN)}
    arms = [f"commit-{commit}" for commit in Commit]
    own = {arm: curves("commit", arm, OWN) for arm in arms}
    raters, seeds, _ = own[arms[0]].shape
    for arm in arms:
        mean = own[arm].mean(axis=(0, 1))
        gain = " / ".join(f"{mean[list(LABELS).index(n)]:.2f}" for n in (20, 40, 100))
        win = curves("commit", arm, WIN).mean(axis=(0, 1))[-1]
        less = interval(
            lambda r, s, arm=arm: float((own[arm] - own[arms[0]])[r][:, s, -1].mean()),
            raters,
            seeds,
        )
        asked = asked_quality("commit", arm)
        times = [efficiency(curves("commit", arm, m), passive[m], 100) for m in (OWN, WIN)]
        rows.append(f"| {arm} | {gain} | {win:.3f} | {asked:.2f} | {less} | {' | '.join(times)} |")
    return rows


TABLES = (
    ("Rules and candidates, a question every turn", rules_table, ("rules",)),
    ("What the factor hangs on", spread_table, ("rules",)),
    ("Asking when it is worth it", auto_table, ("auto", "always200")),
    ("By rater", rater_table, ("rules", "auto", "always200")),
    ("Rare tastes", rare_table, ("rules", "commit")),
    ("Noise", noise_table, ("noise", "auto")),
    ("Change of taste", change_table, ("change",)),
    ("Change of taste, by direction", direction_table, ("change",)),
    ("When the pair is chosen", commit_table, ("commit", "rules")),
)
"""Title, lines, and the experiments that it is made of."""


def main() -> None:
    for title, table, needed in TABLES:
        print(f"### {title}\n")
        missing = [name for name in needed if not ran(name)]
        if missing:
            print(f"Not run yet: {', '.join(missing)}.", end="\n\n")
        else:
            print("\n".join(table()), end="\n\n")


if __name__ == "__main__":
    main()
