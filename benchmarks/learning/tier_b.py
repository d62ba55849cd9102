"""Would an epistemic network predict better than the Bayesian head? Prequential log loss of both.

    python -m benchmarks.learning.tier_b --out docs/learning/tier-b.json

Tier B, on the same frozen features as tier A: E particles, each a frozen random *prior* network
plus a trained *differential* network, r_k = prior_k(phi) + diff_k(phi): randomised prior functions
(Osband et al. 2018), the head of arXiv 2603.17378 without its point head. Each pick is predicted
before it is learned; then tier A refits, and tier B takes ``STEPS`` Adam steps on ``BATCH`` picks
drawn from all so far, held to its initial weights by ``PULL / n``.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import logsigmoid

from benchmarks.learning.suite import _prepare, _shared
from learner.evaluation.pairs import content_digest, read_pairs
from learner.evaluation.replay import TIMELESS
from learner.model_source import default_cache, resolve_model
from learner.reward.head import BayesianRewardHead
from learner.reward.style import style_features
from learner.reward.taste import Taste, load_taste

PARTICLES, WIDTH, PRIOR_WIDTH = 20, 64, 32
STEPS, BATCH, RATE, PULL = 5, 64, 1e-3, 0.5
LABELS = 400
LAYER = 22
COMMAND = "python -m benchmarks.learning.tier_b --out docs/learning/tier-b.json"
SETS = {
    "oasst": "pairs_human.jsonl.gz",
    "hh-harmless-test": "pairs_human.jsonl.gz",
    "rasbt-pref": "pairs_ai.jsonl.gz",
}
TASTES = ("brevity", "formality", "busy_but_polite", "curious_friend")


class EpistemicNetwork:
    """E particles over features phi (n, F)."""

    def __init__(self, features: int, *, seed: int, prior_scale: float) -> None:
        generator = torch.Generator().manual_seed(seed)

        def layer(a: int, b: int) -> Tensor:
            return torch.randn((PARTICLES, a, b), generator=generator) / a**0.5

        self._prior = [layer(features, PRIOR_WIDTH), prior_scale * layer(PRIOR_WIDTH, 1)]
        self._weights = [layer(features, WIDTH), 0.1 * layer(WIDTH, 1)]
        self._start = [w.clone() for w in self._weights]
        for w in self._weights:
            w.requires_grad_()
        self._adam = torch.optim.Adam(self._weights, lr=RATE)
        self._draw = generator

    def score(self, phi: Tensor) -> Tensor:
        """(n, F) to (E, n), logits."""
        prior = torch.relu(phi @ self._prior[0]) @ self._prior[1]
        return (prior + torch.relu(phi @ self._weights[0]) @ self._weights[1]).squeeze(2)

    def learn(self, better: Tensor, worse: Tensor) -> None:
        n = len(better)
        for _ in range(STEPS):
            some = torch.randint(n, (BATCH,), generator=self._draw)
            margin = self.score(better[some]) - self.score(worse[some])
            pull = sum(
                ((w - s) ** 2).sum() for w, s in zip(self._weights, self._start, strict=True)
            )
            loss = -logsigmoid(margin).mean(dim=1).sum() + PULL / n * pull
            self._adam.zero_grad()
            loss.backward()
            self._adam.step()


def recorded(name: str, data: Path, sha256: str) -> tuple[Tensor, Tensor]:
    """Style (n, 2, S) and hidden (n, 2, H); needs the cache that ``reward-eval`` leaves."""
    pairs = read_pairs(data / SETS[name], only_set=name).pairs
    kept = default_cache() / "features" / f"{content_digest(pairs)[:16]}-{sha256[:16]}-{LAYER}"
    hidden = load_file(kept.with_suffix(".safetensors"))["hidden"].float()
    style = [[style_features(p.prompt, t) for t in (p.chosen, p.rejected)] for p in pairs]
    return torch.tensor(style), hidden


def simulated(taste: str, seed: int) -> tuple[Tensor, Tensor]:
    """As many picks of a simulated person between random candidates, the better one first."""
    rng, world = np.random.default_rng([seed, 3]), _shared["world"]
    style, hidden = [], []
    for scene in world.train:
        for _ in range(LABELS // len(world.train) + 1):
            i, j = rng.choice(len(scene.texts), 2, replace=False)
            margin = scene.utility[taste][i] - scene.utility[taste][j]
            a, b = (i, j) if rng.random() < 1 / (1 + np.exp(-margin)) else (j, i)
            style.append(scene.style[[a, b]])
            hidden.append(scene.hidden[[a, b]])
    return torch.stack(style), torch.stack(hidden)


def prequential(
    style: Tensor, hidden: Tensor, *, seed: int, taste: Taste
) -> dict[str, list[float]]:
    """Log loss of each pick in nats, predicted before it was learned, and seconds for all."""
    order = np.random.default_rng([seed, 5]).permutation(len(style))[:LABELS]
    style, hidden = style[order], hidden[order]
    phi = torch.cat([style.float(), taste.basis.project(hidden.double()).float()], dim=2)
    losses: dict[str, list[float]] = {}
    for name in ("A flat", "A", "B 0.5", "B 1"):
        began, loss = time.perf_counter(), []
        if name.startswith("A"):
            head = BayesianRewardHead(
                TIMELESS, seed=seed, taste=taste if name == "A" else taste.without("")
            )
            for n in range(len(style)):
                z, h = (
                    style[: n + 1, 0] - style[: n + 1, 1],
                    hidden[: n + 1, 0] - hidden[: n + 1, 1],
                )
                p = torch.sigmoid(head.margin_draws(z[-1:], h[-1:])).mean()
                eps = head.flip_rate
                loss.append(-float(torch.log(eps / 2 + (1 - eps) * p)))
                head.fit_differences(style=z, hidden=h, position=torch.zeros(n + 1))
        else:
            network = EpistemicNetwork(phi.shape[2], seed=seed, prior_scale=float(name.split()[1]))
            for n in range(len(style)):
                with torch.no_grad():
                    both = network.score(phi[n])
                p = torch.sigmoid(both[:, 0] - both[:, 1]).mean()
                loss.append(-float(torch.log(p.clamp(min=1e-6))))
                network.learn(phi[: n + 1, 0], phi[: n + 1, 1])
        losses[name] = loss
        losses[f"{name} seconds"] = [time.perf_counter() - began]
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    _prepare()  # also the pools, for the simulated people
    torch.set_grad_enabled(True)
    model = resolve_model()
    taste = load_taste(model.sha256)
    root = Path(__file__).parents[2].parent
    data = Path(os.environ.get("TWOFOLD_DATA", root / "shared" / "data"))
    report = {"command": COMMAND, "labels": LABELS, "sets": {}}
    for name in (*SETS, *TASTES):
        runs = []
        for seed in range(options.seeds):
            if name in SETS:
                style, hidden = recorded(name, data, model.sha256)
            else:
                style, hidden = simulated(name, seed)
            runs.append(
                prequential(style, hidden, seed=seed, taste=taste.without(f"criterion:{name}"))
            )
        report["sets"][name] = {
            arm: [
                round(float(np.mean([np.mean(run[arm][a:b]) for run in runs])), 4)
                for a, b in ((0, 50), (50, 100), (100, 200), (200, 400))
            ]
            if "seconds" not in arm
            else round(float(np.mean([run[arm] for run in runs])), 2)
            for arm in runs[0]
        }
        print(name, report["sets"][name], flush=True)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
