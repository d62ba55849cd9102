"""Which pair to ask about, and whether to ask: pure functions and one small controller.

All of them take rewards (E, N) in logits, one row per ensemble member. See
docs/how-it-learns.md section 3; infomax is arXiv 2603.17378, section 2.1 of our reference.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from learner.config import AskConfig, AskMode, QueryRule
from storage.records import AskReason, Question

CONTROLLER_GAIN = 0.1
"""How fast the threshold follows the budget, per turn, in log units."""


def win_probs(rewards: Float[Tensor, "E N"]) -> Float[Tensor, "E N N"]:
    """P(i is better than j) under each member, by Bradley-Terry."""
    return torch.sigmoid(rewards[:, :, None] - rewards[:, None, :])


def win_prob_variance(rewards: Float[Tensor, "E N"]) -> Float[Tensor, "N N"]:
    """Variance over the members of P(i is better than j): symmetric, zero on the diagonal."""
    return win_probs(rewards).var(dim=0, correction=0)


def regret_aware_infomax(
    rewards: Float[Tensor, "E N"], usable: Bool[Tensor, "N N"], regret_weight: float
) -> tuple[int, int]:
    """The usable pair i < j with the most variance, less the regret of showing it.

    Regret is how far the pair's better reply falls short of the best of all, in mean logits: a
    person reads what we ask about, so a question should hold a good reply.
    """
    mean = rewards.mean(dim=0)
    regret = mean.max() - torch.maximum(mean[:, None], mean[None, :])
    value = win_prob_variance(rewards) - regret_weight * regret
    value = value.masked_fill(~usable.triu(diagonal=1), -torch.inf)
    i, j = divmod(int(value.argmax()), value.shape[1])
    return i, j


def pessimistic_best(rewards: Float[Tensor, "E N"], pessimism: float) -> int:
    """The reply with the highest mean less ``pessimism`` standard deviations.

    Rewards mean something only as differences within a prompt, so each member's rewards are first
    centred on its own mean; otherwise an offset that all replies share would count as doubt.
    """
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    return int((centred.mean(dim=0) - pessimism * centred.std(dim=0, correction=0)).argmax())


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to show: a pair with its question, or the one best reply."""

    best: int
    pair: tuple[int, int] | None
    question: Question | None


class Asker:
    """Decides turn by turn. Its threshold follows the budget, so that the budget is a ceiling:
    it can only rise above ``min_disagreement``, never force a question below it."""

    def __init__(self, config: AskConfig, *, pessimism: float) -> None:
        self.config = config
        self.threshold = config.min_disagreement
        self._pessimism = pessimism

    def decide(
        self,
        rewards: Float[Tensor, "E N"],
        usable: Bool[Tensor, "N N"],
        *,
        answers: int,
        generator: torch.Generator,
    ) -> Decision:
        """``usable`` marks pairs that differ enough to be shown; ``answers`` counts past picks."""
        best = pessimistic_best(rewards, self._pessimism)
        pairs = usable.triu(diagonal=1).nonzero().tolist()
        if self.config.mode is AskMode.NEVER or not pairs:
            return Decision(best=best, pair=None, question=None)
        wanted = self._wanted_pair(rewards, usable, pairs, generator)
        lucky = float(torch.rand((), generator=generator)) < self.config.random_share
        i, j = self._random(pairs, generator) if lucky else wanted
        reason = self._reason(rewards, wanted, lucky=lucky, answers=answers)
        if reason is None:
            return Decision(best=best, pair=None, question=None)
        if torch.rand((), generator=generator) < 0.5:  # which is shown first is a coin toss
            i, j = j, i
        p = win_probs(rewards)[:, i, j]
        would_ask = self._reason(rewards, wanted, lucky=False, answers=answers) is not None
        question = Question(
            reason=reason,
            propensity=self._propensity((i, j), wanted, len(pairs), would_ask=would_ask),
            disagreement=float(p.std(correction=0)),
            first_better_prob=float(p.mean()),
        )
        return Decision(best=best, pair=(i, j), question=question)

    def count_turn(self, decision: Decision, *, answers: int) -> None:
        """Move the threshold after a turn on which asking was possible and optional."""
        if self.config.mode is not AskMode.AUTO or answers < self.config.burn_in:
            return
        asked = 1.0 if decision.pair else 0.0
        step = torch.tensor(CONTROLLER_GAIN * (asked - self.config.budget_share)).exp()
        self.threshold = max(self.config.min_disagreement, self.threshold * float(step))

    def _wanted_pair(
        self,
        rewards: Float[Tensor, "E N"],
        usable: Bool[Tensor, "N N"],
        pairs: list[list[int]],
        generator: torch.Generator,
    ) -> tuple[int, int]:
        if self.config.query is QueryRule.RANDOM:
            return self._random(pairs, generator)
        return regret_aware_infomax(rewards, usable, self.config.regret_weight)

    def _reason(
        self, rewards: Float[Tensor, "E N"], pair: tuple[int, int], *, lucky: bool, answers: int
    ) -> AskReason | None:
        if self.config.mode is AskMode.ALWAYS:
            return AskReason.ALWAYS
        if answers < self.config.burn_in:
            return AskReason.BURN_IN
        if lucky:
            return AskReason.RANDOM
        disagreement = float(win_prob_variance(rewards)[pair].sqrt())
        return AskReason.UNCERTAIN if disagreement >= self.threshold else None

    def _propensity(
        self, pair: tuple[int, int], wanted: tuple[int, int], pairs: int, *, would_ask: bool
    ) -> float:
        """P(this pair is asked), in whichever order: by the random share, or by the rule."""
        share = self.config.random_share
        if self.config.query is QueryRule.RANDOM:
            return (share + (1 - share) * would_ask) / pairs
        by_rule = would_ask and set(pair) == set(wanted)
        return share / pairs + (1 - share) * by_rule

    @staticmethod
    def _random(pairs: list[list[int]], generator: torch.Generator) -> tuple[int, int]:
        i, j = pairs[int(torch.randint(len(pairs), (), generator=generator))]
        return i, j
