"""A language task with a known optimum: one prompt, replies of one token, a reward for each token.

The best policy under a KL penalty of strength beta is pi_0 exp(r / beta) / Z, worth beta ln Z. The
rewards are such that the model can say just that: its last state, turned a little.
"""

from dataclasses import dataclass

import torch

from learner.engine.backbone import TRAINING_VERSION, Backbone
from learner.measures import ScoredText, reply_states
from learner.rendering import prompt_ids
from tests.learner.conftest import user

PROMPT = user("Pick one")
TURN = 0.96
"""Sine of the angle between the base's last state and the best one."""


class Bandit:
    """Each token has its own reward, and both members know it: a ``RewardModel``."""

    def __init__(self, backbone: Backbone, beta: float) -> None:
        self._backbone, self._beta = backbone, beta
        self._head = backbone.lm_head.weight.detach()
        start = self._last_state()
        aside = torch.randn(len(start), generator=torch.Generator().manual_seed(3))
        aside -= (aside @ start) / (start @ start) * start
        best = -((1 - TURN**2) ** 0.5) * start + TURN * aside / aside.norm() * start.norm()
        reward = beta * (self._head @ (best - start))
        self.reward = reward - reward.mean()
        self._start = (self._head @ start).log_softmax(0)
        self._best = (self._start + self.reward / beta).log_softmax(0)
        torch.testing.assert_close(
            self._best, (self._head @ best).log_softmax(0), atol=1e-4, rtol=1e-4
        )

    def score(self, prompt, completions):
        tokens = [(*c.token_ids, self._backbone.pad_id)[0] for c in completions]
        return self.reward[tokens].repeat(2, 1)

    def standing(self) -> "Standing":
        """Where the adapter in training stands."""
        self._backbone.use(TRAINING_VERSION)
        p = (self._head @ self._last_state()).log_softmax(0)
        at_start, best = self._value(self._start), self._value(self._best)
        return Standing(
            gain=float((self._value(p) - at_start) / (best - at_start)),
            kl_to_best=float((p.exp() * (p - self._best)).sum()),
            kl=float((p.exp() * (p - self._start)).sum()),
        )

    def _value(self, p: torch.Tensor) -> torch.Tensor:
        return (p.exp() * (self.reward - self._beta * (p - self._start))).sum()

    def _last_state(self) -> torch.Tensor:
        """The hidden state before the first token of a reply, under who speaks now."""
        ids = prompt_ids(self._backbone.tokenizer, PROMPT)
        with torch.no_grad():
            text = ScoredText(prompt_ids=ids, reply_ids=(5,))
            return reply_states(self._backbone, [text]).hidden[0]


@dataclass(frozen=True)
class Standing:
    gain: float
    """Share of the way in value from the base, 0, to the optimum, 1."""
    kl_to_best: float
    kl: float
