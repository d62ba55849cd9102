"""Scores on a reply's last state, and the loss of an order of replies.

Letters: E members, C criteria, N replies. Each member is trained on its own reweighting of the
answers (the Bayesian bootstrap), which gives the ensemble its spread.
"""

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from learner.losses import bradley_terry_loss
from learner.reward.ranked import RankedReplies
from storage.slates import Criterion


class Scores(nn.Module):
    """r = W h, one row of W for each member and criterion; h is the last token's hidden state."""

    def __init__(self, inputs: int, *, members: int, criteria: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        start = torch.randn(members, criteria, inputs, generator=generator)
        self.weight = nn.Parameter(start / (inputs + 1) ** 0.5 / 8.0)

    def forward(self, hidden: Float[Tensor, "N d"]) -> Float[Tensor, "E C N"]:
        return torch.einsum("ecd,nd->ecn", self.weight, hidden.float())


def ranking_loss(
    rewards: Float[Tensor, "E C N"],
    item: RankedReplies,
    criteria: Sequence[Criterion],
    member_weight: Float[Tensor, " E"],
    centring: float,
) -> Float[Tensor, ""]:
    """All pairs of one answer, summed over its criteria, mean over members.

    ``centring`` times the mean squared reward holds rewards near zero, which no pair does.
    """
    total = rewards.new_zeros(())
    for criterion, ranks in item.ranks.items():
        if criterion not in criteria:
            continue
        order = torch.tensor(ranks, dtype=rewards.dtype, device=rewards.device)
        for member, own in zip(rewards[:, criteria.index(criterion)], member_weight, strict=True):
            loss = bradley_terry_loss(member, order) + centring * member.square().mean()
            total = total + own * loss
    return item.weight * total / len(member_weight)


def member_weights(item: RankedReplies, members: int, seed: int) -> Float[Tensor, " E"]:
    """How much this answer counts for each member: exponential draws, mean 1 (Rubin 1981).

    A function of the texts and the seed alone; a single member counts every answer once.
    """
    if members == 1:
        return torch.ones(1)
    said = repr((seed, item.prompt[-1].content, item.texts)).encode()
    number = int.from_bytes(hashlib.sha256(said).digest()[:8], "big") >> 1
    generator = torch.Generator().manual_seed(number)
    return torch.empty(members).exponential_(generator=generator)
