"""A merged model says what base and adapter say together, and is a model folder like any other."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from learner.config import MergedDtype
from learner.engine.lora import CONFIG_FILE, WEIGHTS_FILE
from learner.merging import INDEX_FILE, MergeError, merge_adapter
from learner.model_folder import open_model
from learner.update_config import LoraSpec

IDS = torch.tensor([[5, 6, 7, 8, 9, 200, 17]])


@pytest.fixture
def adapter(backbone, base, tmp_path):
    """A trained adapter's folder; the backbone still speaks with it."""
    parameters = backbone.open_training(base, LoraSpec(rank=4, alpha=8), 3)
    generator = torch.Generator().manual_seed(1)
    for parameter in parameters:
        parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    folder = tmp_path / "adapter"
    folder.mkdir()
    backbone.save_training(folder)
    return folder


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "merged"
    folder.mkdir()
    return folder


@torch.no_grad()
def logits(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    return model, model(input_ids=IDS).logits.float()


def test_the_merged_model_says_what_base_and_adapter_say(backbone, adapter, tiny_folder, target):
    merge_adapter(tiny_folder.path, adapter, target, MergedDtype.BASE)
    _, plain = logits(tiny_folder.path)
    model, merged = logits(target)
    with torch.no_grad():
        together = backbone.base(input_ids=IDS).logits
    torch.testing.assert_close(merged, together, rtol=1e-4, atol=1e-3)
    assert not torch.allclose(merged, plain, atol=0.1)
    assert model.dtype is torch.float32
    tokenizer = AutoTokenizer.from_pretrained(target)
    theirs = AutoTokenizer.from_pretrained(tiny_folder.path)
    message = [{"role": "user", "content": "hello"}]
    assert tokenizer.apply_chat_template(message) == theirs.apply_chat_template(message)
    assert open_model(target, name="merged", digests=target / "digests.json").sha256


def test_half_the_bytes_say_nearly_the_same(backbone, adapter, tiny_folder, target):
    merge_adapter(tiny_folder.path, adapter, target, MergedDtype.BFLOAT16)
    model, merged = logits(target)
    assert model.dtype is torch.bfloat16
    with torch.no_grad():
        together = backbone.base(input_ids=IDS).logits
    cosine = torch.nn.functional.cosine_similarity(merged.flatten(), together.flatten(), dim=0)
    assert cosine > 0.999
    assert json.loads((target / "config.json").read_text())["dtype"] == "bfloat16"


def test_shards_and_their_index_stay_and_no_path_of_this_machine_does(
    adapter, tiny_folder, tmp_path, target
):
    sharded = tmp_path / "sharded"
    shutil.copytree(tiny_folder.path, sharded)
    weights = load_file(sharded / "model.safetensors")
    (sharded / "model.safetensors").unlink()
    names = sorted(weights)
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, some in shards.items():
        save_file({name: weights[name] for name in some}, sharded / file, {"format": "pt"})
    where = {name: file for file, some in shards.items() for name in some}
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (sharded / INDEX_FILE).write_text(json.dumps(index))
    config = json.loads((sharded / "config.json").read_text())
    (sharded / "config.json").write_text(json.dumps(config | {"_name_or_path": "/home/somebody"}))
    (sharded / "notes.json").write_text("{}")

    merge_adapter(sharded, adapter, target, MergedDtype.FLOAT16)
    size = sum(2 * tensor.numel() for tensor in weights.values())
    written = json.loads((target / INDEX_FILE).read_text())
    assert written == {"metadata": {"total_size": size}, "weight_map": where}
    assert "somebody" not in (target / "config.json").read_text()
    assert not (target / "notes.json").exists()
    whole = tmp_path / "whole"
    whole.mkdir()
    merge_adapter(tiny_folder.path, adapter, whole, MergedDtype.FLOAT16)
    assert torch.equal(logits(target)[1], logits(whole)[1])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.pop(next(n for n in t if ".lora_B." in n)), "no second half"),
        (lambda t: t.pop(next(n for n in t if ".lora_A." in n)), "belongs to no pair"),
        (
            lambda t: t.update({n.replace("layers.0", "layers.7"): t.pop(n) for n in list(t)}),
            r"changes model.layers.7.*, which the base has not",
        ),
        (
            lambda t: t.update({n: one[:, :5].clone() for n, one in t.items() if ".lora_A." in n}),
            "do not fit",
        ),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(adapter, tiny_folder, target, change, reason):
    tensors = load_file(adapter / WEIGHTS_FILE)
    change(tensors)
    save_file(tensors, adapter / WEIGHTS_FILE)
    with pytest.raises(MergeError, match=reason):
        merge_adapter(tiny_folder.path, adapter, target, MergedDtype.BASE)


def test_what_is_no_plain_lora_and_a_quantised_base_are_refused(
    adapter, tiny_folder, tmp_path, target
):
    quantised = tmp_path / "quantised"
    shutil.copytree(tiny_folder.path, quantised)
    config = json.loads((quantised / "config.json").read_text())
    (quantised / "config.json").write_text(json.dumps(config | {"quantization_config": {}}))
    with pytest.raises(MergeError, match="is quantised"):
        merge_adapter(quantised, adapter, target, MergedDtype.BASE)
    file = adapter / CONFIG_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | {"use_dora": True}))
    with pytest.raises(MergeError, match="only plain LoRA can be merged, not use_dora"):
        merge_adapter(tiny_folder.path, adapter, target, MergedDtype.BASE)
