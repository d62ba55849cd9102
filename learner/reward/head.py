"""The reward ensemble: a Bayesian Bradley-Terry head on frozen features, refit after each pick.

A reply's features are its style (``style.py``) and the leading principal components of its pooled
hidden state; a pair adds the position covariate (+1 for the reply shown first), which is dropped
when scoring. Posterior draws made from *fixed* noise are the members of the ensemble, so that a
member is stable from one refit to the next. See docs/how-it-learns.md section 2.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from learner.config import RewardConfig
from learner.reward.components import Components, principal_components
from learner.reward.laplace import Picks, Posterior, fit_posterior
from learner.reward.lengths import LengthForecast
from learner.reward.style import STYLE_NAMES, style_features
from storage.records import (
    Candidate,
    CandidateId,
    Choice,
    Completion,
    Message,
    Preference,
)

POSITION = len(STYLE_NAMES)
"""The weights' order is style, position, hidden components."""


@dataclass(slots=True)
class _Rows:
    """Picks as differences of raw features, before the hidden states are projected."""

    style: list[Float[Tensor, " S"]] = field(default_factory=list[Tensor])
    hidden: list[Float[Tensor, " H"]] = field(default_factory=list[Tensor])
    position: list[float] = field(default_factory=list[float])
    tie: list[bool] = field(default_factory=list[bool])
    weight: list[float] = field(default_factory=list[float])


class BayesianRewardHead:
    """Scores replies in logits, with uncertainty. Not thread-safe."""

    def __init__(self, config: RewardConfig, *, seed: int) -> None:
        self.config = config
        self.lengths = LengthForecast()
        generator = torch.Generator().manual_seed(seed)
        width = len(STYLE_NAMES) + 1 + config.hidden_components
        self._noise = torch.randn(
            (config.draws, width), generator=generator, dtype=torch.float64
        )  # (E, D)
        self._style_of: dict[CandidateId, Tensor] = {}
        self._components: Components | None = None
        self._picks_at_basis = 0
        self._posterior = self._solve(_Rows())

    @property
    def style_weights(self) -> dict[str, float]:
        """Mean weight of each style feature, in logits per typical difference."""
        return dict(zip(STYLE_NAMES, self._posterior.mean.tolist(), strict=False))

    @property
    def position_weight(self) -> float:
        """How many logits being shown first is worth."""
        return float(self._posterior.mean[POSITION])

    def score(
        self, prompt: Sequence[Message], completions: Sequence[Completion]
    ) -> Float[Tensor, "E N"]:
        """Rewards in logits; only differences within one prompt mean anything.

        A reply that is still being written is scored at the length it is expected to reach.
        Raises ValueError where a completion has no feature.
        """
        style = torch.stack([self._style(prompt, c) for c in completions])
        hidden = None
        if self._components is not None:
            hidden = torch.stack([_hidden(c) for c in completions])
        return self._rewards(style, hidden)

    def fit(self, preferences: Sequence[Preference]) -> dict[str, float]:
        """Refit on all live picks. Returns picks used, milliseconds, Newton steps.

        Skips teach nothing; "both are bad" puts both below the mean of all replies shown.
        """
        began = time.perf_counter()
        self._observe_lengths(preferences)
        rows = self._rows(preferences)
        self._posterior = self._solve(rows)
        return {
            "reward_picks": float(len(rows.tie)),
            "reward_fit_ms": 1000 * (time.perf_counter() - began),
            "reward_newton_steps": float(self._posterior.steps),
        }

    def fit_differences(
        self,
        *,
        style: Float[Tensor, "n S"],
        hidden: Float[Tensor, "n H"],
        position: Float[Tensor, " n"],
        weight: Float[Tensor, " n"] | None = None,
    ) -> None:
        """Fit on wins given directly as feature differences, winner minus loser."""
        n = len(style)
        rows = _Rows(
            style=list(style.double()),
            hidden=list(hidden.double()),
            position=position.tolist(),
            tie=[False] * n,
            weight=[1.0] * n if weight is None else weight.tolist(),
        )
        self._posterior = self._solve(rows)

    def margin_draws(
        self, style: Float[Tensor, "n S"], hidden: Float[Tensor, "n H"]
    ) -> Float[Tensor, "E n"]:
        """Rewards of feature differences under each member, position left out."""
        return self._rewards(style.double(), hidden.double())

    def _rewards(
        self, style: Float[Tensor, "n S"], hidden: Float[Tensor, "n H"] | None
    ) -> Float[Tensor, "E n"]:
        """Every member's reward of these features; the position covariate stays out."""
        phi = style
        if self._components is not None and hidden is not None:
            phi = torch.cat([style, self._components.project(hidden)], dim=1)
        mean, scale = self._posterior.mean, self._posterior.scale
        members = mean + self._noise[:, : len(mean)] @ scale.T  # (E, D)
        weights = torch.cat([members[:, :POSITION], members[:, POSITION + 1 :]], dim=1)
        return (weights @ phi.T).float()

    # -- rows ----------------------------------------------------------------------------------

    def _rows(self, preferences: Sequence[Preference]) -> _Rows:
        rows = _Rows()
        both_bad: list[Preference] = []
        for preference in preferences:
            comparison = preference.comparison
            if preference.choice is Choice.BOTH_BAD:
                both_bad.append(preference)
                continue
            if preference.choice not in (Choice.FIRST, Choice.SECOND, Choice.TIE):
                continue
            sign = -1.0 if preference.choice is Choice.SECOND else 1.0
            first, second = comparison.first, comparison.second
            rows.style.append(
                sign * (self._stored_style(preference, 0) - self._stored_style(preference, 1))
            )
            rows.hidden.append(sign * (_hidden(first.completion) - _hidden(second.completion)))
            rows.position.append(sign)
            rows.tie.append(preference.choice is Choice.TIE)
            rows.weight.append(1.0)
        if both_bad:
            self._add_both_bad(rows, preferences, both_bad)
        return rows

    def _add_both_bad(
        self, rows: _Rows, preferences: Sequence[Preference], both_bad: Sequence[Preference]
    ) -> None:
        """Put both replies below the mean of all replies shown: a floor they did not reach."""
        shown = [(p, i) for p in preferences for i in (0, 1)]
        mean_style = torch.stack([self._stored_style(p, i) for p, i in shown]).mean(dim=0)
        mean_hidden = torch.stack([_hidden(_shown(p, i).completion) for p, i in shown]).mean(dim=0)
        for preference in both_bad:
            for i in (0, 1):
                rows.style.append(mean_style - self._stored_style(preference, i))
                rows.hidden.append(mean_hidden - _hidden(_shown(preference, i).completion))
                rows.position.append(0.0)
                rows.tie.append(False)
                rows.weight.append(self.config.both_bad_weight)

    def _stored_style(self, preference: Preference, index: int) -> Float[Tensor, " S"]:
        candidate = _shown(preference, index)
        if candidate.id not in self._style_of:
            self._style_of[candidate.id] = self._style(
                preference.comparison.prompt, candidate.completion
            )
        return self._style_of[candidate.id]

    def _style(self, prompt: Sequence[Message], completion: Completion) -> Float[Tensor, " S"]:
        tokens, finished = self.lengths.expected(completion)
        growth = tokens / max(1, len(completion.token_ids))
        features = style_features(prompt, completion.text, growth=growth, finished=finished)
        return torch.tensor(features, dtype=torch.float64)

    def _observe_lengths(self, preferences: Sequence[Preference]) -> None:
        for preference in preferences:
            for candidate in (preference.comparison.first, preference.comparison.second):
                self.lengths.observe(candidate.completion)

    # -- posterior -----------------------------------------------------------------------------

    def _solve(self, rows: _Rows) -> Posterior:
        config, n = self.config, len(rows.tie)
        self._refresh_components(rows)
        style = torch.stack(rows.style) if n else torch.zeros((0, len(STYLE_NAMES))).double()
        position = torch.tensor(rows.position, dtype=torch.float64)[:, None]
        columns = [style, position]
        stds = [config.style_prior_std] * len(STYLE_NAMES) + [config.position_prior_std]
        if self._components is not None:
            columns.append(self._components.project(torch.stack(rows.hidden)))
            stds += [config.hidden_prior_std] * columns[-1].shape[1]
        return fit_posterior(
            Picks(
                z=torch.cat(columns, dim=1),
                tie=torch.tensor(rows.tie, dtype=torch.bool),
                weight=torch.tensor(rows.weight, dtype=torch.float64),
            ),
            torch.tensor(stds, dtype=torch.float64),
            eps=config.flip_rate,
            nu=config.tie_strength,
        )

    def _refresh_components(self, rows: _Rows) -> None:
        """Renew the basis when the picks have grown by a tenth; it needs no labels, only pairs."""
        n = len(rows.hidden)
        if n < 2 or self.config.hidden_components == 0:
            self._components = None
        elif self._components is None or not 0.9 < self._picks_at_basis / n <= 1.0:
            self._components = principal_components(
                torch.stack(rows.hidden), self.config.hidden_components
            )
            self._picks_at_basis = n


def _shown(preference: Preference, index: int) -> Candidate:
    return (preference.comparison.first, preference.comparison.second)[index]


def _hidden(completion: Completion) -> Float[Tensor, " H"]:
    if completion.feature is None:
        raise ValueError("the completion has no feature yet; extract it before scoring")
    return torch.frombuffer(bytearray(completion.feature), dtype=torch.float16).double()
