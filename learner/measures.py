"""Log-probabilities of given texts, and the figures made from them.

One path serves the loss and everything that is logged, so that a logged KL is never summed over
padding that the loss leaves out. The residual stream is float32 whatever the model's type, and the
language-model head runs on the replies' tokens only, some rows at a time: of a prompt's positions
nobody needs the logits, and all rows' logits together would be the largest tensor of the process.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.utils.checkpoint import checkpoint

from learner.engine.backbone import Backbone
from learner.engine.trees import Row, Tree
from storage.records import Completion, FinishReason, PolicyVersionId

HEAD_VALUES = 3 << 20
"""Logits held at once: 12 MB in float32, below what the allocator hands back to the system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredText:
    """A prompt and a reply as token ids; the reply's tokens are what is measured."""

    prompt_ids: tuple[int, ...]
    reply_ids: tuple[int, ...]


def supervised_ids(backbone: Backbone, completion: Completion) -> tuple[int, ...]:
    """The reply's tokens, and what ends a reply where the policy itself ended it.

    A reply cut by the length limit gets none: the policy never chose to stop there.
    """
    ended = completion.finish_reason is FinishReason.STOP
    return completion.token_ids + (backbone.end_ids if ended else ())


def reply_room(*completions: Completion) -> int:
    """Tokens that stood free behind the prompt when these replies to it were made."""
    return max(max(c.sampling.max_new_tokens, len(c.token_ids) + 1) for c in completions)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyStates:
    """Some replies' tokens, reply by reply, and the hidden state before each."""

    hidden: Float[Tensor, "R d"]
    tokens: Int[Tensor, " R"]
    lengths: tuple[int, ...]
    """Tokens of each reply."""


def tree_states(backbone: Backbone, trees: Sequence[Tree]) -> ReplyStates:
    """States of every reply, tree by tree; all trees are run as one row.

    Under whatever version the backbone lets speak now; gradients flow if enabled.
    """
    if not backbone.runs_trees:
        return reply_states(
            backbone,
            [
                ScoredText(prompt_ids=tree.prompt_ids, reply_ids=reply)
                for tree in trees
                for reply in tree.replies
            ],
        )
    row = Row(trees, backbone.device)
    hidden = backbone.hidden_states(row.ids, **row.inputs())[0, row.before]
    return ReplyStates(hidden=hidden, tokens=row.tokens, lengths=tuple(row.lengths))


def tree_logps(backbone: Backbone, trees: Sequence[Tree]) -> Float[Tensor, " N"]:
    """log P(reply | prompt) in nats of every reply, tree by tree."""
    states = tree_states(backbone, trees)
    return _sums(token_logprobs(states.hidden, backbone.lm_head, states.tokens), states.lengths)


def reply_logps(backbone: Backbone, texts: Sequence[ScoredText]) -> Float[Tensor, " B"]:
    """log P(reply | prompt) in nats, summed over the reply's tokens; texts padded to one length."""
    states = reply_states(backbone, texts)
    return _sums(token_logprobs(states.hidden, backbone.lm_head, states.tokens), states.lengths)


def reply_states(backbone: Backbone, texts: Sequence[ScoredText]) -> ReplyStates:
    """States of every reply; texts are padded to one length."""
    lengths = [len(t.prompt_ids) + len(t.reply_ids) for t in texts]
    ids = torch.full((len(texts), max(lengths)), backbone.pad_id)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : lengths[row]] = torch.tensor(text.prompt_ids + text.reply_ids)
        mask[row, : lengths[row]] = 1
    ids, mask = ids.to(backbone.device), mask.to(backbone.device)
    hidden = backbone.hidden_states(ids, attention_mask=mask)
    spans = [(len(t.prompt_ids), n) for t, n in zip(texts, lengths, strict=True)]
    return ReplyStates(
        hidden=torch.cat([hidden[row, P - 1 : n - 1] for row, (P, n) in enumerate(spans)]),
        tokens=torch.cat([ids[row, P:n] for row, (P, n) in enumerate(spans)]),
        lengths=tuple(len(text.reply_ids) for text in texts),
    )


def _sums(values: Float[Tensor, " R"], lengths: Sequence[int]) -> Float[Tensor, " N"]:
    return torch.stack([part.sum() for part in values.split(list(lengths))])


def token_logprobs(
    hidden: Float[Tensor, "R d"], head: nn.Linear, tokens: Int[Tensor, " R"]
) -> Float[Tensor, " R"]:
    """log P(token) in nats after each hidden state, float32; gradients flow into ``hidden``.

    And into the head where it trains too.
    """
    if head.weight.requires_grad and torch.is_grad_enabled():
        parts = [
            checkpoint(_slice_logprobs, hidden[rows], head, tokens[rows], use_reentrant=False)
            for rows in _slices(len(hidden), head.out_features)
        ]
        return torch.cat(parts) if parts else hidden.new_zeros(0)
    return _TokenLogprobs.apply(hidden, head, tokens)


def _slice_logprobs(
    hidden: Float[Tensor, "R d"], head: nn.Linear, tokens: Int[Tensor, " R"]
) -> Float[Tensor, " R"]:
    logits = _logits(head, hidden)
    return logits.gather(1, tokens[:, None]).squeeze(1) - logits.logsumexp(dim=1)


class _TokenLogprobs(torch.autograd.Function):
    """Logits in slices of rows, and the gradient made while a slice is at hand.

    d log p(token) / d hidden = W[token] - sum_v p(v) W[v] does not depend on what is done with the
    log-probabilities, so the backward pass is one product with their gradient and nothing is run
    twice; arXiv 2410.10989 (Liger) does the same for cross-entropy.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        hidden: Float[Tensor, "R d"],
        head: nn.Linear,
        tokens: Int[Tensor, " R"],
    ) -> Float[Tensor, " R"]:
        weight = head.weight
        wanted = ctx.needs_input_grad[0]
        slope = torch.empty_like(hidden) if wanted else None
        parts: list[Tensor] = []
        for rows in _slices(len(hidden), head.out_features):
            token = tokens[rows]
            logits = _logits(head, hidden[rows])
            normaliser = logits.logsumexp(dim=1, keepdim=True)
            parts.append(logits.gather(1, token[:, None]).sub_(normaliser).squeeze(1))
            if slope is not None:
                probabilities = logits.sub_(normaliser).exp_().to(weight.dtype)
                slope[rows] = weight[token].to(slope.dtype) - (probabilities @ weight)
        if slope is not None:
            ctx.save_for_backward(slope)
        return torch.cat(parts) if parts else hidden.new_zeros(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Float[Tensor, " R"]) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return slope * grad[:, None].to(slope.dtype), None, None


def _logits(head: nn.Linear, hidden: Float[Tensor, "R d"]) -> Float[Tensor, "R V"]:
    return head(hidden.to(head.weight.dtype)).float()


def _slices(rows: int, vocabulary: int) -> list[slice]:
    step = max(1, HEAD_VALUES // vocabulary)
    return [slice(start, start + step) for start in range(0, rows, step)]


@torch.no_grad()
def kl_to_reference(
    backbone: Backbone,
    texts: Sequence[ScoredText],
    reference: PolicyVersionId | None = None,
) -> list[float]:
    """KL(policy || reference) in nats per token of each text, exact over the vocabulary.

    The texts are to be samples of the version that speaks now; then the mean over them estimates
    the KL per token of its replies. ``reference`` is another version to measure from.
    """
    with backbone.reference() if reference is None else backbone.speaking(reference):
        known = reply_states(backbone, texts)
    return kl_to_states(backbone, texts, known)


@torch.no_grad()
def kl_to_states(
    backbone: Backbone, texts: Sequence[ScoredText], reference: ReplyStates
) -> list[float]:
    """The same where the states of the texts under the reference are known (``reply_states``)."""
    hidden = reply_states(backbone, texts).hidden
    kl = token_kl(hidden, reference.hidden, backbone.lm_head)
    sums = _sums(kl, reference.lengths).tolist()
    return [total / max(1, n) for total, n in zip(sums, reference.lengths, strict=True)]


def token_kl(
    hidden: Float[Tensor, "R d"], other: Float[Tensor, "R d"], head: nn.Linear
) -> Float[Tensor, " R"]:
    """KL(p || q) in nats at each place, exact over the vocabulary; gradients flow into both.

    p follows from ``hidden``, q from ``other``.
    """
    return _TokenKl.apply(hidden, other, head)


class _TokenKl(torch.autograd.Function):
    """Slices of logits as above. With z the logits of p and y those of q,

    d KL / d z = p (log p - log q - KL)  and  d KL / d y = q - p.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        hidden: Float[Tensor, "R d"],
        other: Float[Tensor, "R d"],
        head: nn.Linear,
    ) -> Float[Tensor, " R"]:
        weight = head.weight
        slopes = [
            torch.empty_like(x) if wanted else None
            for x, wanted in zip((hidden, other), ctx.needs_input_grad[:2], strict=True)
        ]
        parts: list[Tensor] = []
        for rows in _slices(len(hidden), head.out_features):
            logp, logq = (_logits(head, x[rows]).log_softmax(dim=1) for x in (hidden, other))
            p, apart = logp.exp(), logp - logq
            kl = (p * apart).sum(dim=1)
            parts.append(kl)
            if slopes[0] is not None:
                slopes[0][rows] = (p * (apart - kl[:, None])).to(weight.dtype) @ weight
            if slopes[1] is not None:
                slopes[1][rows] = (logq.exp() - p).to(weight.dtype) @ weight
        ctx.save_for_backward(*(slope for slope in slopes if slope is not None))
        ctx.wanted = [slope is not None for slope in slopes]
        return torch.cat(parts) if parts else hidden.new_zeros(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Float[Tensor, " R"]) -> tuple[Tensor | None, ...]:
        saved = iter(ctx.saved_tensors)
        slopes = [next(saved) if wanted else None for wanted in ctx.wanted]
        return (*(None if s is None else s * grad[:, None].to(s.dtype) for s in slopes), None)


@torch.no_grad()
def perplexity(backbone: Backbone, token_ids: Sequence[int]) -> float:
    """exp of the mean negative log-probability of all tokens but the first."""
    text = ScoredText(prompt_ids=tuple(token_ids[:1]), reply_ids=tuple(token_ids[1:]))
    mean = reply_logps(backbone, [text]) / len(text.reply_ids)
    return float((-mean).exp())


def repetition(token_ids: Sequence[int]) -> float:
    """Share of token bigrams that occurred before in the same reply, 0 to 1.

    This is seq-rep-2 of arXiv 1908.04319. Tokens, not words: a reply of one emoji a hundred times
    over is a single word.
    """
    bigrams = list(pairwise(token_ids))
    return 1.0 - len(set(bigrams)) / len(bigrams) if bigrams else 0.0
