"""How much better than expected: from rewards to advantages, as pure functions.

B replies padded to T tokens with a mask, or G prompts with N replies each. Nothing here carries a
gradient.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def padded(
    values: Float[Tensor, " R"], lengths: Sequence[int]
) -> tuple[Float[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """Values that stand reply after reply, one reply a row; the mask says which are real."""
    T = max(lengths)
    mask = torch.arange(T)[None] < torch.tensor(list(lengths))[:, None]
    mask = mask.to(values.device)
    rows = values.new_zeros(len(lengths), T)
    rows[mask] = values
    return rows, mask


def generalised_advantages(
    rewards: Float[Tensor, "B T"],
    values: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    discount: float,
    gae_lambda: float,
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """Advantages and returns of each token: GAE, arXiv 1506.02438, equation 16.

    ``delta_t = r_t + discount V_{t+1} - V_t`` and ``A_t = delta_t + discount lambda A_{t+1}``;
    after a reply's last token nothing is worth anything. A return is ``A_t + V_t``.
    """
    rewards, values = rewards.masked_fill(~mask, 0.0), values.masked_fill(~mask, 0.0)
    advantages = torch.zeros_like(rewards)
    after = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        value_after = values[:, t + 1] if t + 1 < rewards.shape[1] else torch.zeros_like(after)
        delta = rewards[:, t] + discount * value_after - values[:, t]
        after = (delta + discount * gae_lambda * after).masked_fill(~mask[:, t], 0.0)
        advantages[:, t] = after
    return advantages, (advantages + values).masked_fill(~mask, 0.0)


def whitened(values: Float[Tensor, " R"]) -> Float[Tensor, " R"]:
    """Mean 0 and standard deviation 1; all alike become 0."""
    return (values - values.mean()) / (values.std(correction=0) + 1e-8)


def leave_one_out(rewards: Float[Tensor, "G N"]) -> Float[Tensor, "G N"]:
    """Each reward less the mean of the others of its prompt: RLOO, arXiv 2402.14740, equation 8."""
    N = rewards.shape[1]
    return (rewards - rewards.mean(dim=1, keepdim=True)) * (N / (N - 1))


def standardised(rewards: Float[Tensor, "G N"]) -> Float[Tensor, "G N"]:
    """Each reward less its prompt's mean, over its standard deviation: GRPO, arXiv 2402.03300."""
    mean, std = rewards.mean(dim=1, keepdim=True), rewards.std(dim=1, keepdim=True)
    return (rewards - mean) / (std + 1e-4)


def doubted(
    prob: Float[Tensor, " B"], std: Float[Tensor, " B"], *, doubt: float, nudge: float
) -> Float[Tensor, " B"]:
    """Advantage of the first of a pair over the second (docs/how-it-learns.md section 4).

    ``sign(p - 1/2) max(0, |p - 1/2| - doubt s) + nudge``: what the ensemble is unsure of shrinks to
    the nudge. Taking ``doubt s`` off both orders would push both replies down as soon as it exceeds
    the nudge.
    """
    margin = prob - 0.5
    return margin.sign() * (margin.abs() - doubt * std).clamp(min=0.0) + nudge
