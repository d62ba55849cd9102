"""Which pair is worth asking about: the rules, each as its paper has it.

A rule says with which probability it takes a reply as the *leader*, held to be better, and then,
given the leader, another as its *partner*; most rules are sure. So whoever draws from them can log
the propensity of every pair. Rewards are (E, N) in logits, one row per ensemble member.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from learner.config import AskConfig, QueryRule

BOUND_STDS = 2.0
"""Width of the confidence bounds of delta-UCB."""
REDRAWS = 20
"""How often double Thompson sampling draws again when both draws name the same reply."""

Probs = Float[Tensor, " N"]
Leader = Callable[[Float[Tensor, "E N"]], Probs]
Partner = Callable[[Float[Tensor, "E N"], int, Bool[Tensor, " N"]], Probs]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    leader: Leader
    partner: Partner
    """Zero outside the usable replies, of which there is at least one."""


def rule_of(config: AskConfig, pessimism: float) -> Rule:
    """The rule that ``config.query`` names."""
    match config.query:
        case QueryRule.RANDOM:
            return Rule(leader=anyone, partner=any_partner)
        case QueryRule.INFOMAX:
            return _widest_pair(win_prob_variance)
        case QueryRule.ENTROPY:
            return _widest_pair(win_entropy)
        case QueryRule.DOUBLE_THOMPSON:
            return Rule(leader=favourites, partner=thompson_partner)
        case QueryRule.DELTA_UCB:
            return Rule(leader=highest_bound, partner=lowest_bound)
        case QueryRule.REGRET_AWARE:
            return Rule(
                leader=lambda r: _surely(pessimistic_best(r, pessimism), r.shape[1]),
                partner=lambda r, leader, usable: _surely(
                    regret_aware_partner(r, leader, usable, config.regret_weight), r.shape[1]
                ),
            )


# -- what the ensemble thinks of pairs -------------------------------------------------------------


def win_probs(rewards: Float[Tensor, "E N"]) -> Float[Tensor, "E N N"]:
    """P(i is better than j) under each member, by Bradley-Terry."""
    return torch.sigmoid(rewards[:, :, None] - rewards[:, None, :])


def win_prob_variance(rewards: Float[Tensor, "E N"]) -> Float[Tensor, "N N"]:
    """Infomax (arXiv 2603.17378): variance over members of P(i is better than j).

    Symmetric, zero on the diagonal.
    """
    return win_probs(rewards).var(dim=0, correction=0)


def win_entropy(rewards: Float[Tensor, "E N"]) -> Float[Tensor, "N N"]:
    """Entropy in nats of the answer, by the mean P(i is better than j); zero on the diagonal."""
    p = win_probs(rewards).mean(dim=0)
    entropy = -torch.xlogy(p, p) - torch.xlogy(1 - p, 1 - p)
    return entropy.fill_diagonal_(0.0)


def pessimistic_best(rewards: Float[Tensor, "E N"], pessimism: float) -> int:
    """The reply with the highest mean less ``pessimism`` standard deviations.

    Rewards mean something only as differences within a prompt, so each member's rewards are first
    centred on its own mean; otherwise an offset that all replies share would count as doubt.
    """
    mean, std = _centred(rewards)
    return int((mean - pessimism * std).argmax())


# -- the rules -------------------------------------------------------------------------------------


def regret_aware_partner(
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


def _widest_pair(measure: Callable[[Float[Tensor, "E N"]], Float[Tensor, "N N"]]) -> Rule:
    """The pair with the largest measure of all; its better reply leads."""

    def leader(rewards: Float[Tensor, "E N"]) -> Probs:
        N = rewards.shape[1]
        i, j = divmod(int(measure(rewards).argmax()), N)
        mean = rewards.mean(dim=0)
        return _surely(i if mean[i] >= mean[j] else j, N)

    def partner(rewards: Float[Tensor, "E N"], lead: int, usable: Bool[Tensor, " N"]) -> Probs:
        row = measure(rewards)[lead].masked_fill(~usable, -torch.inf)
        return _surely(int(row.argmax()), rewards.shape[1])

    return Rule(leader=leader, partner=partner)


def favourites(rewards: Float[Tensor, "E N"]) -> Probs:
    """Share of the members whose best reply each one is: a Thompson draw (arXiv 2402.00396)."""
    best = rewards.argmax(dim=1)
    return torch.bincount(best, minlength=rewards.shape[1]).double() / len(best)


def thompson_partner(
    rewards: Float[Tensor, "E N"], leader: int, usable: Bool[Tensor, " N"]
) -> Probs:
    """A second draw, again and again until it names another usable reply; then any of them."""
    wanted = favourites(rewards) * usable
    missed = (1.0 - wanted.sum()).clamp(min=0.0)
    drawn_anew = (1.0 - missed**REDRAWS) / (1.0 - missed) if float(missed) < 1.0 else 0.0
    return wanted * drawn_anew + missed**REDRAWS * any_partner(rewards, leader, usable)


def highest_bound(rewards: Float[Tensor, "E N"]) -> Probs:
    """Delta-UCB (arXiv 2603.09692), argmax of UCB(i) - LCB(j): the i ..."""
    mean, std = _centred(rewards)
    return _surely(int((mean + BOUND_STDS * std).argmax()), rewards.shape[1])


def lowest_bound(rewards: Float[Tensor, "E N"], leader: int, usable: Bool[Tensor, " N"]) -> Probs:  # noqa: ARG001
    """... and the j."""
    mean, std = _centred(rewards)
    lowest = (mean - BOUND_STDS * std).masked_fill(~usable, torch.inf)
    return _surely(int(lowest.argmin()), rewards.shape[1])


def anyone(rewards: Float[Tensor, "E N"]) -> Probs:
    N = rewards.shape[1]
    return torch.full((N,), 1.0 / N, dtype=torch.float64)


def any_partner(rewards: Float[Tensor, "E N"], leader: int, usable: Bool[Tensor, " N"]) -> Probs:  # noqa: ARG001
    return usable.double() / usable.sum()


# -- what an answer is worth -----------------------------------------------------------------------


def value_of_answer(
    rewards: Float[Tensor, "E N"], first: int, second: int, recent: Float[Tensor, "M E K"]
) -> float:
    """How much better the best of K would become on average, in logits, once the answer is known.

    The knowledge gradient (Frazier, Powell & Dayanik 2008) with the ensemble as posterior: an
    answer weighs member k by the chance it gave to it, p_k or 1 - p_k. ``recent`` holds the rewards
    of the candidates of M recent messages, which stand for those to come.
    """
    p = torch.sigmoid(rewards[:, first] - rewards[:, second]).double()
    centred = (recent - recent.mean(dim=2, keepdim=True)).double()

    def best(weight: Float[Tensor, " E"]) -> Tensor:
        return torch.einsum("e,mek->mk", weight / weight.sum(), centred).max(dim=1).values.mean()

    chance = p.mean()
    known = chance * best(p) + (1 - chance) * best(1 - p)
    return float(known - best(torch.ones_like(p)))


def _centred(rewards: Float[Tensor, "E N"]) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Mean and standard deviation over members, each centred on its own mean."""
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    return centred.mean(dim=0), centred.std(dim=0, correction=0)


def _surely(index: int, of: int) -> Probs:
    probs = torch.zeros(of, dtype=torch.float64)
    probs[index] = 1.0
    return probs
