"""From what a person said to rows of the likelihood, in the order in which it was said.

    pick          φ(picked) - φ(other), position +1 or -1                weight 1, may be a tie
    written pair  the same without a position: nobody was asked          weight 1
    both bad      φ̄ - φ(first) and φ̄ - φ(second)                         weight ``both_bad_weight``
    thumb         ±(φ - φ̄), thumb offset ±1                              weight ``thumb_weight``
    ranking       φ(better) - φ(worse) of all C(N, 2) pairs, or a tie     ``ranking_weight``, shared

φ̄ is the mean of all replies shown before: what replies usually are. It is taken at the time of the
verdict, and so is the length that a reply cut by an early choice would have reached: what comes
later does not change what was said. Of such a pair both are taken as they were read at the choice:
the picked one's end, with its lists and its repetition, was written after it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import torch
from jaxtyping import Float

from learner.config import RewardConfig
from learner.reward.laplace import Rows
from learner.reward.lengths import LengthForecast
from learner.reward.signals import Ordered, Signal, Thumb
from storage.records import Choice, Completion, FinishReason, Message, Preference
from storage.slates import ranked_pairs

Phi = Float[np.ndarray, " F"]
"""Features of one reply: style, then hidden components."""
PhiOf = Callable[[Sequence[Message], Completion, LengthForecast], Phi]
"""A reply's features; of one that was cut, they follow from the lengths known by then."""

_ANSWERS = (Choice.FIRST, Choice.SECOND, Choice.TIE, Choice.BOTH_BAD)
_DECIDED = {Choice.FIRST: 1.0, Choice.SECOND: -1.0, Choice.TIE: 1.0}


@dataclass(slots=True)
class RowWriter:
    """Writes rows for whatever was said since the last call, or anew where the past changed."""

    config: RewardConfig
    phi_of: PhiOf
    style: int
    """How many of the features come before the covariates."""
    _written: list[object] = field(default_factory=list[object])
    _z: list[Phi] = field(default_factory=list[Phi])
    _covariates: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    _tie: list[bool] = field(default_factory=list[bool])
    _may_tie: list[bool] = field(default_factory=list[bool])
    _weight: list[float] = field(default_factory=list[float])
    _starts: list[int] = field(default_factory=list[int])
    _answered: list[int] = field(default_factory=list[int])
    """Of every answer, how many rows there were before."""
    _lengths: LengthForecast = field(default_factory=LengthForecast)
    """Of the picks written so far: one's own, so that no other reply a process saw counts."""
    _usual: Phi | None = None
    _seen: int = 0

    def write(self, preferences: Sequence[Preference], signals: Sequence[Signal]) -> Rows:
        """All rows, oldest first. Skips and withdrawn picks write none.

        The rows follow from the arguments alone: what was written before only saves time.
        """
        said: list[Preference | Signal] = [*preferences, *signals]
        if signals:
            said.sort(key=_time)
        keys: list[object] = [_key(what) for what in said]
        if self._written != keys[: len(self._written)]:
            self._forget()
        for what in said[len(self._written) :]:
            before = len(self._tie)
            match what:
                case Preference():
                    self._pick(what)
                case Thumb():
                    self._thumb(what)
                case Ordered():
                    self._ordered(what)
            if len(self._tie) > before:
                self._starts.append(before)
        self._written = keys
        return self._rows()

    @property
    def starts(self) -> tuple[int, ...]:
        """Of each thing said that wrote rows, the first of them; a ranking of N wrote C(N, 2)."""
        return tuple(self._starts)

    def answers_since(self, row: int) -> int:
        """How many of the answers were given from this row on; skips are none."""
        return sum(before >= row for before in self._answered)

    def _forget(self) -> None:
        rows = (self._z, self._covariates, self._tie, self._may_tie, self._weight)
        for kept in (*rows, self._starts, self._answered):
            kept.clear()
        self._written, self._usual, self._seen = [], None, 0
        self._lengths = LengthForecast()

    def _pick(self, pick: Preference) -> None:
        if pick.choice is Choice.WITHDRAWN:
            return
        shown = (pick.comparison.first.completion, pick.comparison.second.completion)
        asked = pick.comparison.question.reason.asked  # else nobody saw them side by side
        for reply in shown if asked else ():  # nor did the policy write both
            self._lengths.observe(reply)
        as_read = (_as_read(*shown), _as_read(*shown[::-1]))
        first, second = (self._phi(pick.comparison.prompt, reply) for reply in as_read)
        if pick.choice in _ANSWERS:
            self._answered.append(len(self._tie))
        if pick.choice in _DECIDED:
            sign, tie = _DECIDED[pick.choice], pick.choice is Choice.TIE
            self._add(
                sign * (first - second),
                1.0,
                position=sign if asked else 0.0,
                tie=tie,
                may_tie=asked or tie,
            )
        elif pick.choice is Choice.BOTH_BAD and self._usual is not None:
            for phi in (first, second):
                self._add(self._usual - phi, self.config.both_bad_weight)
        for reply in shown if asked else ():
            self._show(self._phi(pick.comparison.prompt, reply))

    def _thumb(self, thumb: Thumb) -> None:
        phi = self._phi(thumb.prompt, thumb.completion)
        usual = phi if self._usual is None else self._usual  # then only the offset learns
        sign = 1.0 if thumb.up else -1.0
        self._add(sign * (phi - usual), self.config.thumb_weight, offset=sign)
        self._show(phi)

    def _ordered(self, said: Ordered) -> None:
        phis = [self._phi(said.prompt, one) for one in said.completions]
        pairs = ranked_pairs(said.ranks)
        for pair in pairs:
            self._add(
                phis[pair.better] - phis[pair.worse],
                self.config.ranking_weight / len(pairs),
                tie=pair.tied,
                may_tie=True,
            )
        for phi in phis:
            self._show(phi)

    def _phi(self, prompt: Sequence[Message], completion: Completion) -> Phi:
        return self.phi_of(prompt, completion, self._lengths)

    def _show(self, phi: Phi) -> None:
        self._seen += 1
        self._usual = phi if self._usual is None else self._usual + (phi - self._usual) / self._seen

    def _add(
        self,
        z: Phi,
        weight: float,
        *,
        position: float = 0.0,
        offset: float = 0.0,
        tie: bool = False,
        may_tie: bool = False,
    ) -> None:
        self._z.append(z)
        self._covariates.append((position, offset))
        self._tie.append(tie)
        self._may_tie.append(may_tie)
        self._weight.append(weight)

    def _rows(self) -> Rows:
        n = len(self._tie)
        if not n:
            return no_rows(0)
        z = np.array(self._z)
        covariates = np.array(self._covariates)
        ordered = np.concatenate([z[:, : self.style], covariates, z[:, self.style :]], axis=1)
        return Rows(
            z=torch.from_numpy(ordered),
            tie=torch.tensor(self._tie, dtype=torch.bool),
            may_tie=torch.tensor(self._may_tie, dtype=torch.bool),
            weight=torch.tensor(self._weight, dtype=torch.float64),
        )


def no_rows(width: int) -> Rows:
    return Rows(
        z=torch.zeros((0, width), dtype=torch.float64),
        tie=torch.zeros(0, dtype=torch.bool),
        may_tie=torch.zeros(0, dtype=torch.bool),
        weight=torch.zeros(0, dtype=torch.float64),
    )


def _as_read(reply: Completion, beside: Completion) -> Completion:
    """As it stood when an early choice cut the one beside it; whole where nothing was cut.

    Its text is cut in proportion to its tokens, since what writes rows has no tokenizer.
    """
    cut, tokens = len(beside.token_ids), len(reply.token_ids)
    if beside.finish_reason is not FinishReason.ABORTED or tokens <= cut:
        return reply
    return replace(
        reply,
        text=reply.text[: round(len(reply.text) * cut / tokens)],
        token_ids=reply.token_ids[:cut],
        logprobs=reply.logprobs[:cut],
        finish_reason=FinishReason.ABORTED,
    )


def _time(said: Preference | Signal) -> datetime:
    return said.decided_at if isinstance(said, Preference) else said.at


def _key(said: Preference | Signal) -> object:
    """What makes a row the same row."""
    if isinstance(said, Preference):
        return (said.id, said.choice)
    return said
