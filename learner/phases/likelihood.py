"""Training on given text: the mean negative log-likelihood of the supervised tokens of a batch.

What pretraining and fine-tuning share; they differ in which sequences there are and which tokens of
them are supervised.
"""

from collections.abc import Sequence
from math import ceil
from typing import Protocol, runtime_checkable

import torch

from learner.config import GateConfig
from learner.phases.optimiser import Optimiser, OptimiserConfig
from learner.phases.packing import TokenSequence, learned_logprobs, pack
from learner.phases.place import Place
from learner.phases.protocol import PhaseConfig, PhaseState, Product, RunFacts
from learner.phases.trainee import Trainee, open_trainee
from learner.prefixes import put_under, under
from learner.update_config import LoraSpec

_WEIGHTS, _MOMENTS = "weights.", "moments."


@runtime_checkable
class TextConfig(PhaseConfig, Protocol):
    """What the settings of both have."""

    @property
    def epochs(self) -> float: ...
    @property
    def max_steps(self) -> int | None: ...
    @property
    def optimiser(self) -> OptimiserConfig: ...
    @property
    def gate(self) -> GateConfig: ...
    @property
    def make_live(self) -> bool: ...


class TextPhase:
    """The half of a phase on given text that does not ask what the text is."""

    kind: str
    notes: Sequence[str] = ()

    def __init__(
        self,
        place: Place,
        config: TextConfig,
        *,
        lora: LoraSpec | None,
        steps: int,
        row_tokens: int,
    ) -> None:
        """``lora`` None trains all weights."""
        self.config = config
        self._place = place
        self.steps = steps
        self._trainee = open_trainee(place, lora, config.seed)
        self.notes = [*self.notes, *self._trainee.notes]
        optimiser = Optimiser(self._trainee.parameters, config.optimiser, steps, place.world)
        self._trainer = LikelihoodTrainer(place, self._trainee, optimiser, row_tokens=row_tokens)

    def state(self) -> PhaseState:
        return self._trainer.state()

    def restore(self, state: PhaseState) -> None:
        self._trainer.restore(state)

    def publish(self, run: RunFacts) -> Product:
        c = self.config
        return self._trainee.publish(run, kind=self.kind, gate=c.gate, make_live=c.make_live)

    def close(self) -> None:
        self._trainee.close()


def steps_of(config: TextConfig, elements: int, *, a_step: int) -> int:
    """Optimiser steps that ``config.epochs`` passes over so many elements take."""
    steps = ceil(config.epochs * elements / a_step)
    return steps if config.max_steps is None else min(steps, config.max_steps)


class LikelihoodTrainer:
    """Steps on batches of sequences; a step's loss is normalised over the whole batch."""

    def __init__(
        self, place: Place, trainee: Trainee, optimiser: Optimiser, *, row_tokens: int
    ) -> None:
        self._place = place
        self._trainee = trainee
        self._optimiser = optimiser
        self._row_tokens = row_tokens

    def step(self, number: int, batch: Sequence[TokenSequence]) -> dict[str, float]:
        """One optimiser step on the mean over all supervised tokens of ``batch``."""
        count = sum(one.learned for one in batch)
        total = torch.zeros((), dtype=torch.float64)
        for row in self._place.world.share(pack(batch, self._row_tokens)):
            loss = -learned_logprobs(self._place.engine.backbone, row).sum() / count
            loss.backward()
            total += loss.detach().cpu().double()
        loss = float(self._place.world.sum(total))
        return {"loss": loss, "tokens": float(count)} | self._optimiser.step(number)

    @torch.no_grad()
    def mean_loss(self, sequences: Sequence[TokenSequence]) -> float:
        """Mean negative log-likelihood of the supervised tokens, in nats."""
        total = torch.zeros((), dtype=torch.float64)
        for row in self._place.world.share(pack(sequences, self._row_tokens)):
            total -= learned_logprobs(self._place.engine.backbone, row).cpu().double().sum()
        count = sum(one.learned for one in sequences)
        return float(self._place.world.sum(total)) / count

    def state(self) -> PhaseState:
        tensors = put_under(_WEIGHTS, self._trainee.tensors())
        tensors |= put_under(_MOMENTS, self._optimiser.tensors())
        return PhaseState(tensors=tensors, values=self._optimiser.values())

    def restore(self, state: PhaseState) -> None:
        self._trainee.restore(under(_WEIGHTS, state.tensors))
        self._optimiser.restore(under(_MOMENTS, state.tensors), state.values)
