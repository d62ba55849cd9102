"""Every setting of a phase is described."""

from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from learner.config import GateConfig
from learner.phases.optimiser import OptimiserConfig
from learner.phases.ppo import PpoTrainConfig
from learner.phases.pretrain import PretrainConfig
from learner.phases.protocol import LoopConfig
from learner.phases.reward_score import RewardScoreConfig
from learner.phases.scratch import ScratchConfig
from learner.phases.sft import SftConfig
from learner.update_config import LoraSpec

PAGE = (Path(__file__).parents[3] / "docs" / "phases.md").read_text(encoding="utf-8")
NESTED = {
    "loop": LoopConfig,
    "optimiser": OptimiserConfig,
    "lora": LoraSpec,
    "scratch": ScratchConfig,
    "reward": RewardScoreConfig,
}


@pytest.mark.parametrize("config", [PretrainConfig, SftConfig])
def test_every_setting_is_described(config):
    for field in fields(config):
        if field.name == "gate":
            assert "`gate.*`" in PAGE and is_dataclass(GateConfig)
            continue
        inner = NESTED.get(field.name)
        names = [f"{field.name}.{f.name}" for f in fields(inner)] if inner else [field.name]
        for name in names:
            assert f"`{name}`" in PAGE, name


@pytest.mark.parametrize("config", [SftConfig, PpoTrainConfig])
def test_what_people_wrote_is_taken_as_written_unless_cleaning_is_asked_for(config):
    assert not config().clean
    assert "| `clean` | false |" in PAGE
