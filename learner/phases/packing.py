"""Sequences of tokens in rows without padding, and the loss over those of them that are supervised.

Sequences of one row are strangers to each other: attention walks over them one by one and positions
start anew in each (``learner/engine/trees.py``). A model that cannot run such rows gets its
sequences padded, which gives the same numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from learner.engine.backbone import Backbone
from learner.engine.trees import Row, Tree
from learner.measures import token_logprobs


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSequence:
    """Token ids, and which of them are learned; the first never is: nothing predicts it."""

    ids: tuple[int, ...]
    supervised: tuple[bool, ...]

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.supervised):
            raise ValueError(f"{len(self.ids)} ids, {len(self.supervised)} marks")
        if not any(self.supervised[1:]):
            raise ValueError("a sequence without a supervised token teaches nothing")

    @property
    def learned(self) -> int:
        """How many tokens are learned."""
        return sum(self.supervised[1:])

    @property
    def places(self) -> list[int]:
        return [i for i, learned in enumerate(self.supervised) if learned and i]


def pack(sequences: Sequence[TokenSequence], row_tokens: int) -> list[list[TokenSequence]]:
    """Rows of at most ``row_tokens``, first fit by falling length; a longer one has its own row."""
    rows: list[list[TokenSequence]] = []
    room: list[int] = []
    for one in sorted(sequences, key=lambda s: -len(s.ids)):
        place = next((i for i, left in enumerate(room) if len(one.ids) <= left), None)
        if place is None:
            rows.append([])
            room.append(row_tokens)
            place = len(rows) - 1
        rows[place].append(one)
        room[place] -= len(one.ids)
    return rows


def learned_logprobs(backbone: Backbone, row: Sequence[TokenSequence]) -> Float[Tensor, " R"]:
    """log P in nats of each supervised token, sequence by sequence; gradients flow if enabled."""
    if not backbone.runs_trees:
        return _padded_logprobs(backbone, row)
    laid = Row([Tree(one.ids, ()) for one in row], backbone.device)
    before: list[int] = []
    tokens: list[int] = []
    start = 0
    for one in row:
        before += [start + place - 1 for place in one.places]
        tokens += [one.ids[place] for place in one.places]
        start += len(one.ids)
    hidden = backbone.hidden_states(laid.ids, **laid.inputs())[0]
    return _logprobs(backbone, hidden[torch.tensor(before, device=backbone.device)], tokens)


def _padded_logprobs(backbone: Backbone, row: Sequence[TokenSequence]) -> Float[Tensor, " R"]:
    width = max(len(one.ids) for one in row)
    ids = torch.full((len(row), width), backbone.pad_id)
    mask = torch.zeros_like(ids)
    for at, one in enumerate(row):
        ids[at, : len(one.ids)] = torch.tensor(one.ids)
        mask[at, : len(one.ids)] = 1
    ids, mask = ids.to(backbone.device), mask.to(backbone.device)
    hidden = backbone.hidden_states(ids, attention_mask=mask)
    before = torch.cat(
        [hidden[at, [place - 1 for place in one.places]] for at, one in enumerate(row)]
    )
    return _logprobs(backbone, before, [one.ids[place] for one in row for place in one.places])


def _logprobs(
    backbone: Backbone, hidden: Float[Tensor, "R d"], tokens: list[int]
) -> Float[Tensor, " R"]:
    return token_logprobs(hidden, backbone.lm_head, torch.tensor(tokens, device=backbone.device))
