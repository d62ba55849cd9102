"""The reward ensemble: a Bayesian Bradley-Terry head on frozen features, refit after each pick.

A reply's features are its style (``style.py``) and its pooled hidden state along a few directions
(``components.py``): shipped ones where the base model is the one they were made for, else the
principal components of the picks. What was said becomes rows (``rows.py``), rows a mixture of
posteriors (``mixture.py``). Draws from it made of *fixed* noise are the members of the ensemble, so
that a member is stable from one refit to the next. See docs/how-it-learns.md section 2.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from learner.config import RewardConfig
from learner.reward.components import Components, pairs_for_basis, principal_components
from learner.reward.laplace import Hypotheses, Rows
from learner.reward.lengths import LengthForecast
from learner.reward.mixture import Mixture, TasteModel
from learner.reward.rows import Phi, RowWriter, no_rows
from learner.reward.signals import Ordered, Signal
from learner.reward.style import STYLE_NAMES, style_features
from learner.reward.taste import HIDDEN, POSITION, Taste, hypotheses
from storage.records import Choice, Completion, FinishReason, Message, Preference, PreferenceId

STYLES = len(STYLE_NAMES)


class BayesianRewardHead:
    """Scores replies in logits, with uncertainty. Not thread-safe."""

    def __init__(self, config: RewardConfig, *, seed: int, taste: Taste | None = None) -> None:
        """``taste`` is what ships for this base model (``taste.load_taste``)."""
        self.config = config
        self.lengths = LengthForecast()
        self._taste = taste
        generator = torch.Generator().manual_seed(seed)
        width = HIDDEN + config.hidden_components
        self._noise = torch.randn(
            (config.draws, width), generator=generator, dtype=torch.float64
        )  # (E, D)
        order = torch.randperm(config.draws, generator=generator)
        self._places = (order.double() + 0.5) / config.draws  # which component a member is from
        self._model = TasteModel(expected_picks=config.picks_between_changes)
        self._styles: dict[tuple[object, ...], Float[np.ndarray, " S"]] = {}
        self._phis: dict[tuple[object, ...], Phi] = {}
        self._measured: set[PreferenceId] = set()
        self._answers = 0
        self._writer = self._new_writer()
        self._components = self._shipped_basis()
        self._basis_of: object = None  # the pairs it was made of
        self._prior = self._hypotheses()
        self._show(self._model.fit(self._empty(), self._prior, nu=config.tie_strength))

    # -- what it believes ----------------------------------------------------------------------

    @property
    def mixture(self) -> Mixture:
        return self._mixture

    @property
    def style_weights(self) -> dict[str, float]:
        """Mean weight of each style feature, in logits per typical difference."""
        return dict(zip(STYLE_NAMES, self._mixture.average.tolist(), strict=False))

    @property
    def position_weight(self) -> float:
        """How many logits being shown first is worth."""
        return float(self._mixture.average[POSITION])

    @property
    def flip_rate(self) -> float:
        """Estimated share of picks made at random."""
        return float(self._mixture.weight @ self._mixture.flip_rate)

    @property
    def change_prob(self) -> float:
        """Probability that the taste changed lately; the ensemble has widened accordingly."""
        return self._mixture.change_prob

    @property
    def answers(self) -> int:
        """How many answers still count: those since the last believed change of taste."""
        return self._answers

    # -- scoring -------------------------------------------------------------------------------

    def score(
        self, prompt: Sequence[Message], completions: Sequence[Completion]
    ) -> Float[Tensor, "E N"]:
        """Rewards in logits; only differences within one prompt mean anything.

        A reply that is still being written is scored at the length it is expected to reach.
        Raises ValueError where a completion has no feature.
        """
        style = self._styles_of(prompt, completions)
        if self._components is None:
            return self._rewards(style, None)
        return self._rewards(style, _hiddens(completions))

    def features(
        self, prompt: Sequence[Message], completions: Sequence[Completion]
    ) -> tuple[Float[Tensor, "N S"], Float[Tensor, "N H"]]:
        """Style features and hidden states. Raises ValueError where a completion has none."""
        return self._styles_of(prompt, completions), _hiddens(completions)

    def margin_draws(
        self, style: Float[Tensor, "n S"], hidden: Float[Tensor, "n H"]
    ) -> Float[Tensor, "E n"]:
        """Rewards of feature differences under each member, position left out."""
        return self._rewards(style.double(), hidden.double())

    def _rewards(
        self, style: Float[Tensor, "n S"], hidden: Float[Tensor, "n H"] | None
    ) -> Float[Tensor, "E n"]:
        phi = style
        if self._components is not None and hidden is not None:
            phi = torch.cat([style, self._components.project(hidden)], dim=1)
        return (self._members @ phi.T).float()

    # -- fitting -------------------------------------------------------------------------------

    def fit(
        self, preferences: Sequence[Preference], signals: Sequence[Signal] = ()
    ) -> dict[str, float]:
        """Refit on all that was said and not taken back; returns metrics.

        Skips teach nothing. ``preferences`` come oldest first.
        """
        began = time.perf_counter()
        self._observe_lengths(preferences)
        self._refresh_basis(preferences, [s for s in signals if isinstance(s, Ordered)])
        rows = self._writer.write(preferences, signals)
        nu = self._tie_strength(preferences)
        starts = self._writer.starts
        aged = self._aged(rows, starts)
        self._show(self._model.fit(aged, self._prior, nu=nu, starts=starts))
        self._answers = self._writer.answers_since(self._mixture.present_since)
        return {
            "reward_picks": float(len(rows)),
            "reward_fit_ms": 1000 * (time.perf_counter() - began),
            "reward_newton_steps": float(self._mixture.steps),
            "reward_change_prob": self._mixture.change_prob,
            "reward_flip_rate": self.flip_rate,
        }

    def fit_differences(
        self,
        *,
        style: Float[Tensor, "n S"],
        hidden: Float[Tensor, "n H"],
        position: Float[Tensor, " n"],
        weight: Float[Tensor, " n"] | None = None,
        tie: Tensor | None = None,
        may_tie: bool = False,
    ) -> None:
        """Fit on outcomes given directly as feature differences, winner minus loser."""
        n = len(style)
        m = pairs_for_basis(n)
        self._set_basis(style[:m].numpy().tobytes(), hidden[:m].double)
        columns = [style.double(), position.double()[:, None], torch.zeros((n, 1)).double()]
        if self._components is not None:
            columns.append(self._components.project(hidden.double()))
        ties = torch.zeros(n, dtype=torch.bool) if tie is None else tie
        rows = Rows(
            z=torch.cat(columns, dim=1),
            tie=ties,
            may_tie=torch.full((n,), may_tie),
            weight=torch.ones(n).double() if weight is None else weight.double(),
        )
        nu = self.config.tie_strength
        if may_tie:
            nu = tie_strength(int(ties.sum()), n - int(ties.sum()), self.config.tie_strength)
        aged = self._aged(rows, range(n))
        self._show(self._model.fit(aged, self._prior, nu=nu))
        self._answers = n - self._mixture.present_since

    def _aged(self, rows: Rows, starts: Sequence[int]) -> Rows:
        """The rows with the weight that their age, in things said, leaves them."""
        if not len(rows):
            return self._empty()
        if self.config.half_life_picks is None:
            return rows
        row = torch.arange(len(rows))
        number = torch.searchsorted(torch.tensor(starts), row, right=True)
        age = (len(starts) - number).double()
        return replace(rows, weight=rows.weight * 0.5 ** (age / self.config.half_life_picks))

    def _show(self, mixture: Mixture) -> None:
        """Members of the ensemble: weights of style and hidden features, covariates left out."""
        self._mixture = mixture
        D = mixture.mean.shape[1]
        members = mixture.members(self._noise[:, :D], self._places)  # (E, D)
        self._members = torch.cat([members[:, :POSITION], members[:, HIDDEN:]], dim=1)

    def _tie_strength(self, preferences: Sequence[Preference]) -> float:
        """Of pairs that were asked about: one from a file, or written, could not end in a tie."""
        said = [p.choice for p in preferences if p.comparison.question.reason.asked]
        ties = said.count(Choice.TIE)
        decided = said.count(Choice.FIRST) + said.count(Choice.SECOND)
        return tie_strength(ties, decided, self.config.tie_strength)

    # -- features ------------------------------------------------------------------------------

    def _phi(
        self, prompt: Sequence[Message], completion: Completion, lengths: LengthForecast
    ) -> Phi:
        """Features of a reply that was shown; what is finished never changes and is kept."""
        if completion.finish_reason is FinishReason.ABORTED:
            return self._joined(self._style(prompt, completion, lengths), completion)
        key = (  # all that they are made of: one text may follow the same words in two chats
            *prompt[-1:],
            completion.text,
            len(completion.token_ids),
            completion.finish_reason,
            completion.feature,
        )
        if key not in self._phis:
            if key not in self._styles:
                self._styles[key] = self._style(prompt, completion, lengths)
            self._phis[key] = self._joined(self._styles[key], completion)
        return self._phis[key]

    def _joined(self, style: Float[np.ndarray, " S"], completion: Completion) -> Phi:
        if self._components is None:
            return style
        return np.concatenate([style, _hidden(completion) @ self._components.basis.numpy()])

    def _styles_of(
        self, prompt: Sequence[Message], completions: Sequence[Completion]
    ) -> Float[Tensor, "N S"]:
        styles = [self._style(prompt, c, self.lengths) for c in completions]
        return torch.from_numpy(np.stack(styles))

    @staticmethod
    def _style(
        prompt: Sequence[Message], completion: Completion, lengths: LengthForecast
    ) -> Float[np.ndarray, " S"]:
        tokens, finished = lengths.expected(completion)
        growth = tokens / max(1, len(completion.token_ids))
        return np.array(style_features(prompt, completion.text, growth=growth, finished=finished))

    def _observe_lengths(self, preferences: Sequence[Preference]) -> None:
        for preference in preferences:
            if preference.id not in self._measured and preference.comparison.question.reason.asked:
                self._measured.add(preference.id)  # a file's or a person's reply says nothing of it
                self.lengths.observe(preference.comparison.first.completion)
                self.lengths.observe(preference.comparison.second.completion)

    # -- basis ---------------------------------------------------------------------------------

    def _shipped_basis(self) -> Components | None:
        count = self.config.hidden_components
        shipped = None if self._taste is None else self._taste.basis
        if not self.config.shipped_basis or shipped is None:
            return None
        if not 0 < count <= shipped.basis.shape[1]:
            return None
        return Components(basis=shipped.basis[:, :count].contiguous())

    def _refresh_basis(self, preferences: Sequence[Preference], orders: Sequence[Ordered]) -> None:
        """A basis of the person's own pairs, answered or skipped: it needs no labels.

        Of a ranking the neighbours on the page count, whatever their order.
        """
        pairs: list[tuple[datetime, object, Completion, Completion]] = []
        for p in preferences:
            first, second = p.comparison.first.completion, p.comparison.second.completion
            pairs.append((p.decided_at, p.comparison.id, first, second))
        pairs += [(one.at, one.at, a, b) for one in orders for a, b in pairwise(one.completions)]
        if orders:
            pairs.sort(key=lambda pair: pair[0])
        some = pairs[: pairs_for_basis(len(pairs))]

        def differences() -> Float[Tensor, "n H"]:
            return torch.stack([torch.from_numpy(_hidden(a) - _hidden(b)) for _, _, a, b in some])

        self._set_basis(tuple(name for _, name, _, _ in some), differences)

    def _set_basis(self, of: object, differences: Callable[[], Float[Tensor, "n H"]]) -> None:
        if self._shipped_basis() is not None or of == self._basis_of:
            return
        count = self.config.hidden_components
        self._components = principal_components(differences(), count) if of and count else None
        self._basis_of = of  # last: where the components fail they are tried anew
        self._phis.clear()
        self._writer = self._new_writer()
        self._prior = self._hypotheses()

    def _hypotheses(self) -> Hypotheses:
        count = 0 if self._components is None else self._components.basis.shape[1]
        shipped = self._shipped_basis() is not None
        return hypotheses(self.config, self._taste, count, shipped_basis=shipped)

    def _new_writer(self) -> RowWriter:
        return RowWriter(config=self.config, phi_of=self._phi, style=STYLES)

    def _empty(self) -> Rows:
        return no_rows(self._prior.mean.shape[1])


def tie_strength(ties: int, decided: int, prior: float) -> float:
    """Davidson's nu for this share of ties, in powers of two.

    Between equal replies P(tie) = nu / (2 + nu), so nu = 2 ties / decided; four pseudo-answers hold
    it near ``prior`` at first. Rounded, so that it hardly ever moves and older fits stay valid.
    """
    nu = (2.0 * ties + 4.0 * prior) / (decided + 4.0)
    return float(2.0 ** np.round(np.log2(np.clip(nu, 2**-5, 2**3))))


def _hiddens(completions: Sequence[Completion]) -> Float[Tensor, "N H"]:
    return torch.from_numpy(np.stack([_hidden(c) for c in completions]))


def _hidden(completion: Completion) -> Float[np.ndarray, " H"]:
    if completion.feature is None:
        raise ValueError("the completion has no feature yet; extract it before scoring")
    return np.frombuffer(completion.feature, dtype=np.float16).astype(np.float64)
