"""The three kinds of reward model that a phase can train, behind one seam.

head      Bayesian heads on frozen features: nothing but a reading of each reply; for laptops
adapter   an adapter over the base, with scores on the last token's state
model     a model of its own, all weights, as transformers' sequence classification
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from learner.config import RewardConfig
from learner.engine.backbone import TRAINING_VERSION, Backbone
from learner.engine.trees import Tree
from learner.features import frozen_features
from learner.phases.optimiser import Optimiser, OptimiserConfig
from learner.phases.place import Place
from learner.reward.criteria_head import CriteriaHead, Differences, save_differences
from learner.reward.ranked import RankedReplies
from learner.reward.style import STYLE_NAMES, style_features
from learner.reward.taste import load_taste
from learner.reward_model.adapter import last_states, read_tree, save_scores
from learner.reward_model.classifier import Classifier, new_classifier
from learner.reward_model.scores import Scores, member_weights, ranking_loss
from learner.update_config import LoraSpec
from storage.records import BASE_VERSION
from storage.slates import Criterion, ranked_pairs


@runtime_checkable
class RewardTrainee(Protocol):
    def step(self, number: int, items: Sequence[RankedReplies]) -> dict[str, float]: ...
    def ready(self) -> None:
        """Before scoring: take up what was learned since."""
        ...

    def rewards(self, item: RankedReplies) -> Float[Tensor, "E C N"]: ...
    def flip_rate(self, criterion: Criterion) -> float: ...
    def tensors(self) -> dict[str, Tensor]: ...
    def values(self) -> dict[str, Any]: ...
    def restore(
        self,
        tensors: Mapping[str, Tensor],
        values: Mapping[str, Any],
        learned: Sequence[RankedReplies],
    ) -> None:
        """Take up what ``tensors`` and ``values`` gave after ``learned``."""
        ...

    def save(self, folder: Path) -> None: ...
    def close(self) -> None: ...


class HeadTrainee:
    """Reads replies; each measurement refits the heads to all that was read."""

    def __init__(
        self,
        place: Place,
        criteria: Sequence[Criterion],
        config: RewardConfig,
        *,
        max_reply_tokens: int,
        seed: int,
        without: Sequence[str] = (),
    ) -> None:
        """``without``: sets whose shipped directions are left out, since they are trained on."""
        self._tokenizer = place.engine.backbone.tokenizer
        self._width = place.engine.backbone.lm_head.in_features
        self._features = frozen_features(place.engine)
        self._max_reply_tokens = max_reply_tokens
        taste = load_taste(place.model.sha256)
        for name in without:
            taste = None if taste is None else taste.without(f"criterion:{name}")
        self._head = CriteriaHead(criteria, config, seed=seed, taste=taste)
        self._learned: dict[str, RankedReplies] = {}
        self._seen: dict[str, tuple[Tensor, Tensor]] = {}

    def step(self, number: int, items: Sequence[RankedReplies]) -> dict[str, float]:  # noqa: ARG002
        for item in items:
            self._of(item)
            self._learned.setdefault(_name(item), item)
        return {"answers": float(len(self._learned))}

    def ready(self) -> None:
        self._head.fit(*self._rows())

    def rewards(self, item: RankedReplies) -> Float[Tensor, "E C N"]:
        return self._head.rewards(*self._of(item))

    def flip_rate(self, criterion: Criterion) -> float:
        return self._head.flip_rate(criterion)

    def tensors(self) -> dict[str, Tensor]:
        kept: dict[str, Tensor] = {}
        for name in self._learned:
            style, hidden = self._seen[name]
            kept |= {f"style.{name}": style, f"hidden.{name}": hidden.half()}
        return kept

    def values(self) -> dict[str, Any]:
        return {}

    def restore(
        self,
        tensors: Mapping[str, Tensor],
        values: Mapping[str, Any],  # noqa: ARG002
        learned: Sequence[RankedReplies],
    ) -> None:
        self._learned = {_name(item): item for item in learned}
        for name in self._learned:
            self._seen[name] = (tensors[f"style.{name}"], tensors[f"hidden.{name}"].float())

    def save(self, folder: Path) -> None:
        save_differences(folder, *self._rows())

    def close(self) -> None:
        self._seen.clear()

    def _rows(self) -> tuple[dict[Criterion, Differences], tuple[Tensor, Tensor]]:
        """Differences of all that was learned, by criterion, and the mean reply."""
        if not self._learned:
            return {}, (torch.zeros(len(STYLE_NAMES)), torch.zeros(self._width))
        parts: dict[Criterion, list[tuple[Tensor, Tensor, float, bool]]] = {}
        for name, item in self._learned.items():
            style, hidden = self._seen[name]
            for criterion, ranks in item.ranks.items():
                pairs = ranked_pairs(ranks)
                parts.setdefault(criterion, []).extend(
                    (
                        style[pair.better] - style[pair.worse],
                        hidden[pair.better] - hidden[pair.worse],
                        item.weight / len(pairs),
                        pair.tied,
                    )
                    for pair in pairs
                )
        usual = [torch.cat([self._seen[n][i] for n in self._learned]).mean(dim=0) for i in (0, 1)]
        rows = {
            criterion: Differences(
                style=torch.stack([one[0] for one in some]),
                hidden=torch.stack([one[1] for one in some]),
                weight=torch.tensor([one[2] for one in some]),
                tie=torch.tensor([one[3] for one in some]),
            )
            for criterion, some in parts.items()
        }
        return rows, (usual[0], usual[1])

    def _of(self, item: RankedReplies) -> tuple[Float[Tensor, "N S"], Float[Tensor, "N H"]]:
        """Features of its replies; rounded as the log keeps them, and read once."""
        name = _name(item)
        if name not in self._seen:
            ids = [
                self._tokenizer(text, add_special_tokens=False)["input_ids"] for text in item.texts
            ]
            cut = [tokens[: self._max_reply_tokens] for tokens in ids]
            hidden = self._features.extract(item.prompt, cut).half().float()
            style = torch.tensor([style_features(item.prompt, text) for text in item.texts])
            self._seen[name] = (style, hidden)
        return self._seen[name]


class AdapterTrainee:
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
        limits: "Limits",
        seed: int,
    ) -> None:
        self._place, self._criteria, self._limits = place, tuple(criteria), limits
        self._backbone = place.engine.backbone
        self._members, self._centring, self._seed = members, centring, seed
        base = place.policies.get(BASE_VERSION)
        parameters = self._backbone.open_training(base, spec, seed)
        self._adapter = parameters
        width = self._backbone.lm_head.in_features
        scores = Scores(width, members=members, criteria=len(criteria), seed=seed)
        self._scores = scores.to(self._backbone.device)
        self._parameters = [*parameters, self._scores.weight]
        self._optimiser = Optimiser(self._parameters, optimiser, steps, place.world)

    def step(self, number: int, items: Sequence[RankedReplies]) -> dict[str, float]:
        return _step(
            self, self._place, self._optimiser, number, items,
            self._criteria, self._members, self._centring, self._seed,
        )  # fmt: skip

    def ready(self) -> None:
        self._backbone.use(TRAINING_VERSION)

    def forward(self, item: RankedReplies) -> Float[Tensor, "E C N"]:
        return self._scores(last_states(self._backbone, [self._limits.tree(self._backbone, item)]))

    @torch.no_grad()
    def rewards(self, item: RankedReplies) -> Float[Tensor, "E C N"]:
        return self.forward(item).cpu()

    def flip_rate(self, criterion: Criterion) -> float:  # noqa: ARG002 - its scores hold it
        return 0.0

    def tensors(self) -> dict[str, Tensor]:
        return _trained(self._parameters, self._optimiser)

    def values(self) -> dict[str, Any]:
        return self._optimiser.values()

    def restore(
        self,
        tensors: Mapping[str, Tensor],
        values: Mapping[str, Any],
        learned: Sequence[RankedReplies],  # noqa: ARG002
    ) -> None:
        _take_up(self._parameters, self._optimiser, tensors, values)

    def save(self, folder: Path) -> None:
        self._backbone.save_training(folder)
        save_scores(
            self._scores, folder, criteria=self._criteria, base_sha256=self._place.model.sha256
        )

    def close(self) -> None:
        self._backbone.close_training()


class ModelTrainee:
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
        limits: "Limits",
        seed: int,
    ) -> None:
        self._place, self._criteria = place, tuple(criteria)
        self._members, self._centring, self._seed = members, centring, seed
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
        self._parameters = list(model.parameters())
        self._optimiser = Optimiser(self._parameters, optimiser, steps, place.world)

    def step(self, number: int, items: Sequence[RankedReplies]) -> dict[str, float]:
        return _step(
            self, self._place, self._optimiser, number, items,
            self._criteria, self._members, self._centring, self._seed,
        )  # fmt: skip

    def ready(self) -> None:
        """Nothing: its weights are its own."""

    def forward(self, item: RankedReplies) -> Float[Tensor, "E C N"]:
        return self._scorer.rewards(item.prompt, item.texts)

    @torch.no_grad()
    def rewards(self, item: RankedReplies) -> Float[Tensor, "E C N"]:
        return self.forward(item).cpu()

    def flip_rate(self, criterion: Criterion) -> float:  # noqa: ARG002
        return 0.0

    def tensors(self) -> dict[str, Tensor]:
        return _trained(self._parameters, self._optimiser)

    def values(self) -> dict[str, Any]:
        return self._optimiser.values()

    def restore(
        self,
        tensors: Mapping[str, Tensor],
        values: Mapping[str, Any],
        learned: Sequence[RankedReplies],  # noqa: ARG002
    ) -> None:
        _take_up(self._parameters, self._optimiser, tensors, values)

    def save(self, folder: Path) -> None:
        self._scorer.model.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)

    def close(self) -> None:
        """Nothing was held on the engine."""


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


def _step(
    trainee: AdapterTrainee | ModelTrainee,
    place: Place,
    optimiser: Optimiser,
    number: int,
    items: Sequence[RankedReplies],
    criteria: Sequence[Criterion],
    members: int,
    centring: float,
    seed: int,
) -> dict[str, float]:
    """One optimiser step: a prompt with all its replies is one element of the batch."""
    trainee.ready()
    total = sum(item.weight for item in items)
    loss_sum = torch.zeros((), dtype=torch.float64)
    for item in place.world.share(items):
        own = member_weights(item, members, seed)
        rewards = trainee.forward(item)
        loss = ranking_loss(rewards, item, criteria, own.to(rewards.device), centring) / total
        loss.backward()
        loss_sum += loss.detach().double().cpu()
    return {"loss": float(place.world.sum(loss_sum))} | optimiser.step(number)


def _trained(parameters: Sequence[nn.Parameter], optimiser: Optimiser) -> dict[str, Tensor]:
    kept = {f"weights.{i}": p.detach() for i, p in enumerate(parameters)}
    return kept | {f"moments.{name}": t for name, t in optimiser.tensors().items()}


@torch.no_grad()
def _take_up(
    parameters: Sequence[nn.Parameter],
    optimiser: Optimiser,
    tensors: Mapping[str, Tensor],
    values: Mapping[str, Any],
) -> None:
    for i, parameter in enumerate(parameters):
        parameter.copy_(tensors[f"weights.{i}"])
    moments = {
        n.removeprefix("moments."): t for n, t in tensors.items() if n.startswith("moments.")
    }
    optimiser.restore(moments, values)


def _name(item: RankedReplies) -> str:
    return hashlib.sha256(repr((item.prompt, item.texts)).encode()).hexdigest()[:24]
