"""Group relative policy optimisation (arXiv 2402.03300, equations 3 and 4).

Rewards are standardised within each prompt's group; every token of a reply has its advantage and a
ratio of its own; the KL to the reference stands in the loss, by the estimator k3. The mean is over
a reply's tokens first, then over replies.
"""

from jaxtyping import Float
from torch import Tensor

from learner.advantages import standardised
from learner.losses import clipped_policy_loss, k3
from learner.updates.group import GroupRule


class Grpo(GroupRule):
    name = "grpo"

    def advantages(
        self,
        scores: Float[Tensor, "G N"],
        drift: Float[Tensor, "G N"],  # noqa: ARG002 - the KL is in the loss
    ) -> Float[Tensor, "G N"]:
        return standardised(scores)

    def loss(
        self,
        logprobs: Float[Tensor, " T"],
        old_logprobs: Float[Tensor, " T"],
        ref_logprobs: Float[Tensor, " T"],
        advantage: Float[Tensor, ""],
    ) -> Float[Tensor, ""]:
        """The clipped surrogate and the KL penalty, mean over tokens."""
        clip = self._config.clip
        surrogate = clipped_policy_loss(
            logprobs, old_logprobs, advantage.expand_as(logprobs), low=clip, high=clip
        )
        return (surrogate + self._config.kl_weight * k3(logprobs, ref_logprobs)).mean()
