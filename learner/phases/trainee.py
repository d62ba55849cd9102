"""What trains: an adapter over the frozen base, or all of the base's weights."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from learner.config import GateConfig
from learner.phases.place import Place
from learner.phases.protocol import Product, RunFacts
from learner.phases.publish import publish_adapter, publish_model
from learner.update_config import LoraSpec
from storage.records import BASE_VERSION


@runtime_checkable
class Trainee(Protocol):
    notes: Sequence[str]
    """What a person should know of where it begins."""

    @property
    def parameters(self) -> list[nn.Parameter]:
        """In a fixed order."""
        ...

    def tensors(self) -> Mapping[str, Tensor]: ...
    def restore(self, tensors: Mapping[str, Tensor]) -> None: ...

    def speak(self) -> None:
        """Let the engine sample from the weights as they are now."""
        ...

    def publish(
        self, run: RunFacts, *, kind: str, gate: GateConfig, make_live: bool
    ) -> Product: ...
    def close(self) -> None: ...


class LoraTrainee:
    """A copy of the parent's adapter, or a fresh one over the base (arXiv 2106.09685)."""

    def __init__(self, place: Place, spec: LoraSpec, seed: int) -> None:
        self._place = place
        self._seed = seed
        self._backbone = place.engine.backbone
        self.parameters = self._backbone.open_training(place.parent, spec, seed)
        self.notes = notes_on_rank(place, spec)

    def tensors(self) -> Mapping[str, Tensor]:
        return self._backbone.training_lora().tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self._backbone.restore_training(tensors)

    def speak(self) -> None:
        self._place.engine.load_training()

    def publish(self, run: RunFacts, *, kind: str, gate: GateConfig, make_live: bool) -> Product:
        return publish_adapter(
            self._place, run, kind=kind, seed=self._seed, gate=gate, make_live=make_live
        )

    def close(self) -> None:
        self._backbone.close_training()


class FullTrainee:
    """All weights of the base; what comes of it is a model folder, the base of versions to come."""

    def __init__(self, place: Place) -> None:
        if place.parent.id != BASE_VERSION:
            raise ValueError("all weights train from the base, not from an adapter over it")
        self._place = place
        speaks = place.policies.current().id
        self.notes = (
            [f"version {speaks}, which speaks, is left out: all weights train from the base"]
            if speaks != BASE_VERSION
            else []
        )
        self._named = place.engine.backbone.open_full_training()
        self.parameters = list(self._named.values())

    def tensors(self) -> Mapping[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self._named.items()}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        for name, parameter in self._named.items():
            parameter.copy_(tensors[name])

    def speak(self) -> None:
        self._place.engine.load(self._place.parent)

    def publish(self, run: RunFacts, *, kind: str, gate: GateConfig, make_live: bool) -> Product:
        return publish_model(self._place, run, kind=kind, gate=gate, make_live=make_live)

    def close(self) -> None:
        self._place.engine.backbone.base.requires_grad_(False)


def notes_on_rank(place: Place, spec: LoraSpec) -> list[str]:
    """Of the adapter in training: one that goes on from the parent's has the parent's size."""
    found = place.engine.backbone.training_lora()
    if (found.rank, found.alpha) == (spec.rank, spec.alpha):
        return []
    return [
        f"goes on with version {place.parent.id}'s adapter: rank {found.rank} and alpha "
        f"{found.alpha:g}, not {spec.rank} and {spec.alpha}"
    ]


def open_trainee(place: Place, lora: LoraSpec | None, seed: int) -> Trainee:
    """``lora`` None: all weights."""
    return FullTrainee(place) if lora is None else LoraTrainee(place, lora, seed)
