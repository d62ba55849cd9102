"""One optimiser step as phases take it: sum over processes, clip, check, step, schedule."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn

from learner.moments import moments_of, set_moments
from learner.phases.world import World

MAX_SKIPPED = 3
"""Steps left out for a gradient that is not finite before the run fails."""


SKIPPED = "skipped_steps"
"""The only metric of a step that was left out: how many were so far."""


class Schedule(StrEnum):
    CONSTANT = "constant"
    LINEAR = "linear"
    """Falls to zero with the last step."""
    COSINE = "cosine"
    """Falls to a tenth along half a cosine (arXiv 2005.14165, B: to 10 % of the highest)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiserConfig:
    """AdamW, arXiv 1711.05101."""

    learning_rate: float = 2e-4
    schedule: Schedule = Schedule.COSINE
    warmup_share: float = 0.03
    """Share of all steps over which the learning rate rises from zero."""
    weight_decay: float = 0.0
    """On matrices only."""
    beta1: float = 0.9
    beta2: float = 0.99
    grad_clip: float = 1.0
    """Norm over all gradients above which they are scaled down."""

    def __post_init__(self) -> None:
        if not (self.learning_rate > 0 and self.grad_clip > 0):  # NaN is neither
            raise ValueError("learning_rate and grad_clip must be positive")
        for name in ("beta1", "beta2"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay must not be negative, got {self.weight_decay}")
        if not 0.0 <= self.warmup_share < 1.0:
            raise ValueError(f"warmup_share must lie in [0, 1), got {self.warmup_share}")

    def rate(self, number: int, steps: int) -> float:
        """The learning rate of step ``number``, counted from 0, of ``steps``."""
        warmup = math.ceil(self.warmup_share * steps)
        if number < warmup:
            return self.learning_rate * (number + 1) / warmup
        left = (steps - number) / max(1, steps - warmup)  # 1 just after the warm-up
        if self.schedule is Schedule.LINEAR:
            return self.learning_rate * left
        if self.schedule is Schedule.COSINE:
            return self.learning_rate * (0.1 + 0.45 * (1.0 - math.cos(math.pi * left)))
        return self.learning_rate


class Optimiser:
    """AdamW over parameters in a fixed order; its state can be kept and taken up."""

    def __init__(
        self, parameters: Sequence[nn.Parameter], config: OptimiserConfig, steps: int, world: World
    ) -> None:
        self._parameters = list(parameters)
        self._config = config
        self._steps = steps
        self._world = world
        self._skipped = 0
        groups = [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
        ]
        self._adam = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            fused=True,
        )

    def zero(self) -> None:
        self._adam.zero_grad(set_to_none=True)

    def step(self, number: int) -> dict[str, float]:
        """Apply the gradients that stand on the parameters, summed over the processes.

        A step whose gradient is not finite is left out. Raises FloatingPointError after the
        fourth of those.
        """
        self._world.sum_gradients(self._parameters)
        norm = nn.utils.clip_grad_norm_(self._parameters, self._config.grad_clip)
        if not torch.isfinite(norm):
            self._skipped += 1
            if self._skipped > MAX_SKIPPED:
                raise FloatingPointError(f"the gradient's norm is {float(norm)} again")
            self.zero()
            return {SKIPPED: float(self._skipped)}
        rate = self._config.rate(number, self._steps)
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()
        self.zero()
        return {"grad_norm": float(norm), "learning_rate": rate}

    def tensors(self) -> dict[str, Tensor]:
        return moments_of(self._adam)

    def values(self) -> dict[str, Any]:
        return {"skipped": self._skipped}

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        set_moments(self._adam, tensors)
        self._skipped = values["skipped"]
