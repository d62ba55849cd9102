"""The stored pools as arrays: what the learner sees of them, and what the raters think of them."""

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from benchmarks.learning.drafts import Drafts
from benchmarks.learning.pools import Pool
from benchmarks.learning.raters import UTILITIES, calibrated
from learner.reward.style import style_features

NEAR_DUPLICATE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One prompt and its candidates."""

    part: str
    rungs: tuple[str, ...]
    texts: tuple[str, ...]
    style: Float[Tensor, "N S"]
    hidden: Float[Tensor, "N H"]
    usable: Bool[Tensor, "N N"]
    """Pairs that differ enough to be shown."""
    utility: dict[str, np.ndarray]
    """Each rater's utility of each candidate, logits."""
    drafts: Drafts | None = None
    """The same candidates as they were when it was decided whether to ask."""

    def of_kind(self, kind: str) -> list[int]:
        """Candidates of one rung: ``plain``, ``hot`` or ``styled`` (any instruction)."""
        if kind == "styled":
            return [i for i, r in enumerate(self.rungs) if r not in ("plain", "hot")]
        return [i for i, r in enumerate(self.rungs) if r == kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    train: list[Scene]
    test: list[Scene]
    spread: dict[str, float]
    """Standard deviation of each rater's utility among plain samples of one prompt."""
    common: dict[str, float]
    """Share of plain samples with a positive utility: how rare what is liked is."""
    base: dict[str, float]
    """Mean utility of the plain samples of the test prompts, logits."""


def build_world(
    pools: Sequence[Pool], cache: Path | None = None, drafts: Sequence[Drafts] | None = None
) -> World:
    raw = [_raw_utilities(pool) for pool in pools]
    both = list(zip(raw, pools, strict=True))
    scale = {
        name: calibrated([m for u, pool in both for m in _plain_margins(u[name], pool)])
        for name in UTILITIES
    }
    scenes = [
        Scene(
            part=pool.prompt.part,
            rungs=pool.rungs,
            texts=pool.texts,
            style=torch.tensor(
                [
                    style_features(pool.prompt.messages, text, finished=float(done))
                    for text, done in zip(pool.texts, pool.finished, strict=True)
                ]
            ),
            hidden=torch.from_numpy(pool.hidden).float(),
            usable=_usable(pool.texts, cache),
            utility={name: scale[name] * u[name] for name in UTILITIES},
            drafts=cut,
        )
        for pool, u, cut in zip(pools, raw, drafts or [None] * len(pools), strict=True)
    ]
    plain = [(s, s.of_kind("plain")) for s in scenes]
    return World(
        train=[s for s in scenes if s.part == "train"],
        test=[s for s in scenes if s.part == "test"],
        spread={
            name: float(np.sqrt(np.mean([s.utility[name][p].var() for s, p in plain])))
            for name in UTILITIES
        },
        common={
            name: float(
                np.mean([np.mean(u[name][p] > 0) for u, (_, p) in zip(raw, plain, strict=True)])
            )
            for name in UTILITIES
        },
        base={
            name: float(np.mean([s.utility[name][p].mean() for s, p in plain if s.part == "test"]))
            for name in UTILITIES
        },
    )


def _raw_utilities(pool: Pool) -> dict[str, np.ndarray]:
    asked = pool.prompt.messages[-1].content
    return {
        name: np.array([utility(asked, text) for text in pool.texts])
        for name, utility in UTILITIES.items()
    }


def _plain_margins(utility: np.ndarray, pool: Pool) -> list[float]:
    plain = [i for i, r in enumerate(pool.rungs) if r == "plain"]
    return [float(utility[i] - utility[j]) for i in plain for j in plain if i < j]


def _usable(texts: Sequence[str], cache: Path | None) -> Bool[Tensor, "N N"]:
    """As the app decides it; slow, so kept on disk by the texts' digest."""
    kept = None
    if cache is not None:
        digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:24]
        kept = cache / f"usable-{digest}.npy"
        if kept.is_file():
            return torch.from_numpy(np.load(kept))
    tidy = [" ".join(text.split()).lower() for text in texts]
    usable = np.zeros((len(texts), len(texts)), dtype=bool)
    for i in range(len(tidy)):
        for j in range(i + 1, len(tidy)):
            matcher = difflib.SequenceMatcher(None, tidy[i], tidy[j], autojunk=False)
            alike = (
                matcher.real_quick_ratio() >= NEAR_DUPLICATE
                and matcher.quick_ratio() >= NEAR_DUPLICATE
                and matcher.ratio() >= NEAR_DUPLICATE
            )
            usable[i, j] = usable[j, i] = bool(tidy[i] and tidy[j] and not alike)
    if kept is not None:
        np.save(kept, usable)
    return torch.from_numpy(usable)
