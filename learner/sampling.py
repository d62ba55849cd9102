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
        token = logits.argmax(dim=-1)
    else:
        top, index = logits.topk(min(sampling.top_k, logits.shape[-1]), dim=-1)  # descending
        probs = (top / sampling.temperature).softmax(dim=-1)  # (N, K)
        # A token stays while the mass before it is below top_p, so the best always stays.
        probs = probs.masked_fill(probs.cumsum(dim=-1) - probs >= sampling.top_p, 0.0)
        rows = [
            torch.multinomial(row, 1, generator=generator)
            for row, generator in zip(probs.cpu(), generators, strict=True)
        ]
        token = index.gather(1, torch.stack(rows).to(index.device)).squeeze(1)
    logprob = logits.gather(1, token[:, None]).squeeze(1) - logits.logsumexp(dim=-1)
    return token, logprob
