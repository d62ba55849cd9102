"""Losses as pure functions of log-probabilities in nats."""

from jaxtyping import Float
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
