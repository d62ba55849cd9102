"""The lean engine against the transformers one: same text, and caches that may be reused."""

import json
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from learner.build import load_engine
from learner.config import Decoder
from learner.engine.backbone import Backbone
from learner.engine.hf import HfEngine
from learner.engine.kv import common_length
from learner.engine.lean import LeanEngine
from learner.engine.native import build
from learner.errors import AdapterLoadError
from learner.machine import machine_report
from learner.model_folder import ModelError
from learner.styles import STYLES
from storage.records import Message, Role
from tests.learner.conftest import SAMPLING, needs_native, user
from tests.learner.test_engine import make_version, run
from tests.tiny import write_tiny

pytestmark = needs_native

PROMPT = user("Tell me something", "What?", "About the sea, and rather a lot of it")


@pytest.fixture
def lean(backbone, engine_config):
    return LeanEngine(backbone, engine_config)


@pytest.fixture
def reference(backbone, engine_config):
    return HfEngine(backbone, engine_config)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("adapter", [False, True])
def test_it_says_what_transformers_says(lean, reference, tmp_path, temperature, adapter):
    sampling = replace(SAMPLING, temperature=temperature)
    if adapter:
        version = make_version(lean.backbone, 1, tmp_path)
        lean.load(version)
        reference.load(version)
    same = 0
    for seed in range(0, 40, 10):
        ours = run(lean.start(PROMPT, 3, sampling, seed))
        theirs = run(reference.start(PROMPT, 3, sampling, seed))
        for a, b in zip(ours, theirs, strict=True):
            if a.token_ids == b.token_ids:
                same += 1
                assert a.finish_reason == b.finish_reason
                assert a.logprobs == pytest.approx(b.logprobs, abs=2e-4)
    # Two tokens of this random model lie within float32's rounding of each other; a draw that
    # falls between them may go either way.
    assert same == 12 if temperature == 0.0 else same >= 9


def test_a_row_is_bitwise_the_same_alone_and_among_nineteen(lean):
    together = run(lean.start(PROMPT, 19, SAMPLING, 3))
    for row in (0, 7, 8, 18):
        [alone] = run(lean.start(PROMPT, 1, SAMPLING, 3 + row))
        assert alone.token_ids == together[row].token_ids
        assert alone.logprobs == together[row].logprobs  # equal, not approximately


def test_the_next_turn_goes_on_from_what_is_known(lean, engine_config, monkeypatch):
    encoded = counting_prefills(lean, monkeypatch)
    first = run(lean.start(PROMPT, 2, SAMPLING, 5))[1]
    turn = (
        *PROMPT,
        Message(role=Role.ASSISTANT, content=first.text),
        Message(role=Role.USER, content="Go on"),
    )
    again = run(lean.start(turn, 2, SAMPLING, 6))
    known = lean.render(PROMPT, SAMPLING).token_ids
    assert encoded[0] == len(known) - 1
    assert encoded[1] <= len(lean.render(turn, SAMPLING).token_ids) - len(known)
    fresh = LeanEngine(lean.backbone, engine_config)
    afresh = run(fresh.start(turn, 2, SAMPLING, 6))
    assert [c.token_ids for c in again] == [c.token_ids for c in afresh]
    for a, b in zip(again, afresh, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=2e-4)


def test_another_version_does_not_go_on_from_the_caches_of_the_one_before(
    lean, base, engine_config, tmp_path
):
    version = make_version(lean.backbone, 1, tmp_path)
    lean.load(base)
    run(lean.start(PROMPT, 2, SAMPLING, 5))
    lean.load(version)
    fresh = LeanEngine(lean.backbone, engine_config)
    fresh.load(version)
    assert run(lean.start(PROMPT, 2, SAMPLING, 5)) == run(fresh.start(PROMPT, 2, SAMPLING, 5))


def test_an_adapter_of_another_kind_is_refused(lean, tmp_path):
    version = make_version(lean.backbone, 1, tmp_path)
    path = version.adapter_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"use_rslora": True}))
    with pytest.raises(AdapterLoadError, match="only plain LoRA"):
        lean.load(version)


def test_values_that_are_no_numbers_stop_the_reply(lean):
    lean.weights.final_norm.fill_(torch.nan)
    with pytest.raises(FloatingPointError):
        run(lean.start(PROMPT, 1, SAMPLING, 0))


def test_without_a_compiler_transformers_decodes(tiny_folder, engine_config, monkeypatch):
    def no_compiler():
        raise build.NativeUnavailableError("there is no C++ compiler (c++, g++ or clang++)")

    monkeypatch.setattr(build, "_compiler", no_compiler)
    assert isinstance(load_engine(tiny_folder, engine_config), HfEngine)
    with pytest.raises(ModelError, match="no C\\+\\+ compiler"):
        load_engine(tiny_folder, replace(engine_config, decoder=Decoder.NATIVE))


def test_the_step_is_compiled_once(tmp_path, monkeypatch):
    assert build.load_library(tmp_path)._name == build.load_library(tmp_path)._name
    monkeypatch.setattr(build, "_compile", lambda *_: pytest.fail("compiled again"))
    build.load_library(tmp_path)


@pytest.mark.parametrize("left", [b"", b"\x7fELF"])
def test_a_step_that_a_crash_cut_short_is_compiled_anew(tmp_path, left):
    [kept] = [Path(build.load_library(tmp_path)._name)]
    damaged = tmp_path / "elsewhere"  # a process that has a library loaded asks no file again
    damaged.mkdir()
    (damaged / kept.name).write_bytes(left)
    assert build.load_library(damaged).team_new
    assert (damaged / kept.name).stat().st_size == kept.stat().st_size


def test_a_step_that_cannot_be_kept_leaves_decoding_to_transformers(
    tiny_folder, engine_config, tmp_path, monkeypatch
):
    taken = tmp_path / "a file"
    taken.touch()
    monkeypatch.setattr(build, "native_cache", lambda: taken / "cache")
    assert isinstance(load_engine(tiny_folder, engine_config), HfEngine)
    assert machine_report(engine_config)["decoder"].startswith("transformers; the compiled step")
    with pytest.raises(ModelError, match="a file"):
        load_engine(tiny_folder, replace(engine_config, decoder=Decoder.NATIVE))


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_positions_that_turn_with_the_length_are_left_to_transformers(
    engine_config, tmp_path, kind
):
    scaling = {"rope_type": kind, "rope_theta": 10_000.0, "factor": 4.0}
    if kind == "longrope":
        scaling |= {"short_factor": [1.0] * 8, "long_factor": [4.0] * 8}
        scaling |= {"original_max_position_embeddings": 128}
    model = write_tiny(tmp_path, LlamaForCausalLM, LlamaConfig, rope_parameters=scaling)
    assert isinstance(load_engine(model, engine_config), HfEngine)
    with pytest.raises(ModelError, match=kind):
        load_engine(model, replace(engine_config, decoder=Decoder.NATIVE))


def test_a_model_of_another_shape_is_left_to_transformers(tiny_folder, engine_config):
    backbone = Backbone(tiny_folder.path, engine_config)
    backbone.base.config.attention_bias = True
    with pytest.raises(Exception, match="biases"):
        LeanEngine(backbone, engine_config)


def test_common_beginnings():
    assert common_length([1, 2, 3], [1, 2, 4, 5]) == 2
    assert common_length([], [1]) == 0
    assert common_length([1, 2], [1, 2, 3]) == 2


def counting_prefills(engine, monkeypatch):
    encoded = []
    forward = engine.weights.forward

    def counting(segments, lora, layers=None):
        encoded.append(sum(len(segment.token_ids) for segment in segments))
        return forward(segments, lora, layers)

    monkeypatch.setattr(engine.weights, "forward", counting)
    return encoded


def test_a_new_version_is_warmed_so_that_the_next_turn_encodes_little(
    lean, engine_config, tmp_path, monkeypatch
):
    [reply] = run(lean.start(PROMPT, 1, SAMPLING, 5))
    said = (*PROMPT, Message(role=Role.ASSISTANT, content=reply.text))
    version = make_version(lean.backbone, 1, tmp_path)
    lean.load(version)
    lean.warm(said, SAMPLING, Event())
    encoded = counting_prefills(lean, monkeypatch)
    turn = (*said, Message(role=Role.USER, content="Go on"))
    warmed = run(lean.start(turn, 2, SAMPLING, 6))
    assert sum(encoded) < 40 < len(lean.render(said, SAMPLING).token_ids)
    fresh = LeanEngine(lean.backbone, engine_config)
    fresh.load(version)
    assert [c.token_ids for c in warmed] == [
        c.token_ids for c in run(fresh.start(turn, 2, SAMPLING, 6))
    ]


def test_warming_gives_way_to_somebody_who_waits(lean, monkeypatch):
    encoded = counting_prefills(lean, monkeypatch)
    hurry = Event()
    hurry.set()
    lean.warm(PROMPT, SAMPLING, hurry)
    assert encoded == []


def test_a_compiler_that_refuses_is_said_in_its_own_words(tmp_path, monkeypatch):
    broken = tmp_path / "broken.cpp"
    broken.write_text("this is not C++")
    monkeypatch.setattr(build, "_SOURCE", broken)
    with pytest.raises(build.NativeUnavailableError, match="refused the source"):
        build.load_library(tmp_path)


def test_many_more_threads_than_cores_change_no_bit(backbone, engine_config, monkeypatch):
    """Threads come late, are put aside, leave a step to the others: the figures stay."""
    spoken = []
    for threads in (1, 13):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        monkeypatch.setattr("learner.engine.lean.MAX_THREADS", threads)
        engine = LeanEngine(backbone, engine_config)
        spoken.append([run(engine.start(PROMPT, 5, SAMPLING, seed)) for seed in range(0, 50, 5)])
    assert spoken[0] == spoken[1]


def test_a_style_costs_only_what_it_adds_to_the_prompt(lean, monkeypatch):
    encoded = counting_prefills(lean, monkeypatch)
    run(lean.start(PROMPT, 4, SAMPLING, 5, [STYLES["short"], STYLES["list"]]))
    plain = lean.render(PROMPT, SAMPLING).token_ids
    told = [
        lean.render(STYLES[name].told(PROMPT), SAMPLING).token_ids for name in ("short", "list")
    ]
    added = [len(ids) - common_length(plain, ids) - 1 for ids in told]
    assert encoded == [len(plain) - 1, sum(added)]
