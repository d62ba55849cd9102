"""Log-probabilities of given texts, and the figures made from them.

One masked reduction serves the loss and everything that is logged, so that a logged KL is never
summed over padding that the loss leaves out. The language-model head runs on the reply's tokens
only: of a prompt's positions nobody needs the logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from learner.engine.backbone import Backbone
from storage.records import Completion, FinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredText:
    """A prompt and a reply as token ids; the reply's tokens are what is measured."""

    prompt_ids: tuple[int, ...]
    reply_ids: tuple[int, ...]


def supervised_ids(backbone: Backbone, completion: Completion) -> tuple[int, ...]:
    """The reply's tokens, with the end-of-sequence token where the policy itself ended it.

    A reply cut by the length limit gets none: the policy never chose to stop there.
    """
    ended = completion.finish_reason is FinishReason.STOP
    return completion.token_ids + ((backbone.pad_id,) if ended else ())


def reply_logits(
    backbone: Backbone, texts: Sequence[ScoredText]
) -> tuple[Float[Tensor, "B T V"], Int[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """Logits before each reply token, the tokens, and which places are real; T is the longest.

    Under whatever version the backbone lets speak now; gradients flow if enabled.
    """
    lengths = [len(t.prompt_ids) + len(t.reply_ids) for t in texts]
    B, longest, T = len(texts), max(lengths), max(len(t.reply_ids) for t in texts)
    ids = torch.full((B, longest), backbone.pad_id)
    mask = torch.zeros((B, longest), dtype=torch.long)
    before = torch.zeros((B, T), dtype=torch.long)  # position whose logits predict reply token t
    real = torch.zeros((B, T), dtype=torch.bool)
    for row, text in enumerate(texts):
        ids[row, : lengths[row]] = torch.tensor(text.prompt_ids + text.reply_ids)
        mask[row, : lengths[row]] = 1
        P, n = len(text.prompt_ids), len(text.reply_ids)
        before[row, :n] = torch.arange(P - 1, P - 1 + n)
        real[row, :n] = True
    ids, mask, before, real = (x.to(backbone.device) for x in (ids, mask, before, real))
    hidden = backbone.decoder(input_ids=ids, attention_mask=mask).last_hidden_state
    rows = torch.arange(B, device=ids.device)[:, None]
    logits = backbone.lm_head(hidden[rows, before]).float()
    token = ids[rows, (before + 1).clamp(max=longest - 1)]
    return logits, token, real


@torch.no_grad()
def token_logps(backbone: Backbone, text: ScoredText) -> list[float]:
    """log P of each reply token given all before it, in nats."""
    logits, token, _ = reply_logits(backbone, [text])
    logprob = logits.gather(2, token[..., None]).squeeze(2) - logits.logsumexp(dim=2)
    return logprob[0].tolist()


def reply_logps(backbone: Backbone, texts: Sequence[ScoredText]) -> Float[Tensor, " B"]:
    """log P(reply | prompt) in nats, summed over the reply's tokens."""
    logits, token, real = reply_logits(backbone, texts)
    logprob = logits.gather(2, token[..., None]).squeeze(2) - logits.logsumexp(dim=2)
    return logprob.masked_fill(~real, 0.0).sum(dim=1)


@torch.no_grad()
def kl_to_reference(backbone: Backbone, texts: Sequence[ScoredText]) -> list[float]:
    """KL(policy || reference) in nats per token of each text, exact over the vocabulary.

    The texts are to be samples of the version that speaks now; then the mean over them estimates
    the KL per token of its replies.
    """
    logits, _, real = reply_logits(backbone, texts)
    with backbone.reference():
        ref_logits, _, _ = reply_logits(backbone, texts)
    logp, ref_logp = logits.log_softmax(dim=2), ref_logits.log_softmax(dim=2)
    kl = (logp.exp() * (logp - ref_logp)).sum(dim=2).masked_fill(~real, 0.0)
    return (kl.sum(dim=1) / real.sum(dim=1).clamp(min=1)).tolist()


@torch.no_grad()
def perplexity(backbone: Backbone, token_ids: Sequence[int]) -> float:
    """exp of the mean negative log-probability of all tokens but the first."""
    text = ScoredText(prompt_ids=tuple(token_ids[:1]), reply_ids=tuple(token_ids[1:]))
    mean = reply_logps(backbone, [text]) / len(text.reply_ids)
    return float((-mean).exp())


def repetition(token_ids: Sequence[int]) -> float:
    """Share of token bigrams that occurred before in the same reply, 0 to 1.

    Tokens, not words: a reply of one emoji a hundred times over is a single word.
    """
    bigrams = list(pairwise(token_ids))
    return 1.0 - len(set(bigrams)) / len(bigrams) if bigrams else 0.0
