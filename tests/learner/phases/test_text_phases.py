"""Pretraining and fine-tuning on the tiny model: what they learn, leave alone, and end in."""

import json
import multiprocessing
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from learner.build import load_engine
from learner.config import GateConfig
from learner.model_folder import open_model
from learner.phases.command import place_of
from learner.phases.corpus import Stretch, read_corpus
from learner.phases.optimiser import OptimiserConfig
from learner.phases.pretrain import PretrainConfig, Pretraining, _blocks
from learner.phases.protocol import LoopConfig, PhaseError
from learner.phases.run import PhaseRun
from learner.phases.scratch import ScratchConfig, scratch_model
from learner.phases.settings import build
from learner.phases.sft import FineTuning, SftConfig, stored_dialogues
from learner.phases.world import World
from learner.update_config import DpoConfig, LoraSpec
from storage.database import Store
from storage.folder import DataFolder
from storage.records import BASE_VERSION
from tests.learner.phases.toy import CPU, open_place
from tests.learner.test_online_dpo import make_pairs
from tests.tiny import LAX_GATE

EASY = replace(LAX_GATE, probes=0)
FAST = OptimiserConfig(learning_rate=2e-2, warmup_share=0.0)
LORA = LoraSpec(rank=4, alpha=8)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Forty short texts, all about the same few words."""
    folder = tmp_path_factory.mktemp("texts")
    for i in range(40):
        (folder / f"{i:02d}.txt").write_text(f"Chapter {i}. The cat sat on the mat again. " * 2)
    return folder


@pytest.fixture(scope="module")
def talks(tmp_path_factory):
    path = tmp_path_factory.mktemp("talks") / "talks.jsonl"
    rows = [{"prompt": f"Question number {i}?", "response": "Yes, of course."} for i in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def place(tmp_path, tiny_folder):
    place = open_place(tmp_path / "data", tiny_folder)
    yield place
    place.store.close()


def pretraining(texts, **more):
    settings = {
        "files": (texts,),
        "block_tokens": 32,
        "blocks_per_step": 4,
        "max_steps": 12,
        "held_out_share": 0.2,
        "held_out_blocks": 8,
        "lora": LORA,
        "optimiser": FAST,
        "loop": LoopConfig(evaluate_every=6, checkpoint_every=3),
        "gate": EASY,
    }
    return PretrainConfig(**settings | more)


def fine_tuning(talks, **more):
    settings = {
        "files": (talks,),
        "dialogues_per_step": 6,
        "max_steps": 12,
        "held_out_share": 0.2,
        "lora": LORA,
        "optimiser": FAST,
        "loop": LoopConfig(evaluate_every=6, checkpoint_every=3),
        "gate": EASY,
    }
    return SftConfig(**settings | more)


def test_pretraining_lowers_the_loss_on_text_it_never_saw_and_ends_in_a_candidate(place, texts):
    outcome = PhaseRun(Pretraining(place, pretraining(texts)), place)()
    assert outcome.accepted, outcome.reason
    m = outcome.metrics
    assert m["held_out_loss"] < 0.9 * m["before.held_out_loss"]
    assert place.policies.current().id == BASE_VERSION and outcome.version == 1
    curve = place.phases.metrics(outcome.run_id)
    assert [step for step, _ in curve["held_out_perplexity"]] == [0, 6, 12]
    assert [step for step, _ in curve["loss"]] == list(range(1, 13))
    config = place.policies.config_of(1)
    assert config["phase"] == "pretrain" and config["gate"]["prompts"] == 2
    assert place.policies.round(1).update_rule == "pretrain"


def test_fine_tuning_goes_on_from_a_version_and_goes_live(place, texts, talks):
    first = PhaseRun(Pretraining(place, pretraining(texts, make_live=True)), place)()
    assert place.policies.current().id == first.version
    follow = place_of(
        place.folder, place.store, place.model, engine=CPU, world=World(), parent=None
    )
    outcome = PhaseRun(FineTuning(follow, fine_tuning(talks, make_live=True)), follow)()
    assert outcome.accepted, outcome.reason
    live = place.policies.current()
    assert (live.id, live.parent) == (outcome.version, first.version)
    assert outcome.metrics["held_out_loss"] < 0.9 * outcome.metrics["before.held_out_loss"]
    # What the run measured is what the saved version gives, in an engine that never saw it train.
    engine = load_engine(place.model, CPU)
    engine.load(live)
    engine.backbone.ensure_resident(live)
    engine.backbone.use(live.id)
    again = FineTuning.__new__(FineTuning)
    again.__init__(follow, fine_tuning(talks))
    with torch.no_grad():
        from learner.phases.packing import learned_logprobs

        total = sum(float(-learned_logprobs(engine.backbone, [s]).sum()) for s in again._held_out)
    count = sum(s.learned for s in again._held_out)
    assert total / count == pytest.approx(outcome.metrics["held_out_loss"], rel=1e-4)


def test_a_lesson_goes_on_from_a_version_that_a_phase_made(place, texts):
    """A phase leaves no moments of its optimiser: those of another loss would mislead."""
    from learner.updates.lesson import Lesson
    from learner.updates.online_dpo import OnlineDpo

    PhaseRun(Pretraining(place, pretraining(texts, max_steps=2, make_live=True)), place)()
    live = place.policies.current()
    assert live.id == 1 and not (live.adapter_path / "optimizer.safetensors").exists()
    backbone = place.engine.backbone
    rule = OnlineDpo(backbone, DpoConfig(lora=LORA), max_prompt_tokens=256)
    lesson = Lesson(pairs=tuple(make_pairs(backbone.tokenizer)))
    metrics = rule.update(live, lesson, seed=0)
    assert metrics["pairs"] == 4.0 and metrics["grad_norm"] > 0.0


def test_a_version_that_the_gate_refuses_is_not_kept_but_can_be_judged_again(place, talks):
    strict = GateConfig(prompts=2, max_new_tokens=8, max_kl_per_token=1e-6, probes=0)
    refused = PhaseRun(FineTuning(place, fine_tuning(talks, gate=strict)), place)()
    assert not refused.accepted and refused.version is None
    assert "refused" in refused.reason
    assert place.policies.round(1).status == "refused"
    steps = []

    class Counted(FineTuning):
        def step(self, number):
            steps.append(number)
            return super().step(number)

    accepted = PhaseRun(Counted(place, fine_tuning(talks)), place)()
    assert accepted.accepted and steps == []  # trained before, only judged anew
    assert accepted.run_id == refused.run_id


def test_what_is_too_long_is_told_and_what_is_too_little_says_why(place, tmp_path):
    path = tmp_path / "talks.jsonl"
    rows = [{"prompt": f"Ask {i}", "response": "No. " * (1 + 40 * (i < 9))} for i in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    phase = FineTuning(place, fine_tuning(path, max_tokens=100))
    phase.close()
    assert phase.notes == ["demonstrations left out: 9, of which 9 longer than max_tokens (100)"]
    with pytest.raises(PhaseError, match=r"^0 demonstrations to learn and 0 to measure") as raised:
        FineTuning(place, fine_tuning(path, max_tokens=20))
    assert "held_out_share (0.2) or max_tokens; demonstrations left out: 40" in str(raised.value)


def test_what_is_begun_afresh_is_kept_beside_what_was_made_before(place, talks):
    first = PhaseRun(FineTuning(place, fine_tuning(talks, max_steps=1)), place)()
    again = PhaseRun(FineTuning(place, fine_tuning(talks, max_steps=1)), place, fresh=True)()
    assert (first.version, again.version) == (1, 2)
    known = PhaseRun(FineTuning(place, fine_tuning(talks, max_steps=1)), place)()
    assert known.version == 2 and "done before" in known.reason


def test_a_version_that_is_there_already_speaks_once_that_is_asked_for(place, talks):
    config = fine_tuning(talks, max_steps=1)
    first = PhaseRun(FineTuning(place, config), place)()
    assert "is a candidate" in first.reason
    again = PhaseRun(FineTuning(place, replace(config, make_live=True)), place)()
    assert again.version == first.version == place.policies.current().id
    assert again.reason.startswith("done before: version 1 speaks from the next reply on")
    assert len(place.phases.runs()) == 1


def test_a_version_that_was_learned_from_is_not_gone_back_to(place, talks):
    """As where a speedrun is run again: all its phases are live ones, one after the other."""
    config = fine_tuning(talks, max_steps=0, make_live=True)
    first = PhaseRun(FineTuning(place, config), place)()
    follow = replace(place, parent=place.policies.current())
    second = PhaseRun(FineTuning(follow, config), follow)()
    known = PhaseRun(FineTuning(place, config), place)()
    assert known.version == first.version and "version 2 was made, which speaks" in known.reason
    assert place.policies.current().id == second.version == 2


def test_where_a_phase_begins_is_told_if_settings_say_otherwise(place, texts, talks):
    PhaseRun(FineTuning(place, fine_tuning(talks, max_steps=1, make_live=True)), place)()
    live = replace(place, parent=place.policies.current())
    phase = FineTuning(live, fine_tuning(talks, lora=LoraSpec(rank=64, alpha=8)))
    phase.close()
    assert phase.notes == ["goes on with version 1's adapter: rank 4 and alpha 8, not 64 and 8"]
    whole = Pretraining(place, pretraining(texts, lora=None))  # place.parent is the base
    whole.close()
    assert whole.notes[-1] == (
        "version 1, which speaks, is left out: all weights train from the base"
    )


def test_dialogues_longer_than_the_model_has_places_are_left_out(place, tmp_path):
    path = tmp_path / "talks.jsonl"
    rows = [{"prompt": f"Ask {i}", "response": "No. " * (1 + 140 * (i < 9))} for i in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    phase = FineTuning(place, fine_tuning(path, max_tokens=4096))
    phase.close()
    assert phase.notes == ["demonstrations left out: 9, of which 9 longer than max_tokens (512)"]


def test_what_was_forgotten_is_made_again(place, talks):
    first = PhaseRun(FineTuning(place, fine_tuning(talks, max_steps=1)), place)()
    with place.store.write() as db:
        db.execute("INSERT INTO forgotten_rounds VALUES (?, 0)", [first.version])
    again = PhaseRun(FineTuning(place, fine_tuning(talks, max_steps=1)), place)()
    assert again.version == 2 and "done before" not in again.reason


def test_a_whole_model_that_is_begun_afresh_has_a_folder_of_its_own(place, texts):
    config = pretraining(texts, max_steps=1, lora=None)
    first = PhaseRun(Pretraining(place, config), place)()
    again = PhaseRun(Pretraining(place, config), place, fresh=True)()
    assert first.folder != again.folder
    assert first.folder.is_dir() and again.folder.is_dir()
    shutil.rmtree(again.folder)
    third = PhaseRun(Pretraining(place, config), place)()  # it is gone: so it is made anew
    assert third.folder.is_dir() and "done before" not in third.reason


def test_how_a_batch_is_split_into_rows_leaves_the_step_alone(place, talks):
    """Normalised over the whole batch: a row of few tokens weighs no more than its tokens."""
    adapters = []
    for row_tokens in (48, 4096):
        phase = FineTuning(place, fine_tuning(talks, row_tokens=row_tokens))
        metrics = [phase.step(number) for number in range(2)]
        adapters.append((metrics[-1]["loss"], phase.state().tensors))
        phase.close()
    (few_loss, few), (many_loss, many) = adapters
    assert few_loss == pytest.approx(many_loss, rel=1e-5)
    for name, tensor in few.items():
        torch.testing.assert_close(tensor, many[name], rtol=1e-3, atol=1e-5)


def test_all_weights_become_a_model_of_its_own(place, texts):
    config = pretraining(texts, lora=None, optimiser=OptimiserConfig(learning_rate=2e-3))
    outcome = PhaseRun(Pretraining(place, config), place)()
    assert outcome.accepted and outcome.version is None
    made = open_model(outcome.folder, name="made", digests=outcome.folder.parent / "digests.json")
    assert made.sha256 != place.model.sha256
    lineage = json.loads((outcome.folder / "twofold.json").read_text())
    assert lineage["base"]["sha256"] == place.model.sha256
    engine = load_engine(made, CPU)
    from learner.measures import perplexity
    from learner.phases.pretrain import neutral_ids

    found = perplexity(engine.backbone, neutral_ids(engine.backbone))
    assert found == pytest.approx(outcome.metrics["neutral_perplexity"], rel=1e-4)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_model_can_begin_from_random_weights(tmp_path, tiny_folder, texts, architecture):
    size = ScratchConfig(
        architecture=architecture, layers=2, hidden=32, heads=2, context_tokens=512
    )
    folder = DataFolder(tmp_path / "data")
    model = scratch_model(tiny_folder, size, 3, folder)
    assert scratch_model(tiny_folder, size, 3, folder) == model  # made once
    assert scratch_model(tiny_folder, size, 4, folder).sha256 != model.sha256
    with Store(folder.database) as store:
        place = place_of(folder, store, model, engine=CPU, world=World())
        config = pretraining(texts, scratch=size, optimiser=FAST)
        outcome = PhaseRun(Pretraining(place, config), place)()
    assert outcome.accepted
    # Uniform over 259 tokens is ln 259 = 5.56 nats; it learns letters quickly.
    assert outcome.metrics["before.held_out_loss"] == pytest.approx(5.56, abs=0.2)
    assert outcome.metrics["held_out_loss"] < 5.0


def test_stored_replies_are_demonstrations(place):
    from storage.logs import Logs
    from storage.records import Completion, FinishReason, PolicyVersionId, Sampling
    from tests.keys import teaching_key

    logs = Logs.over(place.store, place.folder.rounds, new_key=teaching_key)
    chat = logs.conversations.start()
    turn = logs.conversations.say(chat.id, "Hello?")
    reply = Completion(
        text="What?",
        token_ids=(1,),
        logprobs=(0.0,),
        finish_reason=FinishReason.STOP,
        policy_version=PolicyVersionId(0),
        seed=0,
        sampling=Sampling(),
    )
    shown = logs.conversations.reply(turn.id, reply)
    logs.demonstrations.edit(shown.id, "Hello to you.")
    [one] = stored_dialogues(place)
    assert [m.content for m in one.messages] == ["Hello?", "Hello to you."]
    assert one.learned == (1,) and one.family == chat.key
    logs.forgetting.delete_conversation(chat.id, unlearn=True)
    assert stored_dialogues(place) == []


def test_lessons_are_held_near_what_fine_tuning_made(place, talks):
    """Far from the base is no drift where a person trained it there."""
    from learner.gate import Gate

    outcome = PhaseRun(FineTuning(place, fine_tuning(talks, make_live=True)), place)()
    live = place.policies.current()
    assert live.id == outcome.version and outcome.metrics["kl_per_token"] > 0.01
    assert place.policies.reference_of(live).id == live.id
    backbone = place.engine.backbone
    place.engine.load(place.policies.get(BASE_VERSION))
    gate = Gate(place.engine, EASY, seed=0)
    backbone.open_training(live, LORA, 0)
    far = gate.judge(live).metrics
    assert far["kl_per_token"] == pytest.approx(outcome.metrics["kl_per_token"], rel=0.2)
    backbone.refer_to(live)
    near = gate.judge(live).metrics
    assert near["kl_per_token"] == pytest.approx(0.0, abs=1e-5)
    assert near["perplexity_ratio"] == pytest.approx(1.0, abs=1e-4)
    # Half way back to it, and not to the base.
    with torch.no_grad():
        for parameter in backbone._trained().parameters():
            parameter.add_(0.5)
    backbone.pull_in(0.5)
    kept = backbone._resident[live.id].parameters()
    for parameter, fixed in zip(backbone._trained().parameters(), kept, strict=True):
        torch.testing.assert_close(parameter, fixed + 0.25, rtol=1e-4, atol=1e-5)
    backbone.close_training()


# --- resume, for real -----------------------------------------------------------------------------


def run_dying(root: Path, model, config: SftConfig, die_at: int | None):
    place = open_place(root, model)

    class Dying(FineTuning):
        def step(self, number):
            if number == die_at:
                import os

                os.kill(os.getpid(), signal.SIGKILL)
            return super().step(number)

    with place.store:
        return PhaseRun(Dying(place, config), place)()


def test_fine_tuning_killed_and_resumed_gives_the_same_adapter(tmp_path, tiny_folder, talks):
    config = fine_tuning(talks)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.learner.phases.toy"])
    run_dying(tmp_path / "whole", tiny_folder, config, None)
    child = context.Process(target=run_dying, args=(tmp_path / "killed", tiny_folder, config, 7))
    child.start()
    child.join(100)
    assert child.exitcode == -signal.SIGKILL
    run_dying(tmp_path / "killed", tiny_folder, config, None)
    whole, killed = (
        (tmp_path / name / "rounds" / "r000001" / "adapter" / "adapter_model.safetensors")
        for name in ("whole", "killed")
    )
    assert whole.read_bytes() == killed.read_bytes()


# --- texts ----------------------------------------------------------------------------------------


def test_long_documents_are_cut_at_blank_lines_and_split_by_their_text(tmp_path):
    paragraphs = [f"Paragraph {i}. " + "word " * 100 for i in range(60)]
    (tmp_path / "one.txt").write_text("\n\n".join(paragraphs))
    corpus = read_corpus([tmp_path], field="text", held_out_share=0.3)
    both = corpus.training + corpus.held_out
    assert sum(len(one.text) for one in both) == len("\n\n".join(paragraphs).strip())
    assert len(both) >= 3 and all(one.text.startswith("Paragraph") for one in both)
    assert [one.ends for one in both].count(True) == 1  # the document has one end
    again = read_corpus([tmp_path / "one.txt"], field="text", held_out_share=0.3)
    assert again == corpus


def test_rows_of_text_are_read_and_what_is_none_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"body": "One text."}\n\n{"body": "Another."}\n')
    assert read_corpus([path], field="body", held_out_share=0.0).training == [
        Stretch(text="One text.", ends=True),
        Stretch(text="Another.", ends=True),
    ]
    with pytest.raises(PhaseError, match=r'line 1: expected \{"text"'):
        read_corpus([path], field="text", held_out_share=0.0)
    with pytest.raises(PhaseError, match="Name text to train on"):
        read_corpus([], field="text", held_out_share=0.0)
    with pytest.raises(PhaseError, match="cannot be read"):
        read_corpus([tmp_path / "none.txt"], field="text", held_out_share=0.0)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(PhaseError, match=r"holds no \.txt"):
        read_corpus([empty], field="text", held_out_share=0.0)
    (empty / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PhaseError, match="no text in UTF-8"):
        read_corpus([empty], field="text", held_out_share=0.0)
    (empty / "binary.txt").write_bytes(b"\n \n")
    with pytest.raises(PhaseError, match="There is no text in"):
        read_corpus([empty], field="text", held_out_share=0.9)


def test_a_document_ends_where_it_does_and_is_cut_between_words(place, tmp_path):
    path = tmp_path / "long.txt"
    words = " ".join(f"word{i}" for i in range(6000))  # no line in it
    path.write_text(words)
    corpus = read_corpus([path], field="text", held_out_share=0.4)
    both = [*corpus.training, *corpus.held_out]
    assert len(both) >= 3 and {w for one in both for w in one.text.split()} == set(words.split())
    backbone = place.engine.backbone
    [block] = _blocks(backbone, corpus.training + corpus.held_out, 10**6)
    assert block.ids.count(backbone.eos_ids[0]) == 1
    whole = read_corpus([path], field="text", held_out_share=0.0).training
    assert whole == [Stretch(text=words, ends=True)]


def test_there_is_something_on_either_side_of_the_split_however_little_text(tmp_path):
    path = tmp_path / "rows.jsonl"

    def sides(texts, share):
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        corpus = read_corpus([path], field="text", held_out_share=share)
        return len(corpus.training), len(corpus.held_out), corpus.notes

    few = [f"Text {i}." for i in range(4)]
    assert sides(few, 1e-9)[:2] == (3, 1)
    assert sides(few, 1 - 1e-9)[:2] == (1, 3)
    assert sides(few, 1e-9)[2] == [
        "one of 4 sections is held out: by held_out_share (1e-09) it would be none"
    ]
    assert "all would be held out" in sides(few, 1 - 1e-9)[2][0]
    assert sides(["The only text."] * 2, 0.05)[:2] == (1, 1)
    corpus = read_corpus([path], field="text", held_out_share=0.05)
    assert (corpus.training[0].text, corpus.held_out[0].text) == ("The only ", "text.")
    with pytest.raises(PhaseError, match="1 characters of text can't be split"):
        sides(["a"], 0.05)


@pytest.mark.parametrize(
    ("config", "given", "said"),
    [
        (PretrainConfig, {"held_out_blocks": 0}, "held_out_blocks at least 1"),
        (PretrainConfig, {"max_steps": -1}, "max_steps must not be negative"),
        (SftConfig, {"held_out_dialogues": 0}, "held_out_dialogues and row_tokens must be"),
        (SftConfig, {"max_dialogues": 0}, "max_dialogues at least 1"),
    ],
)
def test_nothing_to_measure_on_is_refused_in_a_sentence(config, given, said):
    with pytest.raises(PhaseError, match=said):
        build(config, given)


def test_too_little_to_learn_from_is_told(place, tmp_path):
    with pytest.raises(PhaseError, match="are too few"):
        FineTuning(place, SftConfig())
    with pytest.raises(PhaseError, match="512 tokens at most"):
        Pretraining(place, PretrainConfig(files=(tmp_path,), block_tokens=4096))


def test_what_a_kill_left_of_a_model_is_deleted_by_the_next_phase(tmp_path):
    from learner.phases.command import open_folder

    folder = DataFolder(tmp_path / "data")
    made, left = folder.models / "sft-12345678", folder.models / ".tmp-abc"
    for path in (made, left):
        path.mkdir(parents=True)
        (path / "model.safetensors").write_bytes(b"weights")
    with open_folder(folder, World()):
        assert [path.name for path in folder.models.iterdir()] == [made.name]
