"""Over-optimisation of a reward model, and what a pessimistic ensemble does about it.

    python -m benchmarks.learning.overoptimisation           stored candidates, a minute
    python -m benchmarks.learning.overoptimisation --ppo     the real model under PPO, see below

A simulated person picks between random pairs, a quarter of the picks blindly. Reward models are
fitted to the picks; then something optimises them, and the person's true utility (gold) is set
against what the reward model believes (proxy) as the policy moves away from where it began (KL).

On stored candidates the policy is exact: pi_0 is uniform over a test prompt's candidates, and the
best policy at a strength beta of the KL penalty is pi_0 exp(r / beta) / Z. With ``--ppo`` it is the
built-in model under the product's own PPO with next to no KL penalty, one line of JSON a step.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch

from benchmarks.arms.ours import version_of
from benchmarks.learning.pools import load_pools, pool_folder, pool_prompts
from benchmarks.learning.raters import UTILITIES, Behaviour, pick
from benchmarks.learning.world import World, build_world
from learner.config import RewardConfig
from learner.model_source import resolve_model
from learner.reward.head import BayesianRewardHead

OUT = Path("docs/learning/overoptimisation.json")
PPO_OUT = Path("docs/learning/overoptimisation-ppo.json")
PLOT = Path("docs/images/overoptimisation.svg")
BEHAVIOUR = Behaviour(flips=0.25)
PICKS = (20, 60)
SEEDS = 20
SAVED_EVERY = 5
"""Steps of PPO that an interruption can cost."""
STRENGTHS = np.geomspace(8.0, 0.02, 24)
"""beta, in standard deviations of the score within a prompt."""

Score = Callable[[torch.Tensor], torch.Tensor]
ARMS: dict[str, Score] = {
    "one draw": lambda r: r[0],
    "mean": lambda r: r.mean(dim=0),
    "pessimistic 0.5": lambda r: r.mean(dim=0) - 0.5 * r.std(dim=0, correction=0),
    "pessimistic 1": lambda r: r.mean(dim=0) - r.std(dim=0, correction=0),
    "pessimistic 2": lambda r: r.mean(dim=0) - 2.0 * r.std(dim=0, correction=0),
    "worst": lambda r: r.amin(dim=0),
}
"""From rewards (E, N), each member centred on the prompt's mean, to scores.

A member is a draw of the posterior. All are linear in the features, so their mean is one linear
model, too: the one that a single fit would give, but for what averaging over priors adds.
"""


def fitted(world: World, rater: str, picks: int, seed: int) -> BayesianRewardHead:
    """An ensemble on so many noisy picks between random pairs of the training prompts."""
    rng = np.random.default_rng([seed, 3])
    style, hidden, sign, tie = [], [], [], []
    while len(sign) < picks:
        scene = world.train[rng.integers(len(world.train))]
        a, b = rng.choice(len(scene.texts), 2, replace=False)
        if not scene.usable[a, b]:
            continue
        utility = scene.utility[rater]
        said = pick(float(utility[a] - utility[b]), BEHAVIOUR, rng)
        s = -1.0 if said == "second" else 1.0
        style.append(s * (scene.style[a] - scene.style[b]))
        hidden.append(s * (scene.hidden[a] - scene.hidden[b]))
        sign.append(s)
        tie.append(said == "tie")
    head = BayesianRewardHead(RewardConfig(picks_between_changes=None), seed=seed)
    head.fit_differences(
        style=torch.stack(style),
        hidden=torch.stack(hidden),
        position=torch.tensor(sign),
        tie=torch.tensor(tie),
        may_tie=True,
    )
    return head


def tilted(world: World, rater: str, head: BayesianRewardHead, score: Score) -> np.ndarray:
    """KL, gold and proxy (each less its value at pi_0) at every strength, mean over test prompts.

    Gold is in standard deviations of plain samples, proxy in standard deviations of the score.
    """
    rows = np.zeros((len(STRENGTHS), 3))
    for scene in world.test:
        rewards = head.margin_draws(scene.style, scene.hidden)
        scores = score(rewards - rewards.mean(dim=1, keepdim=True)).double().numpy()
        scores = (scores - scores.mean()) / max(1e-9, scores.std())
        gold = scene.utility[rater] - scene.utility[rater].mean()
        for i, beta in enumerate(STRENGTHS):
            p = np.exp((scores - scores.max()) / beta)
            p /= p.sum()
            kl = float((p * np.log(np.maximum(p, 1e-300))).sum()) + math.log(len(p))
            rows[i] += kl, p @ gold / world.spread[rater], p @ scores
    return rows / len(world.test)


def on_stored_candidates(world: World, seeds: int) -> dict:
    results: dict[str, dict] = {}
    for picks in PICKS:
        for name, score in ARMS.items():
            curves = np.array(
                [
                    tilted(world, rater, fitted(world, rater, picks, seed), score)
                    for rater in UTILITIES
                    for seed in range(seeds)
                ]
            )  # (runs, strengths, 3)
            gold = curves[:, :, 1]
            people = gold.reshape(len(UTILITIES), seeds, -1).mean(axis=1)
            results[f"{name}, {picks} picks"] = {
                "kl": curves[:, :, 0].mean(axis=0).round(4).tolist(),
                "gold": gold.mean(axis=0).round(4).tolist(),
                "gold_se": (people.std(axis=0, ddof=1) / math.sqrt(len(people))).round(4).tolist(),
                "proxy": curves[:, :, 2].mean(axis=0).round(4).tolist(),
                "best": round(float(gold.mean(axis=0).max()), 4),
                "end": round(float(gold.mean(axis=0)[-1]), 4),
                "fall_per_run": round(float((gold.max(axis=1) - gold[:, -1]).mean()), 4),
                "share_that_end_worse_than_base": round(float((gold[:, -1] < 0).mean()), 4),
            }
            print(f"{name}, {picks} picks: best {results[f'{name}, {picks} picks']['best']}")
    return results


def table(results: dict) -> list[str]:
    """Gold where the pull is strongest, what was given back on the way, and who ended worse off."""
    columns = "gold at the end | fall | ends below the start"
    lines = [
        "| score of a reply | " + " | ".join(f"{n} picks: {columns}" for n in PICKS) + " |",
        "|---|" + "---|---|---|" * len(PICKS),
    ]
    for name in ARMS:
        cells = []
        for picks in PICKS:
            r = results[f"{name}, {picks} picks"]
            cells += [
                f"{r['end']:.2f} (se {r['gold_se'][-1]:.2f})",
                f"{r['fall_per_run']:.3f}",
                f"{r['share_that_end_worse_than_base']:.0%}",
            ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def plot(results: dict, path: Path) -> None:
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "twofold"
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(1, len(PICKS), figsize=(9, 3.4), sharey=True)
    for axis, picks in zip(axes, PICKS, strict=True):
        for name in ("one draw", "mean", "pessimistic 1", "worst"):
            one = results[f"{name}, {picks} picks"]
            axis.plot(one["kl"], one["gold"], label=name)
        axis.set_title(f"{picks} picks, a quarter of them blind")
        axis.set_xlabel("KL to the start, nats")
        axis.axhline(0.0, linewidth=0.5, color="grey")
    axes[0].set_ylabel("true utility gained, sd")
    axes[0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


class Spied:
    """A reward model, some of whose members are asked; remembers the gold of all it scored."""

    def __init__(self, inner: object, rater: str, members: slice) -> None:
        self._inner, self._utility, self._members = inner, UTILITIES[rater], members
        self.gold: list[float] = []

    def score(self, prompt: Sequence, completions: Sequence) -> torch.Tensor:
        asked = prompt[-1].content
        self.gold += [self._utility(asked, c.text) for c in completions]
        return self._inner.score(prompt, completions)[self._members]


def under_ppo(world: World, rater: str, steps: int, seconds: float) -> None:
    """PPO against one member, and against the pessimistic ensemble; goes on where it stopped."""
    from learner.build import load_engine  # noqa: PLC0415
    from learner.config import EngineConfig  # noqa: PLC0415
    from learner.features import frozen_features  # noqa: PLC0415
    from learner.reward.featured import FeaturedReward  # noqa: PLC0415
    from learner.update_config import PpoConfig, RolloutConfig  # noqa: PLC0415
    from learner.updates.ppo import Ppo  # noqa: PLC0415

    began = time.perf_counter()
    engine = load_engine(resolve_model(), EngineConfig())
    prompts = [p.messages for p in pool_prompts() if p.part == "train"]
    done = json.loads(PPO_OUT.read_text()) if PPO_OUT.is_file() else {}
    arms = (("one draw", slice(0, 1), 0.0), ("ensemble", slice(None), 1.0))
    for name, members, pessimism in arms:
        key = f"{rater}, {name}"
        head = fitted(world, rater, PICKS[1], seed=0)
        spied = Spied(FeaturedReward(frozen_features(engine), head), rater, members)
        config = PpoConfig(
            learning_rate=3e-4,
            kl_weight=0.005,
            kl_adapts=False,
            ptx_weight=0.0,
            rollout=RolloutConfig(samples=2, pessimism=pessimism),
        )
        rule = Ppo(engine, spied, config, max_prompt_tokens=256)
        folder = pool_folder().parent / "overoptimisation" / key.replace(", ", "-")
        rows = done.setdefault(key, [])
        if not folder.is_dir():
            rows.clear()
        rule.begin(version_of(folder if rows else None), seed=0)
        for number in range(len(rows), steps):
            some = [prompts[(8 * number + i) % len(prompts)] for i in range(8)]
            spied.gold.clear()
            metrics = rule.step(some, (), seed=1000 * number)
            rows.append(
                {
                    "kl": round(metrics["kl"] * metrics["length_tokens"], 4),
                    "gold": round(float(np.mean(spied.gold)), 4),
                    "proxy": round(metrics["score"], 4),
                    "tokens": round(metrics["length_tokens"], 1),
                }
            )
            print(key, number, json.dumps(rows[-1]), flush=True)
            out_of_time = time.perf_counter() - began > seconds
            if out_of_time or number % SAVED_EVERY == SAVED_EVERY - 1 or number == steps - 1:
                folder.mkdir(parents=True, exist_ok=True)
                rule.save(folder)
                PPO_OUT.write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")
            if out_of_time:
                return
        rule.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--ppo", action="store_true")
    parser.add_argument("--rater", default="enthusiasm", choices=list(UTILITIES))
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = parser.parse_args()
    torch.set_grad_enabled(options.ppo)
    pools = load_pools(resolve_model().sha256)
    world = build_world(pools, cache=pool_folder())
    if options.ppo:
        under_ppo(world, options.rater, options.steps, options.seconds)
        return
    found = {
        "command": f"python -m benchmarks.learning.overoptimisation --seeds {options.seeds}",
        "prompts": {"train": len(world.train), "test": len(world.test)},
        "candidates": len(world.test[0].texts),
        "raters": len(UTILITIES),
        "seeds": options.seeds,
        "flips": BEHAVIOUR.flips,
        "results": on_stored_candidates(world, options.seeds),
    }
    OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    plot(found["results"], PLOT)
    print("\n".join(table(found["results"])))


if __name__ == "__main__":
    main()
