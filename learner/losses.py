"""Losses as pure functions of log-probabilities in nats: B pairs or replies, R tokens."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F


def dpo_loss(
    chosen_logp: Float[Tensor, " B"],
    rejected_logp: Float[Tensor, " B"],
    ref_chosen_logp: Float[Tensor, " B"],
    ref_rejected_logp: Float[Tensor, " B"],
    chosen_prob: Float[Tensor, " B"],
    beta: float,
) -> Float[Tensor, " B"]:
    """Direct preference optimisation with soft labels, one value a pair.

    arXiv 2305.18290, equation 7, and its conservative form: ``chosen_prob`` is the probability
    that the pair is labelled the right way round, 1 for a certain label. With
    ``m = beta * ((chosen - ref_chosen) - (rejected - ref_rejected))`` the loss is
    ``-p * log sigmoid(m) - (1 - p) * log sigmoid(-m)``.
    """
    margin = beta * ((chosen_logp - ref_chosen_logp) - (rejected_logp - ref_rejected_logp))
    return -(chosen_prob * F.logsigmoid(margin) + (1.0 - chosen_prob) * F.logsigmoid(-margin))


def clipped_policy_loss(
    logprobs: Float[Tensor, " R"],
    old_logprobs: Float[Tensor, " R"],
    advantages: Float[Tensor, " R"],
    *,
    low: float,
    high: float,
) -> Float[Tensor, " R"]:
    """PPO's surrogate with its sign turned, one value a token: arXiv 1707.06347, equation 7.

    ``-min(rho A, clip(rho, 1 - low, 1 + high) A)`` with ``rho = exp(logprobs - old_logprobs)``.
    """
    ratio = (logprobs - old_logprobs).exp()
    clipped = ratio.clamp(1.0 - low, 1.0 + high)
    return -torch.minimum(ratio * advantages, clipped * advantages)


def clipped_value_loss(
    values: Float[Tensor, " R"],
    old_values: Float[Tensor, " R"],
    returns: Float[Tensor, " R"],
    clip: float,
) -> Float[Tensor, " R"]:
    """Half the larger squared error of a value and of one that moved at most ``clip``.

    The form of arXiv 1909.08593's code: a value may not run away from where it was.
    """
    held = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns) ** 2, (held - returns) ** 2)


def kto_loss(
    logp: Float[Tensor, " B"],
    ref_logp: Float[Tensor, " B"],
    desirable: Bool[Tensor, " B"],
    weight: Float[Tensor, " B"],
    kl: Float[Tensor, ""],
    beta: float,
) -> Float[Tensor, " B"]:
    """Kahneman-Tversky optimisation, one value a reply: arXiv 2402.01306, equations 7 and 8.

    ``kl`` is the reference point z_0, an estimate of KL(policy || reference) that carries no
    gradient and is never negative. Gains and losses are both seen from there.
    """
    gain = beta * (logp - ref_logp - kl)
    return weight * (1.0 - torch.sigmoid(torch.where(desirable, gain, -gain)))


def k3(logprobs: Float[Tensor, " R"], ref_logprobs: Float[Tensor, " R"]) -> Float[Tensor, " R"]:
    """The estimator of KL(policy || reference) that is never negative, one value a token.

    ``exp(-d) - 1 + d`` with ``d = logprobs - ref_logprobs``, on tokens of the policy: unbiased, and
    of less variance than d itself, which is k1 (John Schulman, "Approximating KL divergence").
    """
    d = logprobs - ref_logprobs
    return (-d).exp() - 1.0 + d


def bradley_terry_loss(
    rewards: Float[Tensor, " N"], ranks: Float[Tensor, " N"]
) -> Float[Tensor, ""]:
    """All pairs of one ranking with weight 1 / C(N, 2): arXiv 2203.02155, equation 1.

    ``ranks`` are the places, the best lowest; of two in the same place each is the better one with
    probability one half, so a tie says that their rewards are alike.
    """
    N = len(rewards)
    i, j = torch.triu_indices(N, N, offset=1, device=rewards.device)
    margin = rewards[i] - rewards[j]
    first = 0.5 * (1.0 + (ranks[j] - ranks[i]).sign())  # probability that i is the better one
    return -(first * F.logsigmoid(margin) + (1.0 - first) * F.logsigmoid(-margin)).mean()
