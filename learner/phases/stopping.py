"""When a run has stopped getting better, and which of its weights to keep."""

from collections.abc import Mapping, Sequence
from typing import Any

from learner.phases.protocol import Aim


class Stopping:
    """Watches measurements against the aims.

    A run goes on while *any* aim improved within the last ``patience`` measurements. Kept are the
    weights best by the first aim without ``slack``, among those at which every aim with ``slack``
    was within it of its best so far. So with (held-out loss, slack 0.05; reward score) the loss may
    rise a little while replies still get better, and no further (arXiv 2203.02155, 3.5: their
    choice by reward score alone overfits the demonstrations after one epoch). Once a loss with
    ``slack`` has fallen, what there was before the first step does not compete by score: it is what
    the others are set against, so its own is one half, and the luck of a few prompts would decide.
    """

    def __init__(self, aims: Sequence[Aim], patience: int) -> None:
        self._aims = aims
        self._patience = patience
        self._best: dict[str, float] = {}
        self._stale = 0
        self._kept: dict[str, float] = {}
        self.kept_step: int | None = None
        """Whose weights to keep; None: the last ones."""

    @property
    def exhausted(self) -> bool:
        return bool(self._aims) and 0 < self._patience <= self._stale

    def see(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Take in a measurement; whether its weights are the ones to keep."""
        aims = [aim for aim in self._aims if aim.metric in metrics]
        if not aims:
            return False
        values = {aim.metric: _falling(aim, metrics[aim.metric]) for aim in aims}
        better = [m for m, value in values.items() if value < self._best.get(m, float("inf"))]
        self._best |= {metric: values[metric] for metric in better}
        self._stale = 0 if better else self._stale + 1
        if not self._within_slack(aims, values):
            return False
        leading = next((aim for aim in aims if aim.slack is None), aims[0]).metric
        beaten = (
            not self._kept
            or not self._within_slack(aims, self._kept)
            or (self.kept_step == 0 and self._fell(aims, values))
            or values[leading] < self._kept.get(leading, float("inf"))
        )
        if beaten:
            self._kept, self.kept_step = values, step
        return beaten

    def _within_slack(self, aims: Sequence[Aim], values: Mapping[str, float]) -> bool:
        return all(
            aim.slack is None or values[aim.metric] <= self._best[aim.metric] + aim.slack
            for aim in aims
            if aim.metric in values
        )

    def _fell(self, aims: Sequence[Aim], values: Mapping[str, float]) -> bool:
        """Whether an aim with ``slack`` is better than in what is kept."""
        return any(
            aim.slack is not None
            and aim.metric in self._kept
            and values[aim.metric] < self._kept[aim.metric]
            for aim in aims
        )

    def state(self) -> dict[str, Any]:
        return {
            "best": self._best,
            "stale": self._stale,
            "kept": self._kept,
            "kept_step": self.kept_step,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._best = dict(state["best"])
        self._stale = state["stale"]
        self._kept = dict(state["kept"])
        self.kept_step = state["kept_step"]


def _falling(aim: Aim, value: float) -> float:
    return -value if aim.higher_is_better else value
