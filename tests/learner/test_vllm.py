"""The engine on real vLLM and the built-in model: all that is asked of any engine, and its own."""

import gc
from dataclasses import replace
from threading import Event

import pytest
import torch

from learner.config import EngineConfig, Prompting
from learner.engine.backbone import Backbone
from learner.engine.local import ServingEngine
from learner.engine.vllm import VllmEngine, start_core
from learner.errors import AdapterLoadError
from learner.few_shot import STOP
from learner.measures import ScoredText, reply_logps
from learner.styles import STYLES
from learner.update_config import LoraSpec
from learner.written import as_completion
from storage.records import FinishReason, Sampling
from tests.learner import test_engine
from tests.learner.conftest import SAMPLING, user
from tests.learner.test_engine import make_version, run, same

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.model,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("default"),  # what vLLM imports has its own
]

CONFIG = EngineConfig(sampling=SAMPLING, dtype="float32", device="cpu", max_prompt_tokens=120)

_OF_OTHERS = {
    "test_the_adapter_in_training_can_be_sampled",
    "test_only_a_few_versions_stay_in_memory",
    "test_a_text_never_ends_inside_a_character",
    "test_a_missing_vllm_is_said_with_what_to_do",
}
"""Of engines that decode on their backbone (the second has its like below), of a tokenizer of
bytes, and of an environment without vLLM."""

globals().update(
    {
        name: test
        for name, test in vars(test_engine).items()
        if name.startswith("test_") and name not in _OF_OTHERS
    }
)


@pytest.fixture(scope="session")
def vllm_backbone(default_model):
    return Backbone(default_model.path, CONFIG)


@pytest.fixture(scope="session")
def core(vllm_backbone):
    """vLLM is started once: it takes a while."""
    pytest.importorskip("vllm", reason="vLLM is not installed here: make test-vllm")
    core = start_core(vllm_backbone, CONFIG)
    yield core
    core.close()


@pytest.fixture
def engine(vllm_backbone, core):
    yield VllmEngine(vllm_backbone, CONFIG, core)
    gc.collect()
    core.settle()
    assert core.running == 0  # nothing decodes on that nobody waits for


def test_it_is_what_replies_are_written_with(engine):
    assert isinstance(engine, ServingEngine)


def test_each_row_takes_one_token_a_step_and_hands_over_what_it_has(engine):
    batch = engine.start(user("Tell me a story about the sea."), 3, SAMPLING, seed=0)
    for step in range(1, 6):
        batch.step()
        assert batch.lengths() == [step] * 3
        assert all(batch.text(row) == c.text for row, c in enumerate(batch.completions()))
    assert {c.finish_reason for c in batch.completions()} == {FinishReason.ABORTED}


def test_candidates_share_their_prompt(engine):
    prompt = user("Share " + "this long message " * 20)
    batch = engine.start(prompt, 3, SAMPLING, seed=0)
    batch.step()
    whole = len(engine.render(prompt, SAMPLING).token_ids)
    shared = [request.shared_tokens for request in batch._requests]
    assert max(shared) > whole // 2
    again = engine.start(prompt, 1, SAMPLING, seed=9)
    again.step()
    assert again._requests[0].shared_tokens > whole // 2


def test_warming_encodes_what_the_next_turn_begins_with(engine):
    prompt = user("Warm " + "this quite long message " * 16)
    engine.warm(prompt, SAMPLING, Event())
    batch = engine.start(prompt, 1, SAMPLING, seed=0)
    batch.step()
    assert batch._requests[0].shared_tokens > len(engine.render(prompt, SAMPLING).token_ids) // 2


def test_warming_gives_up_when_somebody_waits(engine, core):
    hurry = Event()
    hurry.set()
    engine.warm(user("Cold " + "and a bit longer " * 16), SAMPLING, hurry)
    assert core.running == 0


def test_versions_never_share_keys_and_values(engine, base, tmp_path):
    """A prompt that was encoded under one version is encoded anew under another."""
    prompt = user("Mine " + "is a message with many words " * 12)
    expected = run(engine.start(prompt, 1, SAMPLING, seed=3))
    version = make_version(engine.backbone, 1, tmp_path)
    engine.load(version)
    batch = engine.start(prompt, 1, SAMPLING, seed=3)
    batch.step()
    assert batch._requests[0].shared_tokens == 0
    engine.load(base)
    assert same(run(engine.start(prompt, 1, SAMPLING, seed=3)), expected)


def test_versions_speak_in_turn_as_two_batches_in_step(engine, base, tmp_path):
    """As ``compare`` and a duel do it."""
    version = make_version(engine.backbone, 1, tmp_path, strength=0.02)
    alone = []
    for one in (base, version):
        engine.load(one)
        alone.append(run(engine.start(user("Which of you?"), 1, SAMPLING, seed=8)))
    batches = []
    for one in (base, version):
        engine.load(one)
        batches.append(engine.start(user("Which of you?"), 1, SAMPLING, seed=8))
    while any(batch.running for batch in batches):
        for batch in batches:
            if batch.running:
                batch.step()
    for batch, expected, number in zip(batches, alone, (0, 1), strict=True):
        assert same(batch.completions(), expected)
        assert batch.completions()[0].policy_version == number


def test_an_adapter_says_what_the_backbone_says_with_it(engine, tmp_path):
    """The scale, alpha over rank, and every module that PEFT's folder names."""
    version = make_version(engine.backbone, 1, tmp_path, strength=0.05)
    engine.load(version)
    prompt = user("Say something about bread.")
    text = "Bread is baked from flour and water."
    given = as_completion(engine, prompt, text)
    ids = engine.render(prompt, Sampling(max_new_tokens=len(given.token_ids))).token_ids
    engine.backbone.ensure_resident(version)
    with torch.no_grad(), engine.backbone.speaking(version.id):
        logp = reply_logps(engine.backbone, [ScoredText(prompt_ids=ids, reply_ids=given.token_ids)])
    assert sum(given.logprobs) == pytest.approx(float(logp[0]), abs=1e-2)
    with torch.no_grad(), engine.backbone.bare():
        plain = reply_logps(
            engine.backbone, [ScoredText(prompt_ids=ids, reply_ids=given.token_ids)]
        )
    assert abs(float(plain[0]) - float(logp[0])) > 1.0


def test_more_versions_than_slots_are_served_one_after_the_other(engine, core, tmp_path):
    many = core.options.lora_slots + 3
    versions = [
        make_version(engine.backbone, n, tmp_path, seed=n, strength=0.02)
        for n in range(1, many + 1)
    ]
    first = None
    for version in versions:
        engine.load(version)
        spoken = run(engine.start(user("Who speaks?"), 1, SAMPLING, seed=0))
        first = first or spoken
        assert spoken[0].policy_version == version.id
    engine.load(versions[0])
    assert same(run(engine.start(user("Who speaks?"), 1, SAMPLING, seed=0)), first)


def test_more_versions_than_slots_may_decode_at_once(engine, core, tmp_path):
    """The last waits for a slot; nobody waits for ever."""
    batches = []
    for n in range(1, core.options.lora_slots + 2):
        engine.load(make_version(engine.backbone, n, tmp_path, seed=n, strength=0.02))
        batches.append(engine.start(user("All at once"), 1, SAMPLING, seed=n))
    while any(batch.running for batch in batches):
        for batch in batches:
            if batch.running:
                batch.step()
    assert [b.completions()[0].policy_version for b in batches] == list(range(1, len(batches) + 1))


def test_a_rank_beyond_the_slots_is_refused_with_a_sentence(engine, core, base, tmp_path):
    engine.backbone.open_training(base, LoraSpec(rank=core.options.max_lora_rank + 1, alpha=8), 0)
    engine.backbone.save_training(tmp_path)
    engine.backbone.close_training()
    version = replace(base, id=7, parent=0, adapter_path=tmp_path)
    with pytest.raises(AdapterLoadError, match=r"Version 7 .* vLLM serves up to"):
        engine.load(version)
    assert engine.policy_version == 0


def test_styled_rows_are_told_their_style_and_the_plain_ones_are_not(engine):
    prompt = user("What is a good breakfast?")
    style = next(iter(STYLES.values()))
    plain = run(engine.start(prompt, 3, SAMPLING, seed=2))
    styled = run(engine.start(prompt, 3, SAMPLING, seed=2, styles=[style]))
    assert same(styled[:2], plain[:2])
    assert [c.style for c in styled] == [None, None, style.name]
    assert styled[2].token_ids != plain[2].token_ids


def test_a_forgotten_batch_stops_decoding(engine, core):
    batch = engine.start(user("Forget me"), 4, SAMPLING, seed=0)
    batch.step()
    assert core.running == 4
    del batch
    gc.collect()
    run(engine.start(user("And now?"), 1, SAMPLING, seed=0))
    assert core.running == 0


def test_greedy_replies_are_the_backbones_own(engine):
    greedy = replace(SAMPLING, temperature=0.0)
    prompt = user("Count to five.")
    [reply] = run(engine.start(prompt, 1, greedy, seed=0))
    ids = torch.tensor([engine.render(prompt, greedy).token_ids])
    with torch.no_grad(), engine.backbone.bare():
        said = engine.backbone.base.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=24
        )
    expected = said[0, ids.shape[1] :].tolist()
    assert list(reply.token_ids) == [t for t in expected if t not in engine.backbone.eos_ids]


def test_a_reply_that_ends_in_words_ends_its_request(default_model, core):
    config = replace(CONFIG, prompting=Prompting.FEW_SHOT, max_prompt_tokens=1024)
    engine = VllmEngine(Backbone(default_model.path, config), config, core)
    sampling = Sampling(temperature=0.5, max_new_tokens=48)
    replies = run(engine.start(user("What colour is the sky?"), 4, sampling, seed=0))
    ended = [reply for reply in replies if reply.finish_reason is FinishReason.STOP]
    assert ended and not any(STOP in reply.text for reply in replies)
    assert core.running == 0
