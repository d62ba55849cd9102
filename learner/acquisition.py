"""Which pair to ask about, and whether to ask: pure functions and one small controller.

All of them take rewards (E, N) in logits, one row per ensemble member. See
docs/how-it-learns.md section 3; infomax is arXiv 2603.17378, section 2.1 of our reference.
"""

import math
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


def infomax_partner(
    rewards: Float[Tensor, "E N"], leader: int, usable: Bool[Tensor, " N"], regret_weight: float
) -> int:
    """The usable reply whose comparison with ``leader`` has the most variance, less its regret.

    Regret is how far the pair's better reply falls short of the best of all, in mean logits: a
    person reads what we ask about, so a question should hold a good reply.
    """
    mean = rewards.mean(dim=0)
    regret = mean.max() - torch.maximum(mean, mean[leader])
    value = win_prob_variance(rewards)[leader] - regret_weight * regret
    return int(value.masked_fill(~usable, -torch.inf).argmax())


def pessimistic_best(rewards: Float[Tensor, "E N"], pessimism: float) -> int:
    """The reply with the highest mean less ``pessimism`` standard deviations.

    Rewards mean something only as differences within a prompt, so each member's rewards are first
    centred on its own mean; otherwise an offset that all replies share would count as doubt.
    """
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    return int((centred.mean(dim=0) - pessimism * centred.std(dim=0, correction=0)).argmax())


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Decided on drafts: which reply streams, and whether a second one will be asked about."""

    leader: int
    reason: AskReason | None
    """None: the leader is all that is shown."""
    leader_first: bool
    """Whether the leader takes the first place of the pair; a coin toss."""
    by_rule: int
    """The leader the rule alone would have taken; another one only in a random question."""
    rule_asks: bool
    """Whether the rule alone would have asked."""


class Asker:
    """Decides turn by turn. Its threshold follows the budget, so that the budget is a ceiling:
    it can only rise above ``min_disagreement``, never force a question below it."""

    def __init__(self, config: AskConfig, *, pessimism: float) -> None:
        self.config = config
        self.threshold = config.min_disagreement
        self._pessimism = pessimism

    def open(
        self, rewards: Float[Tensor, "E N"], *, answers: int, generator: torch.Generator
    ) -> Opening:
        """Decide on the rewards of drafts. ``answers`` counts past picks."""
        best = pessimistic_best(rewards, self._pessimism)
        lucky = float(torch.rand((), generator=generator)) < self.config.random_share
        leader_first = float(torch.rand((), generator=generator)) < 0.5
        anyone = int(torch.randint(rewards.shape[1], (), generator=generator))
        reason = self._reason(rewards, lucky=lucky, answers=answers)
        random = reason is AskReason.RANDOM or (
            reason is not None and self.config.query is QueryRule.RANDOM
        )
        return Opening(
            leader=anyone if random else best,
            reason=reason,
            leader_first=leader_first,
            by_rule=best,
            rule_asks=self._reason(rewards, lucky=False, answers=answers) is not None,
        )

    def ask(
        self,
        opening: Opening,
        rewards: Float[Tensor, "E N"],
        usable: Bool[Tensor, "N N"],
        generator: torch.Generator,
    ) -> tuple[int, int, Question] | None:
        """The pair as shown and its question, decided on the finished replies.

        ``usable`` marks pairs that differ enough to be shown; None if no pair of the leader does.
        """
        partners = usable[opening.leader]
        if opening.reason is None or not partners.any():
            return None
        drawn = self._any_of(partners, generator)  # drawn in any case: one stream of draws a turn
        random = opening.reason is AskReason.RANDOM or self.config.query is QueryRule.RANDOM
        partner = drawn if random else self._by_rule(rewards, opening.leader, partners)
        pair = (opening.leader, partner) if opening.leader_first else (partner, opening.leader)
        p = torch.sigmoid(rewards[:, pair[0]] - rewards[:, pair[1]])
        question = Question(
            reason=opening.reason,
            propensity=self._propensity(pair, opening, rewards, usable),
            disagreement=float(p.std(correction=0)),
            first_better_prob=float(p.mean()),
        )
        return *pair, question

    def count_turn(self, *, asked: bool, answers: int) -> None:
        """Move the threshold after a turn on which asking was optional."""
        if self.config.mode is not AskMode.AUTO or answers < self.config.burn_in:
            return
        step = math.exp(CONTROLLER_GAIN * (asked - self.config.budget_share))
        self.threshold = max(self.config.min_disagreement, self.threshold * step)

    def _reason(
        self, rewards: Float[Tensor, "E N"], *, lucky: bool, answers: int
    ) -> AskReason | None:
        match self.config.mode:
            case AskMode.NEVER:
                return None
            case AskMode.ALWAYS:
                return AskReason.ALWAYS
            case AskMode.AUTO:
                pass
        if answers < self.config.burn_in:
            return AskReason.BURN_IN
        if lucky:
            return AskReason.RANDOM
        disagreement = float(win_prob_variance(rewards).max().sqrt())
        return AskReason.UNCERTAIN if disagreement >= self.threshold else None

    def _by_rule(
        self, rewards: Float[Tensor, "E N"], leader: int, partners: Bool[Tensor, " N"]
    ) -> int:
        return infomax_partner(rewards, leader, partners, self.config.regret_weight)

    def _propensity(
        self,
        pair: tuple[int, int],
        opening: Opening,
        rewards: Float[Tensor, "E N"],
        usable: Bool[Tensor, "N N"],
    ) -> float:
        """P(this pair is asked about, in either order), by the random share or by the rule.

        A random leader without a usable partner asks nothing, so a pair is drawn with probability
        1/N times one over the leader's usable partners, either way round.
        """
        partners = usable.sum(dim=1)
        drawn = sum(1.0 / (usable.shape[0] * int(partners[i])) for i in pair)
        if self.config.mode is not AskMode.AUTO or opening.reason is AskReason.BURN_IN:
            share = 0.0  # asked in any case; the random share has no turn
        else:
            share = self.config.random_share
        if self.config.query is QueryRule.RANDOM:
            return (share + (1.0 - share) * opening.rule_asks) * drawn
        leader = opening.by_rule
        by_rule = (
            opening.rule_asks
            and bool(usable[leader].any())
            and set(pair) == {leader, self._by_rule(rewards, leader, usable[leader])}
        )
        return share * drawn + (1.0 - share) * by_rule

    @staticmethod
    def _any_of(partners: Bool[Tensor, " N"], generator: torch.Generator) -> int:
        places = partners.nonzero().squeeze(1)
        return int(places[int(torch.randint(len(places), (), generator=generator))])
