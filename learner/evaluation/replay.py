"""Label efficiency on recorded choices: reveal one at a time, refit, predict the held-out part.

For each seed the pairs are split by prompt family, and the pool is queried as a person would be:
"infomax" asks for the pair whose predicted probability the ensemble disagrees about most (the
largest variance over its members, of a random subsample of the pool), "entropy" for the one it
predicts worst, "random" for any. The other rules choose among candidates, not among given pairs.
The answer is the recorded choice. Shipped priors that were made from the replayed set are left out.
A pair's sides carry no meaning here, so the position covariate stays zero.
"""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from learner.config import QueryRule, RewardConfig
from learner.evaluation.intervals import bootstrap_interval
from learner.evaluation.options import RewardEvalError, RewardEvalOptions
from learner.evaluation.pair_features import PairDifferences, pair_differences
from learner.evaluation.pairs import RecordedPair, read_pairs, split_by_family
from learner.evaluation.scores import (
    LENGTH_MATCHED,
    accuracy,
    brier,
    calibration_error,
    log_loss,
    longer_is_better,
)
from learner.model_folder import ModelFolder
from learner.model_source import default_cache
from learner.reward.head import BayesianRewardHead
from learner.reward.taste import Taste, load_taste

MEASURES = (
    "accuracy",
    "length_matched_accuracy",
    "log_loss",
    "brier",
    "ece",
    "longer_is_better",
)
REPLAYABLE = (QueryRule.RANDOM, QueryRule.INFOMAX, QueryRule.ENTROPY)
TIMELESS = RewardConfig(picks_between_changes=None)
"""Recorded choices come in no order, so no change of taste is looked for among them."""
ASKED_FROM = 256
"""Unlabelled pairs that one infomax query looks at."""


def replay_into(options: RewardEvalOptions, model: ModelFolder, say: Callable[[str], None]) -> None:
    """Replay and write the report as JSON. Raises RewardEvalError."""
    _check_out(options.out)
    recorded = read_pairs(options.pairs, only_set=options.only_set)
    config = TIMELESS
    if options.components is not None:
        config = replace(config, hidden_components=options.components)
    differences = pair_differences(
        recorded.pairs, model, layer=options.layer, cache=default_cache() / "features", say=say
    )
    taste = load_taste(model.sha256) if options.layer is None else None
    if taste is not None and options.only_set is not None:
        taste = taste.without(f"criterion:{options.only_set}")
    runs = []
    for seed in range(options.seeds):
        runs.append(replay(recorded.pairs, differences, options, config, seed=seed, taste=taste))
        say(f"Seed {seed}: accuracy {runs[-1][-1]['accuracy']:.3f} after {options.labels[-1]}")
    report = {
        "config": _config(options, config, model),
        "pairs": {"used": len(recorded.pairs), "defective": recorded.defective},
        "results": summarise(runs),
    }
    options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def replay(
    pairs: list[RecordedPair],
    differences: PairDifferences,
    options: RewardEvalOptions,
    config: RewardConfig,
    *,
    seed: int,
    taste: Taste | None = None,
) -> list[dict[str, float]]:
    """One seed: the measures at each label count, in their order. Raises RewardEvalError."""
    pool, held_out = split_by_family(pairs, f"seed {seed}")
    if options.query not in REPLAYABLE:
        allowed = ", ".join(rule.value for rule in REPLAYABLE)
        raise RewardEvalError(
            f"{options.query.value} chooses among candidates; recorded pairs allow {allowed}."
        )
    if len(pool) < options.labels[-1] or not held_out:
        raise RewardEvalError(
            f"{options.labels[-1]} labels are wanted, but seed {seed} has {len(pool)} pairs to "
            f"label and {len(held_out)} to measure on."
        )
    rng = np.random.default_rng(seed)
    head = BayesianRewardHead(config, seed=seed, taste=taste)
    unlabelled, labelled = differences.rows(pool), []
    rest: list[int] = rng.permutation(len(pool)).tolist()
    measures: list[dict[str, float]] = []
    test = differences.rows(held_out)
    while len(labelled) < options.labels[-1]:
        labelled.append(rest.pop(_next_query(head, unlabelled, rest, options.query)))
        if options.query is not QueryRule.RANDOM or len(labelled) in options.labels:
            _fit(head, unlabelled.rows(labelled))
        if len(labelled) in options.labels:
            measures.append({"labels": float(len(labelled)), **_measures(head, test)})
    return measures


def summarise(runs: list[list[dict[str, float]]]) -> list[dict[str, Any]]:
    """Per label count: the mean over seeds of each measure and, as NAME_ci, its 95 % interval.

    A measure that no seed could take (no length-matched pairs) is None.
    """
    rng = np.random.default_rng(0)
    results: list[dict[str, Any]] = []
    for at_count in zip(*runs, strict=True):
        result: dict[str, Any] = {"labels": int(at_count[0]["labels"])}
        for name in MEASURES:
            values = np.array([measures[name] for measures in at_count])
            values = values[~np.isnan(values)]
            result[name] = float(values.mean()) if len(values) else None
            result[f"{name}_ci"] = bootstrap_interval(values, rng) if len(values) else None
        results.append(result)
    return results


def _check_out(out: Path) -> None:
    """Raise RewardEvalError where the report could not be written: a replay takes minutes."""
    if out.is_dir():
        raise RewardEvalError(f"{out} is a folder: name a file in it with --out.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RewardEvalError(
            f"{out} cannot be written ({error.strerror}): name another file with --out."
        ) from error
    if not os.access(out if out.exists() else out.parent, os.W_OK):
        raise RewardEvalError(f"{out} cannot be written: name another file with --out.")


def _next_query(
    head: BayesianRewardHead,
    unlabelled: PairDifferences,
    rest: list[int],
    rule: QueryRule,
) -> int:
    """The place in ``rest``, which is in random order, of the pair to ask about."""
    if rule is QueryRule.RANDOM:
        return 0
    seen = unlabelled.rows(rest[:ASKED_FROM])
    win_probs = torch.sigmoid(head.margin_draws(seen.style, seen.hidden))  # (E, n)
    if rule is QueryRule.ENTROPY:
        return int((win_probs.mean(dim=0) - 0.5).abs().argmin())
    return int(win_probs.var(dim=0, correction=0).argmax())


def _fit(head: BayesianRewardHead, labelled: PairDifferences) -> None:
    no_side = torch.zeros(len(labelled.style))
    head.fit_differences(style=labelled.style, hidden=labelled.hidden, position=no_side)


def _measures(head: BayesianRewardHead, test: PairDifferences) -> dict[str, float]:
    p = _predicted(head, test).numpy()
    longer = test.longer.numpy()
    matched = np.abs(longer) <= LENGTH_MATCHED
    return {
        "accuracy": accuracy(p),
        "length_matched_accuracy": accuracy(p[matched]) if matched.any() else float("nan"),
        "log_loss": log_loss(p),
        "brier": brier(p),
        "ece": calibration_error(p),
        "longer_is_better": longer_is_better(longer),
    }


def _predicted(head: BayesianRewardHead, test: PairDifferences) -> Float[Tensor, " n"]:
    """P(the recorded choice), as the likelihood has it: some choices are made at random."""
    better = torch.sigmoid(head.margin_draws(test.style, test.hidden)).mean(dim=0)
    return (head.flip_rate / 2 + (1.0 - head.flip_rate) * better).double()


def _config(options: RewardEvalOptions, config: RewardConfig, model: ModelFolder) -> dict[str, Any]:
    return {
        "pairs": options.pairs.name,
        "set": options.only_set,
        "query": options.query.value,
        "labels": list(options.labels),
        "seeds": options.seeds,
        "layer": options.layer,
        "model": {"name": model.name, "sha256": model.sha256},
        "reward": asdict(config),
    }
