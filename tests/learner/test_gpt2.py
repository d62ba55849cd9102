"""GPT-2, whose layers store their matrices transposed, chats and learns as any other model."""

from threading import Event

import pytest
import torch
from transformers import AutoModelForCausalLM

from learner.build import build_replies
from learner.config import AskConfig, EngineConfig, MergedDtype, RewardConfig
from learner.engine.backbone import Backbone
from learner.engine.hf import HfEngine
from learner.features import frozen_features
from learner.merging import merge_adapter
from learner.model_folder import ModelError
from learner.update_config import LoraSpec
from learner.updates.lesson import Lesson
from storage.records import PolicyVersion, PolicyVersionId
from tests.learner.conftest import SAMPLING, user
from tests.learner.test_features import REPLIES, whole_model_features
from tests.learner.test_online_dpo import make_pairs, make_rule, margin_now
from tests.tiny import write_tiny_gpt2

IDS = torch.tensor([[5, 6, 7, 8, 9, 200, 17]])
CPU = EngineConfig(sampling=SAMPLING, dtype="float32", device="cpu", max_prompt_tokens=256)


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    return write_tiny_gpt2(tmp_path_factory.mktemp("gpt2"))


@pytest.fixture
def backbone(gpt2):
    return Backbone(gpt2.path, CPU)


@pytest.fixture
def version(backbone, base, tmp_path):
    """A trained adapter, which still speaks."""
    generator = torch.Generator().manual_seed(1)
    for parameter in backbone.open_training(base, LoraSpec(rank=4, alpha=8), 3):
        parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    backbone.save_training(tmp_path)
    return PolicyVersion(
        id=PolicyVersionId(1), parent=base.id, adapter_path=tmp_path, created_at=base.created_at
    )


@torch.no_grad()
def test_peft_and_a_merged_model_say_the_same(backbone, version, gpt2, tmp_path):
    from peft import PeftModel

    ours = backbone.base(input_ids=IDS).logits
    backbone.close_training()
    assert not torch.allclose(backbone.base(input_ids=IDS).logits, ours, atol=0.1)
    backbone.ensure_resident(version)
    backbone.use(version.id)
    torch.testing.assert_close(backbone.base(input_ids=IDS).logits, ours)
    theirs = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(gpt2.path), version.adapter_path
    )
    torch.testing.assert_close(theirs(input_ids=IDS).logits, ours, rtol=1e-4, atol=1e-4)
    (target := tmp_path / "merged").mkdir()
    merge_adapter(gpt2.path, version.adapter_path, target, MergedDtype.BASE)
    merged = AutoModelForCausalLM.from_pretrained(target)
    torch.testing.assert_close(merged(input_ids=IDS).logits, ours, rtol=1e-4, atol=1e-3)


def test_its_features_are_those_of_the_plain_model(backbone):
    pooled = frozen_features(HfEngine(backbone, CPU), layer=1).extract(user("Hm?"), REPLIES)
    for row, reply in zip(pooled, REPLIES, strict=True):
        expected = whole_model_features(backbone, user("Hm?"), reply, layer=1)
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=1e-4)


def test_a_lesson_raises_what_was_chosen(backbone, base):
    pairs, rule = make_pairs(backbone.tokenizer), make_rule(backbone)
    before = margin_now(backbone, pairs)
    rule.update(base, Lesson(pairs=tuple(pairs)), seed=1)
    assert (margin_now(backbone, pairs) > before).all()
    rule.close()


def test_it_replies(gpt2, base):
    replies = build_replies(gpt2, engine=CPU, ask=AskConfig(), reward=RewardConfig())
    plan = replies.reply(user("Hello"), base, 1, lambda _: None, Event())
    assert plan.shown[0].feature is not None


def test_a_model_of_unknown_build_is_refused_with_a_sentence(backbone):
    backbone.decoder._modules["strange"] = backbone.decoder._modules.pop("h")
    with pytest.raises(ModelError, match="does not know where the layers of a GPT2Model are"):
        frozen_features(HfEngine(backbone, CPU))
