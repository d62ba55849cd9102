"""The value head: what a reply is expected to be worth, at each of its tokens.

One hidden layer on the policy's last hidden states, which get no gradient from it: a critic that
bends the policy's trunk would change what the policy says. It starts at the mean reward.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ValueHead(nn.Module):
    """V(s) = b + w tanh(W norm(h)); w starts at 0, so that V starts at b everywhere."""

    def __init__(self, inputs: int, width: int, *, start: float, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        bound = 1.0 / math.sqrt(inputs)
        inner = torch.empty(width, inputs).uniform_(-bound, bound, generator=generator)
        self.inner = nn.Parameter(inner)
        self.inner_bias = nn.Parameter(torch.zeros(width))
        self.outer = nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.tensor(start))

    def forward(self, hidden: Float[Tensor, "R d"]) -> Float[Tensor, " R"]:
        """Values in normalised reward; ``hidden`` is detached here."""
        h = nn.functional.layer_norm(hidden.detach().float(), hidden.shape[-1:])
        return (h @ self.inner.T + self.inner_bias).tanh() @ self.outer + self.bias
