"""Drawing the next token of several rows, each from its own generator.

Every row owns a generator, so the same seed gives the same draw whatever else is in the batch.
Top-k comes before top-p: sorting k values per row instead of the whole vocabulary is what keeps
sampling off the critical path on a CPU.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from storage.records import Sampling


def sample_next(
    logits: Float[Tensor, "N V"], generators: Sequence[torch.Generator], sampling: Sampling
) -> tuple[Int[Tensor, " N"], Float[Tensor, " N"]]:
    """Draw one token a row and its log-probability in nats.

    The log-probability is that of the untempered, untruncated policy, which is what importance
    ratios and a KL to the reference need. Temperature 0 takes the most likely token.
    """
    logits = logits.float()
    if sampling.temperature == 0.0:
        top, tokens = logits.max(dim=-1, keepdim=True)
    else:
        top, tokens = logits.topk(min(sampling.top_k, logits.shape[-1]), dim=-1)  # descending
    return draw(top, tokens, logits.logsumexp(dim=-1), generators, sampling)


def draw(
    top: Float[Tensor, "N k"],
    tokens: Int[Tensor, "N k"],
    logsumexp: Float[Tensor, " N"],
    generators: Sequence[torch.Generator],
    sampling: Sampling,
) -> tuple[Int[Tensor, " N"], Float[Tensor, " N"]]:
    """The same from the ``k`` largest logits, best first, and each row's logsumexp over all."""
    if sampling.temperature == 0.0:
        return tokens[:, 0], top[:, 0] - logsumexp
    # Plain element-wise steps: softmax would wake a second thread, which then spins for
    # milliseconds on the core that the next step of the model needs.
    mass = ((top - top[:, :1]) / sampling.temperature).exp()  # (N, k), the best has 1
    cumulative = mass.cumsum(dim=-1)
    # A token stays while the mass before it is below top_p, so the best always stays.
    mass[cumulative - mass >= sampling.top_p * cumulative[:, -1:]] = 0.0
    cumulative = mass.cumsum(dim=-1)
    uniform = torch.cat([torch.rand(1, 1, generator=generator) for generator in generators])
    # Inverse of the cumulative distribution; the bound guards against u rounding up to the end.
    place = (cumulative <= uniform.to(top.device) * cumulative[:, -1:]).sum(dim=-1, keepdim=True)
    last = (mass > 0.0).sum(dim=-1, keepdim=True) - 1
    place = torch.minimum(place, last)
    return tokens.gather(1, place).squeeze(1), top.gather(1, place).squeeze(1) - logsumexp
