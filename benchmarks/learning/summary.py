"""Tables of the suite's results, as they stand in docs/learning-results.md.

    python -m benchmarks.learning.summary

Means are over raters, each with the same weight, and seeds; intervals are 95 % percentiles of 2,000
resamples of raters and of seeds. Needs no model and no pools, only ``docs/learning/*.json``.
"""

import json
from collections.abc import Callable

import numpy as np

from benchmarks.learning.arms import Commit
from benchmarks.learning.experiments import EXPERIMENTS
from benchmarks.learning.label_factor import fewer_labels, said
from benchmarks.learning.suite import KEPT_MARKS, RESULTS, read_results

RESAMPLES = 2000
BLOCK = 25
"""Turns over which the suite averages what was asked and shown."""
CHANGE = 150
"""The turn at which taste changes in the experiment of that name."""
OWN, PLAIN, SHARE, WIN, ECE = (KEPT_MARKS.index(k) for k in ("own", "plain", "share", "win", "ece"))
LABELS = np.array([0, 5, 10, 15, 20, 30, 40, 60, 80, 100])
AFTER_40 = int(np.flatnonzero(LABELS == 40)[0])

Curves = np.ndarray
"""(raters, seeds, labels)"""


def curves(experiment: str, arm: str, measure: int, *, people: list[str] | None = None) -> Curves:
    """A measure at ``LABELS``, linear between the marks of each episode."""
    found = read_results(experiment, arm)["people"]
    names = people or sorted(found)
    seeds = _common_seeds(found, names)
    return np.array(
        [
            [_at_labels(np.array(found[name][seed]["marks"]), measure) for seed in seeds]
            for name in names
        ]
    )


def _at_labels(marks: np.ndarray, measure: int) -> np.ndarray:
    answers, last = np.unique(marks[::-1, 1], return_index=True)
    return np.interp(LABELS, answers, marks[::-1][last, measure])


def _common_seeds(found: dict, names: list[str]) -> list[str]:
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
            f"| {at[OWN][-1]:.2f} | {at[PLAIN][-1]:.2f} | {_asked_quality('rules', arm):.2f} "
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
        "| least rater |",
        "|---|---|---|---|---|",
    ]
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
            f"| {times(float(np.median(single)))} | {times(min(single))} |"
        )
    return lines


def _asked_quality(experiment: str, arm: str) -> float:
    found = read_results(experiment, arm)["people"]
    return float(np.mean([e["shown_asked"] for p in found.values() for e in p.values()]))


def _final(experiment: str, arm: str, measure: int, people: list[str] | None = None) -> np.ndarray:
    """(raters, seeds) of the last mark."""
    found = read_results(experiment, arm)["people"]
    names = people or sorted(found)
    seeds = _common_seeds(found, names)
    return np.array([[found[n][s]["marks"][-1][measure] for s in seeds] for n in names])


def _blocks(experiment: str, arm: str, what: str) -> np.ndarray:
    """(raters, seeds, blocks of 25 turns)."""
    found = read_results(experiment, arm)["people"]
    names = sorted(found)
    seeds = _common_seeds(found, names)
    return np.array([[found[n][s][what] for s in seeds] for n in names])


def turns_of(experiment: str, arm: str, what: str) -> tuple[np.ndarray, np.ndarray]:
    """The middle turns of the blocks, and (raters, seeds, blocks) of ``asked`` or ``shown``."""
    values = _blocks(experiment, arm, what)
    return BLOCK * (np.arange(values.shape[2]) + 0.5), values


def auto_table() -> list[str]:
    always = _final("always200", "ours-always", OWN)
    shown_always = _blocks("always200", "ours-always", "shown")
    lines = [
        "| arm | questions in 200 turns | ask rate after turn 50 | win rate at turn 200 | gain, sd "
        "| share of always asking | shown over all turns, sd (always: "
        f"{shown_always.mean():.2f}) | ECE |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for arm in ran("auto"):
        own, win, ece = (_final("auto", arm, m) for m in (OWN, WIN, ECE))
        asked, shown = _blocks("auto", arm, "asked"), _blocks("auto", arm, "shown")
        questions = _final("auto", arm, KEPT_MARKS.index("questions"))

        def kept(r: np.ndarray, s: np.ndarray, own: np.ndarray = own) -> float:
            return float(own[r][:, s].mean() / always[r][:, s % always.shape[1]].mean())

        lines.append(
            f"| {arm} | {questions.mean():.0f} | {100 * asked[:, :, 2:].mean():.0f} % "
            f"| {win.mean():.3f} | {own.mean():.2f} | {interval(kept, *own.shape)} "
            f"| {shown.mean():.2f} | {ece.mean():.3f} |"
        )
    return lines


def rater_table() -> list[str]:
    lines = [
        "| rater | passive: win rate at 100 | ours, always: at 20 / 100 | ours, auto: at turn 200 |"
        " questions | gain, sd: passive 100 / ours 100 |",
        "|---|---|---|---|---|---|",
    ]
    for name in EXPERIMENTS["rules"].people:
        passive, ours = (
            {m: mean_of(curves("rules", arm, m, people=[name]), np.arange(1), slice(None))
             for m in (WIN, OWN)}
            for arm in ("passive", "ours-always")
        )  # fmt: skip
        auto = _final("auto", "ours", WIN, [name]).mean()
        questions = _final("auto", "ours", KEPT_MARKS.index("questions"), [name]).mean()
        lines.append(
            f"| {name} | {passive[WIN][-1]:.3f} | {ours[WIN][4]:.3f} / {ours[WIN][-1]:.3f} "
            f"| {auto:.3f} | {questions:.0f} | {passive[OWN][-1]:.2f} / {ours[OWN][-1]:.2f} |"
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
        "| passive-infomax | ours-always | gain, sd: passive | ours-always |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, known in about.items():
        if not 0.0 < known["positive_share"] < 0.1:
            continue
        gains = {
            arm: curves("rules", arm, OWN, people=[name])[:, :, AFTER_40]
            for arm in ("passive", "passive-infomax", "ours-always")
        }  # (1, seeds)
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
        "| behaviour | gain at turn 200, sd | of the honest rater's | win rate | questions |",
        "|---|---|---|---|---|",
    ]
    for kind in kinds:
        people = sorted(n for n in found if n.endswith(f"/{kind}"))
        honest = _final("auto", "ours", OWN, [n.split("/")[0] for n in people])
        own = _final("noise", "ours", OWN, people)

        def kept(
            r: np.ndarray, s: np.ndarray, own: np.ndarray = own, honest: np.ndarray = honest
        ) -> float:
            return float(own[r][:, s].mean() / honest[r][:, s % honest.shape[1]].mean())

        lines.append(
            f"| {kind} | {own.mean():.2f} | {interval(kept, *own.shape)} "
            f"| {_final('noise', 'ours', WIN, people).mean():.3f} "
            f"| {_final('noise', 'ours', KEPT_MARKS.index('questions'), people).mean():.0f} |"
        )
    return lines


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
    seeds = _common_seeds(found, names)
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


def commit_table() -> list[str]:
    """Gain and win rate by when the pair is chosen, and what deciding early costs."""
    rows = [
        "| the pair is chosen | gain at 20 / 40 / 100 answers | win rate at 100 "
        "| better of the pair | less the end, at 100 |",
        "|---|---|---|---|---|",
    ]
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
        asked = _asked_quality("commit", arm)
        rows.append(f"| {arm} | {gain} | {win:.3f} | {asked:.2f} | {less} |")
    return rows


TABLES = (
    ("Rules and candidates, a question every turn", rules_table, ("rules",)),
    ("What the factor hangs on", spread_table, ("rules",)),
    ("Asking when it is worth it", auto_table, ("auto", "always200")),
    ("By rater", rater_table, ("rules", "auto")),
    ("Rare tastes", rare_table, ("rules",)),
    ("Noise", noise_table, ("noise", "auto")),
    ("Change of taste", change_table, ("change",)),
    ("Change of taste, by direction", direction_table, ("change",)),
    ("When the pair is chosen", commit_table, ("commit",)),
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
