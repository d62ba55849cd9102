"""Features of the frozen base."""

import pytest
import torch

from learner.engine.hf import HfEngine
from learner.engine.lean import LeanEngine
from learner.features import frozen_features
from learner.rendering import prompt_ids
from learner.reward.featured import as_half
from learner.update_config import LoraSpec
from storage.records import Sampling
from tests.learner.conftest import needs_native, user

REPLIES = [(5, 6, 7, 8), (9, 10), (20, 21, 22, 23, 24, 25)]


@pytest.fixture(params=[HfEngine, pytest.param(LeanEngine, marks=needs_native)])
def engine(request, backbone, engine_config):
    return request.param(backbone, engine_config)


def whole_model_features(backbone, prompt, reply, layer):
    """The same by the plain model, one reply at a time, without any cache."""
    ids = prompt_ids(backbone.tokenizer, prompt)
    with torch.no_grad():
        states = backbone.base(
            input_ids=torch.tensor([[*ids, *reply]]), output_hidden_states=True
        ).hidden_states
    return states[layer][0, len(ids) :].mean(dim=0)


def test_batched_and_cached_features_equal_the_plain_model(engine):
    features = frozen_features(engine, layer=1)
    prompt = user("What is this?")
    pooled = features.extract(prompt, REPLIES)
    for row, reply in zip(pooled, REPLIES, strict=True):
        expected = whole_model_features(engine.backbone, prompt, reply, layer=1)
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=1e-4)


def test_the_prompt_may_be_reused_and_changed(engine):
    features = frozen_features(engine)
    first = features.extract(user("One"), REPLIES)
    other = features.extract(user("Two"), REPLIES)
    assert not torch.allclose(first, other)
    torch.testing.assert_close(features.extract(user("One"), REPLIES), first)


def test_an_adapter_that_speaks_does_not_move_them(engine, base):
    features = frozen_features(engine)
    before = features.extract(user("Fixed"), REPLIES)
    for parameter in engine.backbone.open_training(base, LoraSpec(rank=4, alpha=8), 0):
        parameter.data.add_(1.0)
    after = frozen_features(engine).extract(user("Fixed"), REPLIES)
    torch.testing.assert_close(after, before)
    engine.backbone.close_training()


def test_an_empty_reply_has_the_zero_feature(engine):
    pooled = frozen_features(engine).extract(user("Quiet"), [(), (5, 6)])
    assert pooled[0].abs().max() == 0
    assert pooled[1].abs().max() > 0


def test_a_layer_that_is_not_there_is_refused(engine):
    with pytest.raises(ValueError, match="layer must be 1 to 2"):
        frozen_features(engine, layer=3)


def test_a_draft_that_goes_on_has_the_features_of_the_whole(engine):
    features = frozen_features(engine)
    prompt = user("Go on")
    features.extract(prompt, [reply[:2] for reply in REPLIES])
    grown = features.extract(prompt, REPLIES)
    afresh = frozen_features(engine).extract(prompt, REPLIES)
    torch.testing.assert_close(grown, afresh, atol=1e-5, rtol=1e-4)


def test_the_next_turn_has_the_features_it_would_have_alone(engine):
    features = frozen_features(engine)
    features.extract(user("Hello"), REPLIES)
    turn = user("Hello", engine.backbone.tokenizer.decode(REPLIES[2]), "And then?")
    expected = frozen_features(engine).extract(turn, REPLIES)
    torch.testing.assert_close(features.extract(turn, REPLIES), expected, atol=1e-5, rtol=1e-4)


def test_replies_that_begin_alike_are_kept_apart(engine):
    features = frozen_features(engine)
    prompt = user("Twins")
    features.extract(prompt, [(5, 6), (5, 6)])
    grown = features.extract(prompt, [(5, 6, 7), (5, 6, 8), (5, 6)])
    afresh = frozen_features(engine).extract(prompt, [(5, 6, 7), (5, 6, 8), (5, 6)])
    torch.testing.assert_close(grown, afresh, atol=1e-5, rtol=1e-4)


@needs_native
def test_one_reply_alone_does_not_make_the_others_forget_their_drafts(
    backbone, engine_config, monkeypatch
):
    engine = LeanEngine(backbone, engine_config)
    features = frozen_features(engine)
    prompt = user("Go on")
    features.extract(prompt, [reply[:2] for reply in REPLIES])
    features.extract(prompt, REPLIES[:1])
    encoded = []
    forward = engine.weights.forward

    def counting(segments, *others):
        encoded.extend(len(segment.token_ids) for segment in segments)
        return forward(segments, *others)

    monkeypatch.setattr(engine.weights, "forward", counting)
    features.extract(prompt, REPLIES)
    assert sum(encoded) == sum(len(reply) - 2 for reply in REPLIES[1:])


@needs_native
def test_of_a_message_that_is_retried_on_and_on_only_the_newest_replies_are_kept(
    backbone, engine_config
):
    features = frozen_features(LeanEngine(backbone, engine_config))
    prompt = user("Again")
    for number in range(20):
        replies = [(number, 5, n) for n in range(4)]
        found = features.extract(prompt, replies)
    assert len(features._replies) <= 20
    torch.testing.assert_close(
        found,
        frozen_features(LeanEngine(backbone, engine_config)).extract(prompt, replies),
        atol=1e-5,
        rtol=1e-4,
    )


def test_a_long_chat_leaves_room_for_the_reply_where_the_context_is_small(engine):
    """The tiny model has 512 places: a reply is read behind the prompt it was written behind."""
    said = [f"{n} " + "word " * 10 for n in range(15)]
    reply = tuple(5 + n % 200 for n in range(330))
    pooled = frozen_features(engine, layer=1).extract(user(*said), [reply])
    room = Sampling(max_new_tokens=len(reply))
    prompt = engine.render(user(*said), room)
    assert prompt.dropped_messages and len(prompt.token_ids) + len(reply) <= 512
    kept = user(*said)[prompt.dropped_messages :]
    expected = whole_model_features(engine.backbone, kept, reply, layer=1)
    torch.testing.assert_close(pooled[0], expected, atol=1e-5, rtol=1e-4)


def test_states_beyond_half_precision_stay_finite_and_the_order_they_had():
    pooled = torch.tensor([[1.5, -2.0, 1e6, -float("inf"), 65504.0]])
    assert as_half(pooled).tolist() == [[1.5, -2.0, 65504.0, -65504.0, 65504.0]]
