"""REINFORCE leave-one-out (arXiv 2402.14740): each reply against the mean of the others.

The whole reply is one action, so its ratio is that of the sequence, and the KL to the reference is
taken off its reward: ``R = score - beta (log pi - log pi_0)``, ``A_i = R_i - mean_{j != i} R_j``.
"""

from jaxtyping import Float
from torch import Tensor

from learner.advantages import leave_one_out
from learner.losses import clipped_policy_loss
from learner.updates.group import GroupRule


class Rloo(GroupRule):
    name = "rloo"

    def advantages(
        self, scores: Float[Tensor, "G N"], drift: Float[Tensor, "G N"]
    ) -> Float[Tensor, "G N"]:
        return leave_one_out(scores - self._config.kl_weight * drift)

    def loss(
        self,
        logprobs: Float[Tensor, " T"],
        old_logprobs: Float[Tensor, " T"],
        ref_logprobs: Float[Tensor, " T"],  # noqa: ARG002 - it is in the advantage
        advantage: Float[Tensor, ""],
    ) -> Float[Tensor, ""]:
        """The clipped surrogate of the sequence's ratio."""
        clip = self._config.clip
        return clipped_policy_loss(
            logprobs.sum()[None], old_logprobs.sum()[None], advantage[None], low=clip, high=clip
        ).squeeze(0)
