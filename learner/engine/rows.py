"""Candidates while they decode: drawn tokens, who still runs, and the records in the end.

Knows no model: an engine gives it drawn tokens and asks which places of its batch go on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from learner.few_shot import STOP, before_stop, shown
from storage.records import Completion, FinishReason, PolicyVersionId, Sampling

_TAIL = 12
"""Newest tokens that may hold the end of a reply."""


@dataclass(slots=True)
class _Row:
    generator: torch.Generator
    seed: int
    style: str | None
    token_ids: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    finish_reason: FinishReason = FinishReason.ABORTED


class CandidateRows:
    """Row i draws from ``seeds[i]``. All rows begin in the batch; finished ones leave it."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        eos_ids: Sequence[int],
        version: PolicyVersionId,
        sampling: Sampling,
        seeds: Sequence[int],
        styles: Sequence[str | None] | None = None,
        *,
        few_shot: bool = False,
    ) -> None:
        """``styles`` names the hidden instruction of each row, None where it has none.

        ``few_shot``: a reply ends in words (few_shot.py), not only by a token.
        """
        self.sampling = sampling
        self._few_shot = few_shot
        self._tokenizer = tokenizer
        self._eos_ids = frozenset(eos_ids)
        self._version = version
        self._rows = [
            _Row(torch.Generator().manual_seed(seed), seed, style)
            for seed, style in zip(seeds, styles or [None] * len(seeds), strict=True)
        ]
        self.places = list(range(len(seeds)))
        """Which row sits at each place of the batch."""

    @property
    def running(self) -> bool:
        return bool(self.places)

    def done(self, row: int) -> bool:
        return row not in self.places

    def lengths(self) -> list[int]:
        return [len(row.token_ids) for row in self._rows]

    def generators(self) -> list[torch.Generator]:
        """Of the rows in the batch, in order of their places."""
        return [self._rows[i].generator for i in self.places]

    def add(self, token: Int[Tensor, " N"], logprob: Float[Tensor, " N"]) -> list[int]:
        """Take one drawn token for each place; returns the places that go on, which remain."""
        going: list[int] = []
        for place, (t, p) in enumerate(zip(token.tolist(), logprob.tolist(), strict=True)):
            row = self._rows[self.places[place]]
            if t in self._eos_ids:
                row.finish_reason = FinishReason.STOP
                continue
            row.token_ids.append(t)
            row.logprobs.append(p)
            if self._few_shot and self._ended_in_words(row):
                row.finish_reason = FinishReason.STOP
            elif len(row.token_ids) == self.sampling.max_new_tokens:
                row.finish_reason = FinishReason.LENGTH
            else:
                going.append(place)
        self.places = [self.places[place] for place in going]
        return going

    def drop(self, rows: Sequence[int]) -> list[int]:
        """Take ``rows`` out of the batch, ABORTED; returns the places that remain."""
        kept = [place for place, row in enumerate(self.places) if row not in rows]
        self.places = [self.places[place] for place in kept]
        return kept

    def text(self, row: int) -> str:
        text = decode_text(self._tokenizer, self._rows[row].token_ids)
        if not self._few_shot:
            return text
        # Its tokens begin with the blank after "Assistant:", and may end with one.
        return text.strip() if self.done(row) else shown(text).lstrip()

    def _ended_in_words(self, row: _Row) -> bool:
        """Whether the reply's end is written; the tokens that write it are taken away again.

        One that also writes the reply's last letters stays: in many vocabularies a full stop and
        the line's end are one token.
        """
        if STOP not in decode_text(self._tokenizer, row.token_ids[-_TAIL:]):
            return False
        said = before_stop(decode_text(self._tokenizer, row.token_ids)) or ""
        while row.token_ids and len(decode_text(self._tokenizer, row.token_ids[:-1])) >= len(said):
            row.token_ids.pop()
            row.logprobs.pop()
        return True

    def completions(self) -> list[Completion]:
        return [
            Completion(
                text=self.text(i),
                token_ids=tuple(row.token_ids),
                logprobs=tuple(row.logprobs),
                finish_reason=row.finish_reason,
                policy_version=self._version,
                seed=row.seed,
                sampling=self.sampling,
                style=row.style,
            )
            for i, row in enumerate(self._rows)
        ]


class RowsOfBatch:
    """What every engine's batch tells of its rows; how they go on is the engine's own."""

    def __init__(self, rows: CandidateRows, dropped_messages: int) -> None:
        self.dropped_messages = dropped_messages
        self._rows = rows

    @property
    def running(self) -> bool:
        return self._rows.running

    def done(self, row: int) -> bool:
        return self._rows.done(row)

    def lengths(self) -> list[int]:
        return self._rows.lengths()

    def text(self, row: int) -> str:
        return self._rows.text(row)

    def completions(self) -> list[Completion]:
        return self._rows.completions()


def decode_text(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> str:
    """The text of a reply so far; bytes of an unfinished character wait for the rest."""
    text: str = tokenizer.decode(token_ids, skip_special_tokens=True)
    return text.rstrip("\N{REPLACEMENT CHARACTER}")
