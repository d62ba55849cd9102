"""The tables of the full loop, as they stand in docs/learning-results.md.

    python -m benchmarks.learning.loop_summary [--compare ARM ARM]

``--compare`` sets two arms side by side, by the runs that both have; ``drawn-kl`` is ours as it was
before decision 0021. Else means are over people, each the mean of its seeds, so that nobody counts
twice who has more of them; intervals are 95 % percentiles of 2,000 resamples of people. Needs only
``docs/learning/loop/*.json``.
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.learning.label_factor import fewer_labels, said
from benchmarks.learning.loop import ARMS, RESULTS, RULES

RESAMPLES = 2000


def read_runs(arm: str) -> list[dict[str, Any]]:
    paths = sorted(RESULTS.glob(f"{arm}--*.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def interval(values: list[float]) -> str:
    """Mean with its interval, in percent."""
    rng = np.random.default_rng(0)
    sample = np.array(values)
    means = rng.choice(sample, size=(RESAMPLES, len(sample))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{100 * sample.mean():.0f} ({100 * low:.0f} to {100 * high:.0f})"


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


def gain(run: dict[str, Any], turn: int) -> float | None:
    """Mean utility of the reply shown over the base's, in logits; None before that turn."""
    found = at_turn(run, turn)
    return None if found is None else found["mean_score_shown"] - found["mean_score_base"]


def by_run(arm: str) -> list[str]:
    """One line a run: shown and weights only at the start and after 20 and 100 turns, KL, ..."""
    lines = [
        "| rater | seed | picks | shown: 0 | 20 | 100 | weights: 0 | 20 | 100 | tank | KL "
        "| perplexity | tokens | distinct-2 |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run in read_runs(arm):
        first, early, last = (at_turn(run, turn) for turn in (0, 20, run["turns"]))
        if first is None or early is None or last is None:
            continue
        ratio = perplexity_ratio(run)
        lines.append(
            f"| {run['rater']} | {run['seed']} | {last['picks']} "
            f"| {first['win_rate_vs_base']:.0%} "
            f"| {early['win_rate_vs_base']:.0%} | {last['win_rate_vs_base']:.0%} "
            f"| {first['win_rate_weights_only']:.0%} "
            f"| {early['win_rate_weights_only']:.0%} | {last['win_rate_weights_only']:.0%} "
            f"| {100 * tank_index(run):.0f} "
            f"| {last['kl_to_base']:.2f} | {100 * (ratio - 1):+.1f} % "
            f"| {first['mean_length_tokens']:.0f} to {last['mean_length_tokens']:.0f} "
            f"| {_distinct(first, last)} |"
        )
    return lines


def perplexity_ratio(run: dict[str, Any]) -> float:
    """Of the last version over the base's; 1 where the base still speaks."""
    accepted = [one for one in run["rounds"] if one["status"] == "accepted"]
    return accepted[-1]["perplexity_ratio"] if accepted else 1.0


def tank_index(run: dict[str, Any]) -> float:
    """The best win rate of the weights alone less the last one (arXiv 2603.17378), 0 to 1."""
    alone = [c["win_rate_weights_only"] for c in run["checkpoints"]]
    return max(alone) - alone[-1]


def _distinct(first: dict[str, Any], last: dict[str, Any]) -> str:
    """From where to where; empty where the run is older than the measure."""
    if "distinct_2" not in last:
        return ""
    return f"{first['distinct_2']:.2f} to {last['distinct_2']:.2f}"


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
        ("shown, to what it shows", "win_rate_vs_base", "win_rate_vs_base"),
        ("shown, to its weights alone", "win_rate_vs_base", "win_rate_weights_only"),
        ("weights alone, to its weights alone", "win_rate_weights_only", "win_rate_weights_only"),
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


def by_rule() -> list[str]:
    """One line for each person and update rule that was tried on that person, ours first.

    Gain is the mean utility of one sample of the live policy over the base's, in logits.
    """
    lines = [
        "| rater | seed | rule | shown: 100 | weights: 20 | 50 | 100 | gain of the weights | KL "
        "| perplexity | rounds live of made | seconds a round |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    tried = {(run["rater"], run["seed"]) for rule in RULES for run in read_runs(rule)}
    for person in sorted(tried):
        for arm in ("ours", *RULES):
            runs = [run for run in read_runs(arm) if (run["rater"], run["seed"]) == person]
            lines += [_rule_line("dpo (ours)" if arm == "ours" else arm, run) for run in runs]
    return lines


def _rule_line(rule: str, run: dict[str, Any]) -> str:
    alone = {c["turn"]: f"{c['win_rate_weights_only']:.0%}" for c in run["checkpoints"]}
    made, last = run["rounds"], run["checkpoints"][-1]
    live = [one for one in made if one["status"] == "accepted"]
    ratio = perplexity_ratio(run)
    gained = last["mean_score_policy"] - last["mean_score_base"]
    return (
        f"| {run['rater']} | {run['seed']} | {rule} | {last['win_rate_vs_base']:.0%} "
        f"| {alone[20]} | {alone[50]} | {alone[last['turn']]} "
        f"| {gained:+.1f} | {last['kl_to_base']:.2f} "
        f"| {100 * (ratio - 1):+.1f} % | {len(live)} of {len(made)} "
        f"| {np.mean([one['seconds'] for one in made]):.0f} |"
    )


def drop(values: list[float]) -> float:
    """How far a curve ever falls below the best it had reached before."""
    curve = np.array(values)
    return float((np.maximum.accumulate(curve) - curve).max())


def long_runs() -> list[str]:
    """One line a run that is longer than the others: where it stands, and its worst drop."""
    lines = [
        "| arm | rater | seed | turns | picks | shown: 100 | peak | end | worst drop, points "
        "| weights: peak | end | worst drop, points | KL | perplexity |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for path in sorted(RESULTS.glob("*-turns/*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        points = run["checkpoints"]
        shown = [100 * c["win_rate_vs_base"] for c in points]
        alone = [100 * c["win_rate_weights_only"] for c in points]
        ratio = perplexity_ratio(run)
        early = at_turn(run, 100)
        first = f"{early['win_rate_vs_base']:.0%}" if early else ""
        lines.append(
            f"| {run['arm']} | {run['rater']} | {run['seed']} | {points[-1]['turn']} "
            f"| {points[-1]['picks']} | {first} "
            f"| {max(shown):.0f}% | {shown[-1]:.0f}% | {drop(shown):.1f} "
            f"| {max(alone):.0f}% | {alone[-1]:.0f}% | {drop(alone):.1f} "
            f"| {points[-1]['kl_to_base']:.2f} | {100 * (ratio - 1):+.1f} % |"
        )
    return lines


def side_by_side(one: str, other: str) -> list[str]:
    """Means of the runs that both arms have, and what became of their rounds."""
    found = [{(run["rater"], run["seed"]): run for run in read_runs(arm)} for arm in (one, other)]
    both = sorted(found[0].keys() & found[1].keys())
    if not both:
        return [f"{one} and {other} have no run in common, of the same person and seed."]
    columns = [_figures([runs[who] for who in both]) for runs in found]
    return [
        f"| {len(both)} runs each | {one} | {other} |",
        "|---|---|---|",
        *(f"| {name} | {columns[0][name]} | {columns[1][name]} |" for name in columns[0]),
    ]


def _figures(runs: Sequence[dict[str, Any]]) -> dict[str, str]:
    def after(measure: str) -> str:
        marks = ([at_turn(run, turn) for run in runs] for turn in (20, 50, 100))
        means = [np.mean([c[measure] for c in of if c is not None]) for of in marks]
        return " / ".join(f"{100 * mean:.0f}" for mean in means) + " %"

    made = [one for run in runs for one in run["rounds"]]
    live = [one for one in made if one["status"] == "accepted"]
    last = [perplexity_ratio(run) for run in runs]
    kl = [run["checkpoints"][-1]["kl_to_base"] for run in runs]
    return {
        "shown after 20 / 50 / 100 turns": after("win_rate_vs_base"),
        "weights alone after 20 / 50 / 100 turns": after("win_rate_weights_only"),
        "rounds refused": f"{len(made) - len(live)} of {len(made)}",
        "accepted rounds that scaled the whole adapter by less than .9": (
            f"{sum(one.get('pulled_in', 1.0) < 0.9 for one in live)} of {len(live)}"
        ),
        "KL at the end, lowest to highest": f"{min(kl):.2f} to {max(kl):.2f}",
        "perplexity at the end": f"{100 * (np.mean(last) - 1):+.1f} %",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compare", nargs=2, metavar="ARM")
    if (arms := parser.parse_args().compare) is not None:
        print("\n".join(side_by_side(*arms)))
        return
    for arm, about in ARMS.items():
        runs = read_runs(arm)
        if not runs or arm in RULES:
            continue
        print(f"\n**{arm}**: {about.about}; {len(runs)} runs\n")
        for turn in (0, 20, 100):
            shown, alone = (
                by_person(runs, turn, measure)
                for measure in ("win_rate_vs_base", "win_rate_weights_only")
            )
            if shown:
                print(
                    f"- after {turn} turns: shown {interval(shown)} %, "
                    f"weights only {interval(alone)} %"
                )
        if arm in ("passive", "offline"):
            print("\n".join(sooner_than(arm)))
        print("\n".join(["", *by_run(arm)]))
    if any(read_runs(rule) for rule in RULES):
        print("\n".join(["", "**Update rules**, all else as in ours", "", *by_rule()]))
    if any(RESULTS.glob("*-turns/*.json")):
        print("\n".join(["", "**Longer runs**", "", *long_runs()]))


if __name__ == "__main__":
    main()
