"""Several replies to one prompt in one row, so that the prompt is run once for all of them.

A row is a sequence of trees, ``[prompt | reply | reply | prompt | reply ...]``. A reply's positions
go on from its prompt, and it sees the prompt and itself, nothing else (tree attention; for pairs:
arXiv 2410.20305). Attention walks over these spans one by one, so there is no padding, no mask of
row times row, and trees are strangers to each other. It hooks into transformers' registry of
attention functions; ``runs_trees`` tells whether a model's attention goes through there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "twofold_trees"
_UNKNOWN = ("sliding_window", "softcap", "s_aux", "position_bias")
"""What some models' attention does beside: they are run without trees."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A prompt and the replies to it, as token ids."""

    prompt_ids: tuple[int, ...]
    replies: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.prompt_ids) + sum(len(reply) for reply in self.replies)


@dataclass(frozen=True, slots=True)
class _Reply:
    start: int
    stop: int
    visible: Bool[Tensor, "T seen"]
    """Which of prompt and reply each token of the reply sees."""


@dataclass(frozen=True, slots=True)
class _Spans:
    """Where one tree lies in its row."""

    start: int
    prompt_stop: int
    replies: tuple[_Reply, ...]


class Row:
    """Trees laid out one after the other, ready to run."""

    def __init__(self, trees: Sequence[Tree], device: torch.device) -> None:
        ids: list[int] = []
        positions: list[int] = []
        before: list[int] = []
        spans: list[_Spans] = []
        self.lengths: list[int] = []
        """Tokens of each reply, tree by tree."""
        for tree in trees:
            start, P = len(ids), len(tree.prompt_ids)
            ids += tree.prompt_ids
            positions += range(P)
            replies: list[_Reply] = []
            for reply in tree.replies:
                at, T = len(ids), len(reply)
                ids += reply
                positions += range(P, P + T)
                before += [start + P - 1, *range(at, at + T - 1)] if T else []
                visible = torch.ones(T, P + T, dtype=torch.bool, device=device).tril(diagonal=P)
                if T:
                    replies.append(_Reply(at, at + T, visible))
                self.lengths.append(T)
            spans.append(_Spans(start, start + P, tuple(replies)))
        self.spans = tuple(spans)
        self.ids: Int[Tensor, "1 T"] = torch.tensor([ids], device=device)
        self.positions: Int[Tensor, "1 T"] = torch.tensor([positions], device=device)
        self.before: Int[Tensor, " R"] = torch.tensor(before, dtype=torch.long, device=device)
        """For each token of a reply the place whose hidden state predicts it."""
        tokens = [token for tree in trees for reply in tree.replies for token in reply]
        self.tokens: Int[Tensor, " R"] = torch.tensor(tokens, dtype=torch.long, device=device)

    def inputs(self) -> dict[str, object]:
        """What a decoder takes beside the ids. The mask says nothing, so that none is made."""
        return {
            "position_ids": self.positions,
            "attention_mask": torch.ones(1, 1, 1, 1, dtype=torch.bool, device=self.ids.device),
            "tree_spans": self.spans,
        }


def register(model: PreTrainedModel) -> None:
    """Let ``model`` attend over trees where it is given spans, and as ever where it is not."""
    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    model.set_attn_implementation(ATTENTION)


def _attention(
    module: nn.Module,
    query: Float[Tensor, "B H T d"],
    key: Float[Tensor, "B G S d"],
    value: Float[Tensor, "B G S d"],
    attention_mask: Tensor | None,
    *,
    tree_spans: tuple[_Spans, ...] | None = None,
    scaling: float | None = None,
    **options: object,
) -> tuple[Float[Tensor, "B T H d"], None]:
    """An attention function as transformers calls it."""
    if tree_spans is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
    unknown = [name for name in _UNKNOWN if options.get(name) is not None]
    if unknown:
        raise ValueError(f"attention over trees knows no {', '.join(unknown)}")
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, dim=1) if groups > 1 else x for x in (key, value))
    parts: list[Tensor] = []
    for tree in tree_spans:
        prompt = slice(tree.start, tree.prompt_stop)
        q, k, v = (x[:, :, prompt] for x in (query, key, value))
        parts.append(F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling))
        for reply in tree.replies:
            own = slice(reply.start, reply.stop)
            parts.append(
                F.scaled_dot_product_attention(
                    query[:, :, own],
                    torch.cat([k, key[:, :, own]], dim=2),
                    torch.cat([v, value[:, :, own]], dim=2),
                    attn_mask=reply.visible,
                    scale=scaling,
                )
            )
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None
