"""Features of the frozen base."""

import pytest
import torch

from learner.config import LoraSpec
from learner.features import FrozenFeatures
from learner.rendering import prompt_ids
from tests.learner.conftest import user

REPLIES = [(5, 6, 7, 8), (9, 10), (20, 21, 22, 23, 24, 25)]


def whole_model_features(backbone, prompt, reply, layer):
    """The same by the plain model, one reply at a time, without any cache."""
    ids = prompt_ids(backbone.tokenizer, prompt)
    with torch.no_grad():
        states = backbone.base(
            input_ids=torch.tensor([[*ids, *reply]]), output_hidden_states=True
        ).hidden_states
    return states[layer][0, len(ids) :].mean(dim=0)


def test_batched_and_cached_features_equal_the_plain_model(engine):
    features = FrozenFeatures(engine, layer=1)
    prompt = user("What is this?")
    pooled = features.extract(prompt, REPLIES)
    for row, reply in zip(pooled, REPLIES, strict=True):
        expected = whole_model_features(engine.backbone, prompt, reply, layer=1)
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=1e-4)


def test_the_prompt_may_be_reused_and_changed(engine):
    features = FrozenFeatures(engine)
    first = features.extract(user("One"), REPLIES)
    other = features.extract(user("Two"), REPLIES)
    assert not torch.allclose(first, other)
    torch.testing.assert_close(features.extract(user("One"), REPLIES), first)


def test_an_adapter_that_speaks_does_not_move_them(engine, base):
    features = FrozenFeatures(engine)
    before = features.extract(user("Fixed"), REPLIES)
    for parameter in engine.backbone.open_training(base, LoraSpec(rank=4, alpha=8), 0):
        parameter.data.add_(1.0)
    after = FrozenFeatures(engine).extract(user("Fixed"), REPLIES)
    torch.testing.assert_close(after, before)
    engine.backbone.close_training()


def test_an_empty_reply_has_the_zero_feature(engine):
    pooled = FrozenFeatures(engine).extract(user("Quiet"), [(), (5, 6)])
    assert pooled[0].abs().max() == 0
    assert pooled[1].abs().max() > 0


def test_a_layer_that_is_not_there_is_refused(engine):
    with pytest.raises(ValueError, match="layer must be 1 to 2"):
        FrozenFeatures(engine, layer=3)
