"""The gate on a real, tiny model: what it lets through and what it refuses, with the reason."""

import math
from dataclasses import replace
from datetime import UTC, datetime
from statistics import fmean, stdev

import pytest
import torch

from learner.config import GateConfig
from learner.gate import Gate
from learner.measures import ScoredText, kl_to_reference
from learner.update_config import LoraSpec
from storage.records import BASE_VERSION, PolicyVersion, PolicyVersionId

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


def test_a_measure_that_is_not_finite_is_told_and_can_be_reported(engine, gate, base, monkeypatch):
    train(engine, base, 0.02)
    monkeypatch.setattr("learner.gate.perplexity", lambda *_: math.inf)
    verdict = gate.judge(base)
    assert not verdict.accepted and verdict.reason == "perplexity_ratio: not finite"
    assert "perplexity_ratio" not in verdict.metrics
    assert all(map(math.isfinite, verdict.metrics.values())) and len(verdict.metrics) > 5


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


def saved(engine, folder, number: int) -> PolicyVersion:
    """The adapter in training as a version."""
    engine.backbone.save_training(folder)
    return PolicyVersion(
        id=PolicyVersionId(number),
        parent=BASE_VERSION,
        adapter_path=folder,
        created_at=datetime.now(UTC),
    )


def said(gate, engine, parent, version=None) -> list[ScoredText]:
    """What a version, or the adapter in training, says to the guard prompts."""
    engine.load(version) if version else engine.load_training()
    return gate._replies(gate._sample(parent.id)).texts


def test_the_kl_is_the_parents_and_the_change_on_its_texts_and_a_little_of_its_own(
    engine, gate, base, tmp_path
):
    train(engine, base, 0.03)
    parent = saved(engine, tmp_path, 1)
    parent = replace(parent, metrics={"kl_per_token": 0.07})
    engine.backbone.close_training()
    texts = said(gate, engine, base, parent)
    with engine.backbone.speaking(parent.id):
        before = fmean(kl_to_reference(engine.backbone, texts))
    train(engine, parent, 0.01)
    own = said(gate, engine, parent)
    moved = fmean(kl_to_reference(engine.backbone, texts)) - before
    sampled = fmean(kl_to_reference(engine.backbone, own))
    metrics = gate.judge(parent).metrics
    assert moved != pytest.approx(0.0, abs=1e-4)
    assert metrics["kl_sampled"] == pytest.approx(sampled, rel=1e-4)
    assert metrics["kl_per_token"] == pytest.approx(
        0.75 * (0.07 + moved) + 0.25 * sampled, rel=1e-3
    )


def test_a_parent_that_the_gate_has_just_judged_needs_no_new_sample(
    engine, gate, base, tmp_path, monkeypatch
):
    train(engine, base, 0.03)
    first = gate.judge(base)
    parent = replace(saved(engine, tmp_path, 1), metrics=first.metrics)
    gate.remember(parent.id, first)
    engine.backbone.close_training()
    train(engine, parent, 0.01)
    samples = []
    sample = gate._sample
    monkeypatch.setattr(gate, "_sample", lambda of: samples.append(of) or sample(of))
    remembered = gate.judge(parent)
    assert samples == [parent.id]
    after_a_restart = Gate(engine, CONFIG, seed=0).judge(parent)
    for name, value in after_a_restart.metrics.items():
        assert value == pytest.approx(remembered.metrics[name], rel=1e-4), name


def test_what_is_believed_of_the_kl_errs_less_than_one_sample(engine, base, tmp_path):
    train(engine, base, 0.03)
    parent = replace(saved(engine, tmp_path, 1), metrics={"kl_per_token": 0.2})
    engine.backbone.close_training()
    train(engine, parent, 0.001)
    found = [Gate(engine, CONFIG, seed=seed * 100).judge(parent).metrics for seed in range(8)]
    believed, sampled = (
        stdev(one[name] for one in found) for name in ("kl_per_token", "kl_sampled")
    )
    assert believed < 0.4 * sampled


def repeating_parent(engine, base, folder, repeated: float) -> PolicyVersion:
    """A version that is believed to repeat so much, and its like in training."""
    train(engine, base, 0.03)
    metrics = {"kl_per_token": 0.01, "repetition": repeated}
    parent = replace(saved(engine, folder, 1), metrics=metrics)
    engine.backbone.close_training()
    train(engine, parent, 0.0)
    return parent


def test_repetition_is_believed_of_the_line_and_a_little_of_one_sample(
    engine, base, tmp_path, monkeypatch
):
    gate = Gate(engine, replace(CONFIG, max_repetition=0.25), seed=0)
    parent = repeating_parent(engine, base, tmp_path, 0.2)
    for repeated, passes in ((0.1, True), (0.44, False), (0.36, True)):
        monkeypatch.setattr("learner.gate.repetition", lambda _, found=repeated: found)
        verdict = gate.judge(parent)
        assert verdict.metrics["repetition"] == pytest.approx(0.15 + 0.25 * repeated)
        assert verdict.accepted == passes, verdict.reason
    unknown = replace(parent, metrics={"kl_per_token": 0.01})
    gate = Gate(engine, replace(CONFIG, max_repetition=0.25), seed=0)
    assert gate.judge(unknown).metrics["repetition"] == pytest.approx(0.36)


def test_a_few_replies_that_repeat_everything_are_refused_whatever_was_believed(
    engine, base, tmp_path, monkeypatch
):
    gate = Gate(engine, replace(CONFIG, max_repetition=0.25), seed=0)
    parent = repeating_parent(engine, base, tmp_path, 0.0)
    monkeypatch.setattr("learner.gate.repetition", lambda _: 0.8)
    verdict = gate.judge(parent)
    assert verdict.reason == "80% of token pairs of a few replies repeat, 50% allowed"
    assert verdict.drift == pytest.approx(1.6)


def test_a_version_that_repeats_itself_has_drifted_and_is_taken_back_in_part(engine):
    gate = Gate(engine, GateConfig(prompts=1, max_new_tokens=4, probes=0), seed=0)
    near = {"kl_per_token": 0.02, "perplexity_ratio": 1.0}
    assert gate.drift(near) == pytest.approx(0.1)
    assert gate.drift(near | {"repetition": 0.3}) == pytest.approx(1.2)
    assert gate.drift(near | {"repetition": 0.1, "repetition_sampled": 0.6}) == pytest.approx(1.2)


def test_a_parent_that_is_the_reference_has_no_distance(engine, gate, base, tmp_path):
    train(engine, base, 0.03)
    tuned = replace(saved(engine, tmp_path, 1), metrics={"kl_per_token": 0.9})
    engine.backbone.close_training()
    engine.backbone.refer_to(tuned)
    train(engine, tuned, 0.0)
    assert gate.judge(tuned).metrics["kl_per_token"] == pytest.approx(0.0, abs=1e-6)


def test_a_child_is_not_judged_by_what_its_parent_happened_to_say(engine, gate, base, tmp_path):
    """Were the seeds the same, a version like its parent would say the same again."""
    train(engine, base, 0.03)
    parent = replace(saved(engine, tmp_path, 1), metrics=gate.judge(base).metrics)
    engine.backbone.close_training()
    train(engine, parent, 0.0)
    by_parent = said(gate, engine, base, parent)
    assert said(gate, engine, base) == by_parent
    own = said(gate, engine, parent)
    assert all(one != other for one, other in zip(own, by_parent, strict=True))
