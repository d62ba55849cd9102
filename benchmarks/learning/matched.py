"""Is the reward ensemble more than a ruler? People's choices, with length taken out.

    python -m benchmarks.learning.matched [--folds 10] [--repeats 5]

Ten-fold cross-validation by prompt family over all pairs of a set: every choice is predicted by an
ensemble that saw nothing of its request. A split of one in five leaves a dozen pairs of equal
length, this leaves all. *Balanced* is the mean of the accuracies where the longer and where the
shorter reply was chosen: length alone, either way, scores one half, and all pairs count. The
ensemble is that of the reward phase, each set a criterion of its own. Intervals resample families.
Written to ``docs/learning/matched.json``.
"""

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.learning.suite import RESULTS
from learner.config import RewardConfig
from learner.evaluation.pair_features import PairDifferences, pair_differences
from learner.evaluation.pairs import RecordedPair, read_pairs
from learner.evaluation.replay import TIMELESS
from learner.evaluation.scores import LENGTH_MATCHED, log_loss
from learner.model_source import default_cache, resolve_model
from learner.reward.criteria_head import components_for
from learner.reward.head import BayesianRewardHead
from learner.reward.taste import Taste, load_taste

SETS = ("oasst", "hh-harmless-test")
ENSEMBLE = TIMELESS
WIDTHS = (0, 32, 64, 128, 256)
"""Directions of the hidden states; 0 is style alone."""
RESAMPLES = 4000


def predicted(
    pairs: list[RecordedPair],
    differences: PairDifferences,
    config: RewardConfig,
    taste: Taste | None,
    *,
    folds: int,
    seed: int,
) -> np.ndarray:
    """(n,) probability of each recorded choice, from the folds that its family is not in."""
    families = sorted({pair.family for pair in pairs})
    drawn = np.random.default_rng([seed, 5]).permutation(len(families))
    fold_of = {family: int(place) % folds for family, place in zip(families, drawn, strict=True)}
    own = np.array([fold_of[pair.family] for pair in pairs])
    p = np.zeros(len(pairs))
    for fold in range(folds):
        head = BayesianRewardHead(config, seed=seed, taste=taste)
        seen = differences.rows(np.flatnonzero(own != fold).tolist())
        head.fit_differences(
            style=seen.style, hidden=seen.hidden, position=torch.zeros(len(seen.style))
        )
        test = differences.rows(np.flatnonzero(own == fold).tolist())
        wins = torch.sigmoid(head.margin_draws(test.style, test.hidden)).mean(dim=0)
        p[own == fold] = wins.numpy()
    return p


def right(p: np.ndarray) -> np.ndarray:
    """1 where the choice was predicted, a half where it was a coin's."""
    return (p > 0.5) + 0.5 * (p == 0.5)


def interval(values: np.ndarray, families: np.ndarray) -> list[float]:
    """95 % interval of the mean, resampling families."""
    rng = np.random.default_rng(0)
    _, place = np.unique(families, return_inverse=True)
    sums = np.bincount(place, weights=values)
    counts = np.bincount(place).astype(float)
    drawn = rng.integers(len(sums), size=(RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return [round(float(x), 3) for x in np.quantile(means, [0.025, 0.975])]


def measured(name: str, data: Path, *, folds: int, repeats: int) -> dict[str, Any]:
    model = resolve_model()
    pairs = read_pairs(data / "pairs_human.jsonl.gz", only_set=name).pairs
    differences = pair_differences(
        pairs, model, layer=None, cache=default_cache() / "features", say=print
    )
    taste = load_taste(model.sha256)
    taste = None if taste is None else taste.without(f"criterion:{name}")
    families = np.array([pair.family for pair in pairs])
    longer = differences.longer.numpy()
    matched = np.abs(longer) <= LENGTH_MATCHED
    ruler = right(1.0 / (1.0 + np.exp(-longer)))
    found: dict[str, Any] = {
        "pairs": len(pairs),
        "families": len(set(families)),
        "length_matched_pairs": int(matched.sum()),
        "longer_is_better": _row(ruler, longer, families),
    }
    found["chosen_by_the_phase"] = components_for(len(pairs), ENSEMBLE.hidden_components)
    for width in WIDTHS:
        config = replace(ENSEMBLE, hidden_components=width)
        ps = [
            predicted(pairs, differences, config, taste, folds=folds, seed=seed)
            for seed in range(repeats)
        ]
        hits = np.mean([right(p) for p in ps], axis=0)
        found[f"{width} components"] = _row(hits, longer, families) | {
            "log_loss": round(float(np.mean([log_loss(p) for p in ps])), 4),
            "over_longer_on_matched": round(float((hits - ruler)[matched].mean()), 3),
            "over_longer_on_matched_ci": interval((hits - ruler)[matched], families[matched]),
        }
    return found


def _row(hits: np.ndarray, longer: np.ndarray, families: np.ndarray) -> dict[str, Any]:
    matched = np.abs(longer) <= LENGTH_MATCHED
    # So weighted, a mean over all pairs is the balanced one.
    weight = np.where(longer > 0, 0.5 / np.mean(longer > 0), 0.0)
    weight = np.where(longer < 0, 0.5 / np.mean(longer < 0), weight)
    return {
        "accuracy": round(float(hits.mean()), 3),
        "accuracy_ci": interval(hits, families),
        "balanced": round(float((hits * weight).mean()), 3),
        "balanced_ci": interval(hits * weight, families),
        "on_matched": round(float(hits[matched].mean()), 3),
        "on_matched_ci": interval(hits[matched], families[matched]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    root = Path(__file__).parents[2].parent
    data = Path(os.environ.get("TWOFOLD_DATA", root / "shared" / "data"))
    if not data.is_dir():
        raise SystemExit("the recorded choices are not here: set TWOFOLD_DATA to their folder")
    sets = {
        name: measured(name, data, folds=options.folds, repeats=options.repeats) for name in SETS
    }
    about = {"command": "python -m benchmarks.learning.matched", **vars(options), "sets": sets}
    text = json.dumps(about, indent=1)
    (RESULTS / "matched.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
