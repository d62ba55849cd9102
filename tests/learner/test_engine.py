"""The policy engine: same draws in any batch, pinned versions, contexts that fit."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM, Gemma3Config, Gemma3ForConditionalGeneration

from learner.build import load_serving
from learner.config import Decoder
from learner.engine.backbone import RESIDENT_ADAPTERS, TRAINING_VERSION, Backbone
from learner.engine.hf import HfEngine
from learner.engine.lean import LeanEngine
from learner.errors import AdapterLoadError, PromptTooLongError
from learner.measures import ScoredText, reply_logps
from learner.model_folder import ModelError
from learner.update_config import LoraSpec
from storage.records import FinishReason, PolicyVersion, PolicyVersionId
from tests.learner.conftest import SAMPLING, needs_native, user
from tests.tiny import write_tiny


@pytest.fixture(params=["transformers", pytest.param("native", marks=needs_native)])
def engine(request, backbone, engine_config):
    """Both have to do all of this, and so does vLLM (test_vllm.py)."""
    kind = {"transformers": HfEngine, "native": LeanEngine}[request.param]
    return kind(backbone, engine_config)


def run(batch):
    while batch.running:
        batch.step()
    return batch.completions()


def same(ones, others):
    """The same replies. An engine that shares work between rows may sum in another order."""
    assert len(ones) == len(others)
    for one, other in zip(ones, others, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
        assert replace(one, logprobs=other.logprobs) == other
    return True


def make_version(backbone, number, folder, *, seed=0, strength=0.5):
    """A version whose adapter differs from the base by a good deal."""
    parent = PolicyVersion(
        id=PolicyVersionId(0), parent=None, adapter_path=None, created_at=datetime.now(UTC)
    )
    parameters = backbone.open_training(parent, LoraSpec(rank=4, alpha=8), seed)
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        parameter.data.add_(strength * torch.randn(parameter.shape, generator=generator))
    path = folder / f"v{number}"
    path.mkdir()
    backbone.save_training(path)
    backbone.close_training()
    return replace(parent, id=PolicyVersionId(number), parent=PolicyVersionId(0), adapter_path=path)


def test_a_candidate_is_the_same_alone_and_in_a_batch(engine):
    together = run(engine.start(user("Hello there"), 4, SAMPLING, seed=10))
    alone = [run(engine.start(user("Hello there"), 1, SAMPLING, seed=10 + i))[0] for i in range(4)]
    assert [c.token_ids for c in together] == [c.token_ids for c in alone]
    assert len({c.token_ids for c in together}) > 1


def test_prompts_of_different_lengths_share_a_batch_without_touching_each_other(engine):
    prompts = [user("Hi"), user("A much longer message than the first one", "Yes", "And now?")]
    together = run(engine.start_many(prompts, 2, SAMPLING, [3, 30]))
    alone = [
        *run(engine.start(prompts[0], 2, SAMPLING, 3)),
        *run(engine.start(prompts[1], 2, SAMPLING, 30)),
    ]
    assert [c.token_ids for c in together] == [c.token_ids for c in alone]


def test_log_probabilities_equal_a_teacher_forced_pass(engine):
    prompt = user("Tell me something")
    for completion in run(engine.start(prompt, 3, SAMPLING, seed=1)):
        text = ScoredText(
            prompt_ids=engine.render(prompt, SAMPLING).token_ids, reply_ids=completion.token_ids
        )
        with torch.no_grad():
            logp = reply_logps(engine.backbone, [text])[0]
        assert float(logp) == pytest.approx(sum(completion.logprobs), abs=1e-3)


def test_replies_end_by_themselves_or_at_the_limit(engine):
    reasons = {c.finish_reason for c in run(engine.start(user("Go"), 16, SAMPLING, seed=0))}
    assert FinishReason.ABORTED not in reasons
    unfinished = engine.start(user("Go"), 2, SAMPLING, seed=0)
    unfinished.step()
    assert {c.finish_reason for c in unfinished.completions()} <= {
        FinishReason.ABORTED,
        FinishReason.STOP,
    }


def test_dropped_rows_stay_as_they_are_and_the_others_go_on_unchanged(engine):
    whole = run(engine.start(user("Drop"), 3, SAMPLING, seed=5))
    batch = engine.start(user("Drop"), 3, SAMPLING, seed=5)
    for _ in range(3):
        batch.step()
    batch.drop([1])
    after = run(batch)
    assert same([after[0], after[2]], [whole[0], whole[2]])
    assert after[1].token_ids == whole[1].token_ids[: len(after[1].token_ids)]


def test_a_running_reply_keeps_the_version_it_began_with(engine, base, tmp_path):
    version = make_version(engine.backbone, 1, tmp_path)
    expected = run(engine.start(user("Pin me"), 2, SAMPLING, seed=4))
    batch = engine.start(user("Pin me"), 2, SAMPLING, seed=4)
    for _ in range(3):
        batch.step()
    engine.load(version)
    assert same(run(batch), expected)
    assert {c.policy_version for c in expected} == {0}
    new = run(engine.start(user("Pin me"), 2, SAMPLING, seed=4))
    assert {c.policy_version for c in new} == {1}
    assert [c.token_ids for c in new] != [c.token_ids for c in expected]
    engine.load(base)
    assert same(run(engine.start(user("Pin me"), 2, SAMPLING, seed=4)), expected)


def test_only_a_few_versions_stay_in_memory(engine, tmp_path):
    versions = [make_version(engine.backbone, n, tmp_path, seed=n) for n in range(1, 7)]
    first = None
    for version in versions:
        engine.load(version)
        spoken = run(engine.start(user("Who speaks?"), 1, SAMPLING, seed=0))
        first = first or spoken
        assert spoken[0].policy_version == version.id
    assert len(engine.backbone.resident) <= RESIDENT_ADAPTERS
    engine.load(versions[0])
    assert run(engine.start(user("Who speaks?"), 1, SAMPLING, seed=0)) == first


@pytest.mark.parametrize("damage", ["missing", "truncated", "nan", "rank"])
def test_a_broken_adapter_is_refused_and_the_old_version_still_speaks(
    engine, base, tmp_path, damage
):
    version = make_version(engine.backbone, 1, tmp_path)
    weights = version.adapter_path / "adapter_model.safetensors"
    match damage:
        case "missing":
            weights.unlink()
        case "truncated":
            weights.write_bytes(weights.read_bytes()[:-100])
        case "nan":
            from safetensors.torch import load_file, save_file

            tensors = load_file(weights)
            next(iter(tensors.values()))[0, 0] = torch.nan
            save_file(tensors, weights)
        case "rank":
            config = version.adapter_path / "adapter_config.json"
            config.write_text(config.read_text().replace('"r": 4', '"r": 0'))
    before = run(engine.start(user("Still here?"), 1, SAMPLING, seed=2))
    with pytest.raises(AdapterLoadError, match="Version 1 can't be loaded"):
        engine.load(version)
    assert same(run(engine.start(user("Still here?"), 1, SAMPLING, seed=2)), before)


def test_the_oldest_turns_are_dropped_when_the_context_is_full(engine):
    long = user(*(f"message number {i}, which says a little" for i in range(9)))
    rendered = engine.render(long, SAMPLING)
    assert rendered.dropped_messages > 0
    assert rendered.dropped_messages % 2 == 0  # it opens with a person again
    kept = engine.render(long[rendered.dropped_messages :], SAMPLING)
    assert kept.token_ids == rendered.token_ids
    assert engine.start(long, 1, SAMPLING, 0).dropped_messages == rendered.dropped_messages


def test_a_single_message_beyond_the_context_is_refused_with_a_sentence(engine):
    with pytest.raises(PromptTooLongError, match="too long for the model"):
        engine.start(user("word " * 200), 1, SAMPLING, 0)


def test_a_text_never_ends_inside_a_character(engine):
    tokenizer = engine.backbone.tokenizer
    ids = tokenizer("é", add_special_tokens=False)["input_ids"]
    from learner.engine.rows import decode_text

    assert decode_text(tokenizer, ids) == "é"
    assert decode_text(tokenizer, ids[:1]) == ""


def test_the_adapter_in_training_can_be_sampled(engine, base):
    engine.backbone.open_training(base, LoraSpec(rank=4, alpha=8), 0)
    engine.load_training()
    [completion] = run(engine.start(user("Try"), 1, SAMPLING, 0))
    assert completion.policy_version == TRAINING_VERSION
    engine.backbone.close_training()


def test_a_missing_vllm_is_said_with_what_to_do(engine, engine_config, monkeypatch):
    monkeypatch.setattr("learner.engine.vllm_core.find_spec", lambda _: None)
    assert load_serving(engine, engine_config) is engine
    with pytest.raises(ModelError, match="vLLM is not installed"):
        load_serving(engine, replace(engine_config, decoder=Decoder.VLLM))


def test_given_replies_have_the_log_probabilities_they_were_drawn_with(engine, tmp_path):
    engine.load(make_version(engine.backbone, 1, tmp_path))
    prompt = user("Tell me something")
    for completion in run(engine.start(prompt, 2, SAMPLING, seed=1)):
        given = engine.logprobs(engine.render(prompt, SAMPLING).token_ids, completion.token_ids)
        assert given == pytest.approx(completion.logprobs, abs=1e-3)


def test_a_reply_ends_as_the_chat_template_ends_it(tiny_folder, engine_config, tmp_path):
    """Not with the tokenizer's own end of sequence, where a template has another one for turns."""
    folder = Path(shutil.copytree(tiny_folder.path, tmp_path / "turns"))
    said = json.loads((folder / "generation_config.json").read_text())
    plain = Backbone(tiny_folder.path, engine_config)
    end_of_turn = plain.tokenizer("~")["input_ids"]
    said["eos_token_id"] = [257, *end_of_turn]
    (folder / "generation_config.json").write_text(json.dumps(said))
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text(template.replace("<|im_end|>", "~"))
    backbone = Backbone(folder, engine_config)
    assert backbone.eos_ids == (257, *end_of_turn)
    assert backbone.end_ids == tuple(end_of_turn)
    assert plain.end_ids == (257,)


def test_a_model_for_more_than_text_is_refused(engine_config, tmp_path):
    def with_pictures(**text):
        size = {"hidden_size": 16, "intermediate_size": 32, "image_size": 28, "patch_size": 14}
        pictures = size | {"num_hidden_layers": 1, "num_attention_heads": 2}
        return Gemma3Config(
            text_config=text | {"head_dim": 16},
            vision_config=pictures,
            mm_tokens_per_image=4,
            eos_token_id=257,
        )

    model = write_tiny(tmp_path, Gemma3ForConditionalGeneration, with_pictures)
    with pytest.raises(ModelError, match="choose one for text alone"):
        Backbone(model.path, engine_config)


def test_a_model_that_does_not_say_how_much_it_can_read_is_refused_until_it_does(
    engine_config, tmp_path
):
    model = write_tiny(tmp_path, BloomForCausalLM, BloomConfig)
    assert Backbone(model.path, engine_config).context_tokens == 512
    path = model.path / "config.json"
    said = json.loads(path.read_text())
    del said["max_position_embeddings"]
    path.write_text(json.dumps(said))
    with pytest.raises(ModelError, match="write max_position_embeddings into"):
        Backbone(model.path, engine_config)


def test_damaged_weights_are_said_to_be(tiny_folder, engine_config, tmp_path):
    folder = Path(shutil.copytree(tiny_folder.path, tmp_path / "damaged"))
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="can't be loaded"):
        Backbone(folder, engine_config)
