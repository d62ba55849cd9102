"""Training on given text: the mean negative log-likelihood of the supervised tokens of a batch.

What pretraining and fine-tuning share; they differ in which sequences there are and which tokens of
them are supervised.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from learner.phases.optimiser import Optimiser
from learner.phases.packing import TokenSequence, learned_logprobs, pack
from learner.phases.place import Place
from learner.phases.protocol import PhaseState
from learner.phases.trainee import Trainee

_WEIGHTS, _MOMENTS = "weights.", "moments."


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
            total += loss.detach().double().cpu()
        loss = float(self._place.world.sum(total))
        return {"loss": loss, "tokens": float(count)} | self._optimiser.step(number)

    @torch.no_grad()
    def mean_loss(self, sequences: Sequence[TokenSequence]) -> float:
        """Mean negative log-likelihood of the supervised tokens, in nats."""
        total = torch.zeros((), dtype=torch.float64)
        for row in self._place.world.share(pack(sequences, self._row_tokens)):
            total -= learned_logprobs(self._place.engine.backbone, row).double().sum().cpu()
        count = sum(one.learned for one in sequences)
        return float(self._place.world.sum(total)) / count

    def state(self) -> PhaseState:
        tensors = {f"{_WEIGHTS}{name}": t for name, t in self._trainee.tensors().items()}
        tensors |= {f"{_MOMENTS}{name}": t for name, t in self._optimiser.tensors().items()}
        return PhaseState(tensors=tensors, values=self._optimiser.values())

    def restore(self, state: PhaseState) -> None:
        self._trainee.restore(_under(state.tensors, _WEIGHTS))
        self._optimiser.restore(_under(state.tensors, _MOMENTS), state.values)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
