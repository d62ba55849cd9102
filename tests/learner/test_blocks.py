"""Block-quantised weights: packed without loss, and decoded to the same bits."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from learner.build import load_engine
from learner.engine.backbone import Backbone
from learner.engine.lean import LeanEngine
from learner.engine.native.blocks import pack4, pack8, packed_llama, unpack4, unpack8
from learner.engine.native.build import NativeUnavailableError
from tests.learner.conftest import SAMPLING, full_disk, needs_native, user
from tests.learner.test_engine import make_version, run
from tests.tiny import write_tiny_model

pytestmark = needs_native


def blocks_of(shape, largest, *, signed, seed=0):
    """Weights as a GGUF file unpacks them: float16 scales, small whole numbers."""
    generator = torch.Generator().manual_seed(seed)
    rows, width = shape
    low = -largest if signed else 0
    q = torch.randint(low, largest + 1, (rows, width // 32, 32), generator=generator).float()
    q[..., 0], q[..., 1] = low, largest  # as a quantiser leaves them: both ends are used
    scale = torch.rand(rows, width // 32, 1, generator=generator).half().float() * 0.01
    scale = scale.half().float()
    minimum = torch.zeros_like(scale)
    if not signed:
        minimum = torch.randn(rows, width // 32, 1, generator=generator).half().float()
    return torch.addcmul(minimum, q, scale).view(rows, width)


def test_four_bit_blocks_come_back_exactly():
    weight = blocks_of((64, 96), 15, signed=False)
    assert torch.equal(unpack4(pack4(weight)), weight)


def test_eight_bit_blocks_come_back_exactly():
    weight = blocks_of((64, 96), 127, signed=True)
    assert torch.equal(unpack8(pack8(weight)), weight)


@pytest.mark.parametrize("pack", [pack4, pack8])
def test_other_weights_are_not_taken_for_blocks(pack):
    weight = blocks_of((8, 64), 15, signed=False) if pack is pack4 else torch.randn(8, 64)
    weight[3, 40] += 1e-4
    assert pack(weight) is None
    assert pack(torch.randn(8, 33)) is None
    assert pack(blocks_of((8, 64), 15, signed=False).half()) is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tiny model with weights that blocks and bfloat16 both hold exactly."""
    model = write_tiny_model(tmp_path_factory.mktemp("blocks"))
    path = model.path / "model.safetensors"
    tensors = load_file(path)
    generator = torch.Generator().manual_seed(3)
    for name, weight in tensors.items():
        if weight.dim() != 2:
            continue
        head = "embed" in name
        largest = 127 if head else 15
        q = torch.randint(0, largest + 1, weight.shape, generator=generator).float()
        q[:, ::32], q[:, 1::32] = 0, largest
        step = 2.0**-6 if head else 2.0**-4
        tensors[name] = q * step if head else q * step - 8 * step
    save_file(tensors, path, metadata={"format": "pt"})
    return model


def test_blocks_say_bit_for_bit_what_plain_weights_say(folder, engine_config, tmp_path):
    config = replace(engine_config, dtype="bfloat16")
    backbone = Backbone(folder.path, config)
    packed = packed_llama(folder.path, 2, tmp_path / "blocks.safetensors")
    assert packed is not None
    plain, blocks = LeanEngine(backbone, config), LeanEngine(backbone, config, packed)
    version = make_version(backbone, 1, tmp_path)
    for engine in (plain, blocks):
        engine.load(version)
    for n in (1, 2, 4, 8, 11):
        ours, theirs = (
            run(engine.start(user("Hello"), n, SAMPLING, 0)) for engine in (plain, blocks)
        )
        assert ours == theirs
    assert packed_llama(folder.path, 2, tmp_path / "blocks.safetensors") is not None  # kept


def test_blocks_are_for_the_arithmetic_they_are_laid_out_for(folder, engine_config, tmp_path):
    packed = packed_llama(folder.path, 2, tmp_path / "blocks.safetensors")
    with pytest.raises(NativeUnavailableError, match="bfloat16"):
        LeanEngine(Backbone(folder.path, engine_config), engine_config, packed)


def test_a_model_without_blocks_is_remembered_as_one(tiny_folder, tmp_path, monkeypatch):
    cache = tmp_path / "none.safetensors"
    assert packed_llama(tiny_folder.path, 2, cache) is None
    monkeypatch.setattr(
        "learner.engine.native.blocks._pack_all", lambda *_: pytest.fail("looked again")
    )
    assert packed_llama(tiny_folder.path, 2, cache) is None


def same(ones, others):
    return torch.equal(ones.head, others.head) and all(
        torch.equal(one[name], other[name])
        for one, other in zip(ones.layers, others.layers, strict=True)
        for name in one
    )


@pytest.mark.parametrize("size", [0, 1000])
def test_blocks_that_a_crash_cut_short_are_made_anew(folder, tmp_path, size):
    cache = tmp_path / "blocks.safetensors"
    whole = packed_llama(folder.path, 2, cache)
    left = cache.read_bytes()[:size]
    cache.unlink()  # ``whole`` lies in it
    cache.write_bytes(left)
    assert same(packed_llama(folder.path, 2, cache), whole)
    assert load_file(cache)
    assert list(tmp_path.iterdir()) == [cache]


def test_blocks_that_cannot_be_kept_are_used_all_the_same(folder, tmp_path):
    whole = packed_llama(folder.path, 2, tmp_path / "blocks.safetensors")
    taken = tmp_path / "a file"
    taken.touch()
    assert same(packed_llama(folder.path, 2, taken / "blocks.safetensors"), whole)
    with full_disk():
        found = packed_llama(folder.path, 2, tmp_path / "full" / "blocks.safetensors")
    assert same(found, whole)
    assert list((tmp_path / "full").iterdir()) == []


def test_the_engine_takes_blocks_where_there_are_some(folder, engine_config, monkeypatch, tmp_path):
    monkeypatch.setattr("learner.build.native_cache", lambda: tmp_path)
    engine = load_engine(folder, replace(engine_config, dtype="bfloat16"))
    assert isinstance(engine, LeanEngine)
    assert list(tmp_path.glob("blocks-*.safetensors"))
