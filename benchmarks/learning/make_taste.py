"""Make ``learner/reward/taste.safetensors``: directions of taste for the built-in model.

    python -m benchmarks.learning.make_taste

- *Basis*: principal components of hidden-state differences between candidates of one prompt, over
  the training prompts of the pools, and between the two sides of the recorded pairs; each source
  counts as much as the others.
- ``style:NAME``: what tells a reply sampled under a hidden style instruction from a plain one to
  the same prompt. No person is involved.
- ``criterion:SET``: what tells the chosen from the rejected side of recorded pairs of the shared
  data (sources and licences in the file's metadata). Left out where the data is absent.

A direction is the mean of a flat-prior fit, scaled so that two candidates of a prompt, whatever
their rungs, typically differ by one logit along it. Which way round a person leans is never stored:
the prior made of them is symmetric (``learner/reward/taste.py``).
"""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.learning.pools import Pool, load_pools
from learner.config import RewardConfig
from learner.evaluation.pair_features import pair_differences
from learner.evaluation.pairs import read_pairs
from learner.model_folder import ModelFolder
from learner.model_source import default_cache, resolve_model
from learner.reward.components import Components, principal_components
from learner.reward.laplace import Rows, fit_posteriors
from learner.reward.style import style_features
from learner.reward.taste import HIDDEN, POSITION, hypotheses
from learner.styles import STYLES

COMPONENTS = 32
SETS = {
    "oasst": ("pairs_human.jsonl.gz", "Open-Assistant, Apache-2.0"),
    "hh-harmless-test": ("pairs_human.jsonl.gz", "HH-RLHF, MIT"),
    "rasbt-pref": ("pairs_ai.jsonl.gz", "rasbt, Apache-2.0"),
}


def main() -> None:
    model = resolve_model()
    pools = [p for p in load_pools(model.sha256) if p.prompt.part == "train"]
    if not pools:
        raise SystemExit("There are no pools yet: python -m benchmarks.learning.pools")
    style_of = [_styles(pool) for pool in pools]
    pairs = {f"style:{name}": _styled_pairs(pools, style_of, name) for name in STYLES}
    pairs |= _criteria(model)
    plain = _plain_pairs(pools)
    basis = principal_components(_mixed([plain, *(h for _, h in pairs.values())]), COMPONENTS)
    # One scale for all, as for a person's own pairs: plain samples differ by 1 along a direction.
    basis = Components(basis=basis.basis / basis.project(plain).square().mean().sqrt())
    typical = _any_pairs(pools, style_of, basis)
    directions = {
        name: _direction(style, basis.project(hidden), typical)
        for name, (style, hidden) in pairs.items()
    }
    stacked = torch.stack(list(directions.values()))
    sources = "; ".join(
        ["samples of SmolLM2-135M-Instruct (Apache-2.0)"]
        + [about for name, (_, about) in SETS.items() if f"criterion:{name}" in directions]
    )
    path = Path(__file__).parents[2] / "learner" / "reward" / "taste.safetensors"
    save_file(
        {
            "basis": basis.basis.half().contiguous(),
            "style": stacked[:, :POSITION].float().contiguous(),
            "hidden": stacked[:, HIDDEN:].float().contiguous(),
        },
        path,
        metadata={
            "base_sha256": model.sha256,
            "names": ",".join(directions),
            "sources": sources,
            "made_by": "python -m benchmarks.learning.make_taste",
            "pools": str(len(pools)),
        },
    )
    print(f"{path.name}: {len(directions)} directions from {len(pools)} pools; {sources}")


def _styles(pool: Pool) -> np.ndarray:
    return np.array(
        [
            style_features(pool.prompt.messages, text, finished=float(done))
            for text, done in zip(pool.texts, pool.finished, strict=True)
        ]
    )


def _styled_pairs(
    pools: list[Pool], style_of: list[np.ndarray], name: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Styled minus plain, as many plain ones a prompt as there are."""
    style, hidden = [], []
    for pool, styles in zip(pools, style_of, strict=True):
        plain = [i for i, r in enumerate(pool.rungs) if r == "plain"][:4]
        for i in (i for i, r in enumerate(pool.rungs) if r == name):
            style += [styles[i] - styles[j] for j in plain]
            hidden += [pool.hidden[i] - pool.hidden[j] for j in plain]
    return torch.tensor(np.array(style)), torch.tensor(np.array(hidden)).double()


def _plain_pairs(pools: list[Pool]) -> torch.Tensor:
    apart = []
    for pool in pools:
        plain = [i for i, r in enumerate(pool.rungs) if r in ("plain", "hot")]
        apart += [pool.hidden[i] - pool.hidden[j] for i, j in pairwise(plain)]
    return torch.tensor(np.array(apart)).double()


def _criteria(model: ModelFolder) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    root = Path(__file__).parents[2].parent
    data = Path(os.environ.get("TWOFOLD_DATA", root / "shared" / "data"))
    found = {}
    for name, (file, _) in SETS.items():
        if (data / file).is_file():
            recorded = read_pairs(data / file, only_set=name).pairs
            differences = pair_differences(
                recorded, model, layer=None, cache=default_cache() / "features", say=print
            )
            found[f"criterion:{name}"] = (differences.style.double(), differences.hidden.double())
    return found


def _mixed(sources: list[torch.Tensor]) -> torch.Tensor:
    """All differences, each source of the same weight whatever its size."""
    return torch.cat([s / (s.norm() / np.sqrt(1000.0)) for s in sources])


def _any_pairs(pools: list[Pool], style_of: list[np.ndarray], basis: Components) -> torch.Tensor:
    """Differences (n, D) between candidates of one prompt, drawn from all rungs alike."""
    rng, rows = np.random.default_rng(0), []
    for pool, styles in zip(pools, style_of, strict=True):
        for _ in range(12):
            i, j = rng.choice(len(styles), 2, replace=False)
            hidden = basis.project(torch.tensor(pool.hidden[[i]] - pool.hidden[[j]]).double())[0]
            style = torch.tensor(styles[i] - styles[j])
            rows.append(torch.cat([style, torch.zeros(HIDDEN - POSITION).double(), hidden]))
    return torch.stack(rows)


def _direction(style: torch.Tensor, hidden: torch.Tensor, typical: torch.Tensor) -> torch.Tensor:
    n = len(style)
    rows = Rows(
        z=torch.cat([style, torch.zeros((n, HIDDEN - POSITION)).double(), hidden], dim=1),
        tie=torch.zeros(n, dtype=torch.bool),
        may_tie=torch.zeros(n, dtype=torch.bool),
        weight=torch.full((n,), min(1.0, 400.0 / n)).double(),
    )
    config = RewardConfig(flip_rates=(0.1,), hidden_prior_stds=(0.5,))
    prior = hypotheses(config, None, hidden.shape[1], shipped_basis=True)
    mean = fit_posteriors(rows, prior, nu=0.5).mean[0]
    return mean / float((typical @ mean).square().mean().sqrt())


if __name__ == "__main__":
    main()
