"""Where a phase's reward comes from: folders of trained reward models, or the live ensemble."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor

from learner.features import frozen_features
from learner.model_folder import ModelError
from learner.phases.place import Place
from learner.phases.protocol import PhaseError
from learner.phases.publish import made_from
from learner.phases.said import Said
from learner.protocols import RewardModel
from learner.reward.criteria import CriteriaWeights
from learner.reward.criteria_head import HEAD_FILE, HeadReward, fit_of, read_differences
from learner.reward.featured import FeaturedReward
from learner.reward_model.adapter import ABOUT_FILE, TrainedReward
from learner.reward_model.classifier import Classifier
from storage.records import Completion, Message

ENOUGH = 8
"""Answers below which the live ensemble knows too little to train against."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardSource:
    reward: RewardModel
    sha256: str
    """Of what it follows from."""


class Together:
    """Several reward models as one ensemble: all their members."""

    def __init__(self, models: Sequence[RewardModel]) -> None:
        self._models = models

    def score(
        self, prompt: Sequence[Message], completions: Sequence[Completion]
    ) -> Float[Tensor, "E N"]:
        """Rewards in logits, each model's in its own units.

        Not centred on these replies: what sets one prompt's replies above another's would be gone,
        and all of the reward where there is one reply. Who trains centres each member once.
        """
        return torch.cat([model.score(prompt, completions) for model in self._models])


def read_reward(
    place: Place, folders: Sequence[Path], weights: CriteriaWeights, *, seed: int
) -> RewardSource:
    """Raises ModelError for a folder without a reward model, PhaseError where nothing is known."""
    if not folders:
        return _live(place, weights, seed)
    models = [_read(place, folder, weights, number) for number, folder in enumerate(folders, 1)]
    digest = hashlib.sha256(repr(weights).encode())
    for folder in folders:
        for file in sorted(folder.glob("*.safetensors")):
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    reward = models[0] if len(models) == 1 else Together(models)
    return RewardSource(reward=reward, sha256=digest.hexdigest())


def _read(place: Place, folder: Path, weights: CriteriaWeights, number: int) -> RewardModel:
    backbone = place.engine.backbone
    if (folder / ABOUT_FILE).is_file():
        return TrainedReward(
            backbone, folder, base_sha256=place.model.sha256, weights=weights, number=number
        )
    if (folder / HEAD_FILE).is_file():
        try:
            rows, usual = read_differences(folder)
            fit = fit_of(folder)
        except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
            raise ModelError(f"{folder} holds no reward model: {error}") from error
        base = place.model.sha256
        if (fit.base_sha256 or made_from(folder)) != base:
            raise ModelError(f"The reward model in {folder} was made for another base model.")
        features = frozen_features(place.engine)
        return HeadReward(features, rows, usual, weights, fit, base_sha256=base)
    if (folder / "config.json").is_file():
        return Classifier.read(folder, device=backbone.device, weights=weights)
    raise ModelError(f"{folder} holds no reward model: `twofold train reward` makes one.")


def _live(place: Place, weights: CriteriaWeights, seed: int) -> RewardSource:
    """The ensemble that the chat uses, on all that was said in the data folder."""
    said = Said.read(place)
    if said.picks + len(said.orders) < ENOUGH:
        raise PhaseError(
            f"{said.picks} picks and {len(said.orders)} rankings are too few to train against: "
            "answer more, or name a reward model with --reward (`twofold train reward` makes one)."
        )
    if weights != CriteriaWeights():
        raise PhaseError(
            "The live ensemble knows the overall order only: criteria need --reward FOLDER."
        )
    head = said.ensemble(place, seed=seed)
    return RewardSource(
        reward=FeaturedReward(frozen_features(place.engine), head), sha256=said.sha256
    )
