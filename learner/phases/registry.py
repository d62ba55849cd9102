"""The phases there are, by the name they have on the command line."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from learner.config import Decoder, EngineConfig
from learner.model_folder import ModelFolder
from learner.phases.place import Place
from learner.phases.ppo import PpoTrainConfig, PpoTraining
from learner.phases.pretrain import PretrainConfig, Pretraining
from learner.phases.protocol import Phase
from learner.phases.reward import RewardTrainConfig, RewardTraining
from learner.phases.scratch import scratch_model
from learner.phases.sft import FineTuning, SftConfig
from storage.folder import DataFolder


def _same_model(config: Any, model: ModelFolder, folder: DataFolder) -> ModelFolder:  # noqa: ANN401, ARG001
    return model


def _same_engine(config: Any, engine: EngineConfig) -> EngineConfig:  # noqa: ANN401, ARG001
    return engine


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseKind:
    """How a kind of phase is made ready; ``Any`` is its settings class."""

    config: type
    build: Callable[[Place, Any], Phase]
    model: Callable[[Any, ModelFolder, DataFolder], ModelFolder] = _same_model
    """The model to begin with, given the one that was named."""
    engine: Callable[[Any, EngineConfig], EngineConfig] = _same_engine
    """How that model is loaded."""
    from_base: Callable[[Any], bool] = lambda _: False
    """Whether it goes on from the base and not from the version that speaks."""


def _scratch(config: PretrainConfig, model: ModelFolder, folder: DataFolder) -> ModelFolder:
    if config.scratch is None:
        return model
    return scratch_model(model, config.scratch, config.seed, folder)


def _whole_weights(engine: EngineConfig) -> EngineConfig:
    """All weights train in float32, and transformers reads them where they are."""
    return replace(engine, dtype="float32", decoder=Decoder.TRANSFORMERS)


def _pretrain_engine(config: PretrainConfig, engine: EngineConfig) -> EngineConfig:
    return _whole_weights(engine) if config.trained is None else engine


def _sft_engine(config: SftConfig, engine: EngineConfig) -> EngineConfig:
    return _whole_weights(engine) if config.lora is None else engine


KINDS: dict[str, PhaseKind] = {
    "pretrain": PhaseKind(
        config=PretrainConfig,
        build=Pretraining,
        model=_scratch,
        engine=_pretrain_engine,
        from_base=lambda config: config.trained is None,
    ),
    "sft": PhaseKind(
        config=SftConfig,
        build=FineTuning,
        engine=_sft_engine,
        from_base=lambda config: config.lora is None,
    ),
    "reward": PhaseKind(
        config=RewardTrainConfig,
        build=RewardTraining,
        from_base=lambda _: True,  # it reads replies, and says none
    ),
    "ppo": PhaseKind(config=PpoTrainConfig, build=PpoTraining),
}
