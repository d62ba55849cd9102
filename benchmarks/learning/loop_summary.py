"""The tables of the full loop, as they stand in docs/learning-results.md.

    python -m benchmarks.learning.loop_summary [--compare ARM ARM [--folder FOLDER]]

``--compare`` sets two arms side by side, by the runs that both have, and takes them from
``--folder`` where they are older: ``drawn-kl`` in ``docs/learning/loop/one-sample`` is ours as it
was before decision 0021. Else means are over people, each the mean of its seeds, so that nobody
counts twice who has more of them; intervals are Student's between people, and of factors 95 %
percentiles of 2,000 resamples of people and, within a person, of seeds.
Needs only ``docs/learning/loop/*.json``.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.learning.loop_arms import ARMS, RULES
from benchmarks.learning.loop_factors import ahead_of, sooner_than
from benchmarks.learning.loop_results import (
    at_turn,
    by_person,
    drop,
    interval,
    perplexity_ratio,
    read_long_runs,
    read_runs,
    tank_index,
)


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


def _distinct(first: dict[str, Any], last: dict[str, Any]) -> str:
    """From where to where; empty where the run is older than the measure."""
    if "distinct_2" not in last:
        return ""
    return f"{first['distinct_2']:.2f} to {last['distinct_2']:.2f}"


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


def long_runs() -> list[str]:
    """One line a run that is longer than the others: where it stands, and its worst drop."""
    lines = [
        "| arm | rater | seed | turns | picks | shown: 100 | peak | end | worst drop, points "
        "| weights: peak | end | worst drop, points | KL | perplexity |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run in read_long_runs():
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


def side_by_side(one: str, other: str, folder: Path | None = None) -> list[str]:
    """Means of the runs that both arms have, and what became of their rounds."""
    found = [
        {(run["rater"], run["seed"]): run for run in read_runs(arm, folder)} for arm in (one, other)
    ]
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
    parser.add_argument("--folder", type=Path, help="where the runs to compare lie")
    options = parser.parse_args()
    if options.compare is not None:
        print("\n".join(side_by_side(*options.compare, options.folder)))
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
        if arm == "passive" or about.offline:
            taught = (100,) if about.offline else (20, 50, 100)
            print("\n".join([*ahead_of(arm, taught), *sooner_than(arm)]))
        print("\n".join(["", *by_run(arm)]))
    if any(read_runs(rule) for rule in RULES):
        print("\n".join(["", "**Update rules**, all else as in ours", "", *by_rule()]))
    if read_long_runs():
        print("\n".join(["", "**Longer runs**", "", *long_runs()]))


if __name__ == "__main__":
    main()
