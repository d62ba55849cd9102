"""The gate on a real, tiny model: what it lets through and what it refuses, with the reason."""

import pytest
import torch

from learner.config import GateConfig
from learner.gate import Gate
from learner.update_config import LoraSpec

# A random model's replies repeat nothing and mean nothing; these limits fit it.
CONFIG = GateConfig(
    prompts=4,
    max_new_tokens=12,
    max_empty_share=0.3,
    max_repetition=0.9,
    max_perplexity_ratio=1.03,
)


@pytest.fixture
def gate(engine):
    return Gate(engine, CONFIG, seed=0)


def train(engine, base, strength: float) -> None:
    """An adapter in training that is moved by ``strength`` in a random direction."""
    parameters = engine.backbone.open_training(base, LoraSpec(rank=4, alpha=8), 0)
    generator = torch.Generator().manual_seed(1)
    for parameter in parameters:
        parameter.data.add_(strength * torch.randn(parameter.shape, generator=generator))


def test_an_adapter_that_changes_nothing_passes(engine, gate, base):
    train(engine, base, 0.0)
    verdict = gate.judge(base)
    assert verdict.accepted
    assert verdict.reason == "all checks held"
    assert verdict.metrics["kl_per_token"] == pytest.approx(0.0, abs=1e-6)
    assert verdict.metrics["perplexity_ratio"] == pytest.approx(1.0, abs=1e-5)
    assert verdict.metrics["length_ratio"] == pytest.approx(1.0)


def test_a_wrecked_adapter_is_refused_and_the_reason_says_why(engine, gate, base):
    train(engine, base, 5.0)
    verdict = gate.judge(base)
    assert not verdict.accepted
    assert "KL to the base is" in verdict.reason


def test_weights_that_are_not_finite_never_pass(engine, gate, base):
    for parameter in engine.backbone.open_training(base, LoraSpec(rank=4, alpha=8), 0):
        parameter.data.fill_(torch.nan)
    verdict = gate.judge(base)
    assert not verdict.accepted
    assert verdict.reason == "its weights are not finite"


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"max_kl_per_token": 1e-9}, "KL to the base"),
        ({"min_length_ratio": 1.5}, "times as long"),
        ({"max_empty_share": -0.1}, "are empty"),
        ({"max_repetition": -0.1}, "token pairs repeat"),
        ({"max_perplexity_ratio": 0.5}, "perplexity"),
    ],
)
def test_each_limit_refuses_by_itself(engine, base, limit, reason):
    settings = {"prompts": 4, "max_new_tokens": 12, "max_empty_share": 0.3, "max_repetition": 0.9}
    gate = Gate(engine, GateConfig(**(settings | limit)), seed=0)
    train(engine, base, 0.02)
    verdict = gate.judge(base)
    assert not verdict.accepted
    assert reason in verdict.reason


def test_a_judgement_repeats(engine, gate, base):
    train(engine, base, 0.05)
    assert gate.judge(base) == gate.judge(base)
