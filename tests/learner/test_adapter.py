"""LoRA beside linear layers: PEFT's arithmetic, PEFT's folders."""

import errno
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from learner.engine.lora import CONFIG_FILE, WEIGHTS_FILE
from learner.errors import AdapterLoadError
from learner.update_config import LoraSpec
from storage.records import PolicyVersion, PolicyVersionId

IDS = torch.tensor([[5, 6, 7, 8, 9, 200, 17]])


@pytest.fixture
def version(backbone, base, tmp_path):
    parameters = backbone.open_training(base, LoraSpec(rank=4, alpha=8), 3)
    generator = torch.Generator().manual_seed(1)
    for parameter in parameters:
        parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    backbone.save_training(tmp_path)
    return PolicyVersion(
        id=PolicyVersionId(1), parent=base.id, adapter_path=tmp_path, created_at=base.created_at
    )


def test_peft_reads_the_folder_and_says_the_same(backbone, version, tiny_folder):
    from peft import PeftModel

    plain = AutoModelForCausalLM.from_pretrained(tiny_folder.path)
    theirs = PeftModel.from_pretrained(plain, version.adapter_path, is_trainable=True)
    logits = theirs(input_ids=IDS).logits
    ours = backbone.base(input_ids=IDS).logits
    torch.testing.assert_close(ours, logits)
    trained = {n: p for n, p in theirs.named_parameters() if p.requires_grad}
    expected = torch.autograd.grad(logits.square().sum(), list(trained.values()))
    by_name = dict(zip(trained, expected, strict=True))
    lora = backbone.training_lora().tensors
    found = torch.autograd.grad(ours.square().sum(), list(lora.values()))
    for name, gradient in zip(lora, found, strict=True):
        peft_name = name.replace(".weight", ".default.weight")
        torch.testing.assert_close(gradient, by_name[peft_name], rtol=1e-4, atol=1e-3)
    assert len(lora) == len(trained)


def test_what_is_written_is_read_again(backbone, version):
    with torch.no_grad():
        trained = backbone.base(input_ids=IDS).logits
        backbone.close_training()
        at_base = backbone.base(input_ids=IDS).logits
        backbone.ensure_resident(version)
        backbone.use(version.id)
        again = backbone.base(input_ids=IDS).logits
    assert torch.equal(again, trained)
    assert not torch.allclose(again, at_base)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"use_dora": True}, "only plain LoRA can be used, not use_dora"),
        ({"bias": "all"}, "only plain LoRA can be used, not bias"),
        ({"peft_type": "IA3"}, "not a LoRA"),
        ({"r": 5}, "its config says 5"),
    ],
)
def test_an_adapter_of_another_kind_is_refused(backbone, version, change, reason):
    backbone.close_training()
    file = version.adapter_path / CONFIG_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(AdapterLoadError, match=reason):
        backbone.ensure_resident(version)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (OSError(errno.EMFILE, "Too many open files"), True),
        (MemoryError("Cannot allocate memory"), True),
        (ValueError("it holds no tensors"), False),
    ],
)
def test_a_system_that_refuses_is_told_from_an_adapter_that_is_wrong(
    backbone, version, monkeypatch, error, passes
):
    backbone.close_training()

    def refused(_):
        raise error

    monkeypatch.setattr("learner.engine.backbone.read_adapter", refused)
    with pytest.raises(AdapterLoadError, match="Version 1 can't be loaded") as caught:
        backbone.ensure_resident(version)
    assert caught.value.may_pass is passes


@pytest.mark.parametrize("missing", [True, False])
def test_an_adapter_for_another_model_is_refused(backbone, version, missing):
    backbone.close_training()
    tensors = load_file(version.adapter_path / WEIGHTS_FILE)
    name = next(iter(tensors))
    moved = tensors.pop(name)
    if not missing:
        tensors[name] = moved
        tensors[name.replace("layers.0", "layers.7")] = moved.clone()
    save_file(tensors, version.adapter_path / WEIGHTS_FILE)
    with pytest.raises(AdapterLoadError, match="can't be loaded"):
        backbone.ensure_resident(version)
    assert backbone.resident == ()
