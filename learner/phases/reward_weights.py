"""Reward models whose weights follow the gradient of the ranking loss: an adapter, or all of them.

A prompt with all its replies is one element of a batch (arXiv 2203.02155, section 3.5).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from learner.engine.backbone import TRAINING_VERSION, Backbone
from learner.engine.trees import Tree
from learner.phases.optimiser import Optimiser, OptimiserConfig
from learner.phases.place import Place
from learner.prefixes import put_under, under
from learner.reward.ranked import RankedReplies
from learner.reward_model.adapter import last_states, read_tree, save_scores
from learner.reward_model.classifier import Classifier, new_classifier
from learner.reward_model.scores import Scores, member_weights, ranking_loss
from learner.update_config import LoraSpec
from storage.records import BASE_VERSION
from storage.slates import Criterion

_WEIGHTS, _MOMENTS = "weights.", "moments."


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    max_prompt_tokens: int
    max_reply_tokens: int

    def tree(self, backbone: Backbone, item: RankedReplies) -> Tree:
        """The item's replies behind their prompt."""
        ids = backbone.tokenizer(list(item.texts), add_special_tokens=False)["input_ids"]
        return read_tree(
            backbone,
            item.prompt,
            ids,
            max_prompt_tokens=self.max_prompt_tokens,
            max_reply_tokens=self.max_reply_tokens,
        )


class WeightsTrainee(ABC):
    """A ``RewardTrainee``; its state is its weights and the optimiser's."""

    def __init__(
        self,
        place: Place,
        criteria: Sequence[Criterion],
        parameters: Sequence[nn.Parameter],
        optimiser: Optimiser,
        *,
        members: int,
        centring: float,
        seed: int,
    ) -> None:
        self._place, self._criteria = place, tuple(criteria)
        self._parameters, self._optimiser = list(parameters), optimiser
        self._members, self._centring, self._seed = members, centring, seed

    @abstractmethod
    def forward(self, item: RankedReplies) -> Float[Tensor, "E C N"]:
        """Its rewards, with the way back to the weights."""

    @abstractmethod
    def ready(self) -> None: ...

    @abstractmethod
    def save(self, folder: Path) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    def step(self, number: int, items: Sequence[RankedReplies]) -> dict[str, float]:
        """One optimiser step: a prompt with all its replies is one element of the batch."""
        self.ready()
        world, total = self._place.world, sum(item.weight for item in items)
        loss_sum = torch.zeros((), dtype=torch.float64)
        for item in world.share(items):
            own = member_weights(item, self._members, self._seed)
            rewards = self.forward(item)
            own = own.to(rewards.device)
            loss = ranking_loss(rewards, item, self._criteria, own, self._centring) / total
            loss.backward()
            loss_sum += loss.detach().cpu().double()
        return {"loss": float(world.sum(loss_sum))} | self._optimiser.step(number)

    @torch.no_grad()
    def rewards(self, item: RankedReplies) -> Float[Tensor, "E C N"]:
        return self.forward(item).cpu()

    def flip_rate(self, criterion: Criterion) -> float:  # noqa: ARG002 - its scores hold it
        return 0.0

    def tensors(self) -> dict[str, Tensor]:
        weights = {str(i): p.detach() for i, p in enumerate(self._parameters)}
        return put_under(_WEIGHTS, weights) | put_under(_MOMENTS, self._optimiser.tensors())

    def values(self) -> dict[str, Any]:
        return self._optimiser.values()

    @torch.no_grad()
    def restore(
        self,
        tensors: Mapping[str, Tensor],
        values: Mapping[str, Any],
        learned: Sequence[RankedReplies],  # noqa: ARG002 - its weights hold it
    ) -> None:
        for i, parameter in enumerate(self._parameters):
            parameter.copy_(tensors[f"{_WEIGHTS}{i}"])
        self._optimiser.restore(under(_MOMENTS, tensors), values)


class AdapterTrainee(WeightsTrainee):
    """An adapter over the base, opened fresh whatever version speaks, and its scores."""

    def __init__(
        self,
        place: Place,
        criteria: Sequence[Criterion],
        spec: LoraSpec,
        optimiser: OptimiserConfig,
        *,
        members: int,
        steps: int,
        centring: float,
        limits: Limits,
        seed: int,
    ) -> None:
        self._limits = limits
        self._backbone = place.engine.backbone
        base = place.policies.get(BASE_VERSION)
        adapter = self._backbone.open_training(base, spec, seed)
        width = self._backbone.lm_head.in_features
        scores = Scores(width, members=members, criteria=len(criteria), seed=seed)
        self._scores = scores.to(self._backbone.device)
        parameters = [*adapter, self._scores.weight]
        super().__init__(
            place,
            criteria,
            parameters,
            Optimiser(parameters, optimiser, steps, place.world),
            members=members,
            centring=centring,
            seed=seed,
        )

    def ready(self) -> None:
        self._backbone.use(TRAINING_VERSION)

    def forward(self, item: RankedReplies) -> Float[Tensor, "E C N"]:
        return self._scores(last_states(self._backbone, [self._limits.tree(self._backbone, item)]))

    def save(self, folder: Path) -> None:
        self._backbone.save_training(folder)
        save_scores(
            self._scores, folder, criteria=self._criteria, base_sha256=self._place.model.sha256
        )

    def close(self) -> None:
        self._backbone.close_training()


class ModelTrainee(WeightsTrainee):
    """All weights of a model of its own, beside the chat model."""

    def __init__(
        self,
        place: Place,
        criteria: Sequence[Criterion],
        optimiser: OptimiserConfig,
        *,
        members: int,
        steps: int,
        centring: float,
        limits: Limits,
        seed: int,
    ) -> None:
        device = place.engine.backbone.device
        model, self._tokenizer = new_classifier(
            place.model.path, criteria, members, device=device, seed=seed
        )
        self._scorer = Classifier(
            model,
            self._tokenizer,
            max_prompt_tokens=limits.max_prompt_tokens,
            max_reply_tokens=limits.max_reply_tokens,
        )
        parameters = list(model.parameters())
        super().__init__(
            place,
            criteria,
            parameters,
            Optimiser(parameters, optimiser, steps, place.world),
            members=members,
            centring=centring,
            seed=seed,
        )

    def ready(self) -> None:
        """Nothing: its weights are its own."""

    def forward(self, item: RankedReplies) -> Float[Tensor, "E C N"]:
        return self._scorer.rewards(item.prompt, item.texts)

    def save(self, folder: Path) -> None:
        self._scorer.model.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)

    def close(self) -> None:
        """Nothing was held on the engine."""
