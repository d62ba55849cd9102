"""The reward phase and the PPO phase on the tiny model: what they learn, resume and end in."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from learner.config import GateConfig, Prompting, RewardConfig
from learner.features import frozen_features
from learner.model_folder import ModelError
from learner.phases.optimiser import OptimiserConfig
from learner.phases.ppo import CriteriaSettings, PpoTrainConfig, PpoTraining
from learner.phases.ppo_data import read_demonstrations, read_prompts
from learner.phases.protocol import LoopConfig, PhaseError
from learner.phases.reward import RewardKind, RewardTrainConfig, RewardTraining
from learner.phases.reward_data import read_answers
from learner.phases.reward_head import HeadTrainee
from learner.phases.reward_measure import measure_rewards
from learner.phases.reward_score import RewardScore, RewardScoreConfig
from learner.phases.reward_source import read_reward
from learner.phases.run import PhaseRun
from learner.reward.criteria import CriteriaWeights
from learner.reward.criteria_head import (
    HEAD_FILE,
    CriteriaHead,
    Differences,
    components_for,
    fit_of,
    read_differences,
)
from learner.reward.featured import featured
from learner.reward.lean_file import write_lean
from learner.reward.ranked import RankedReplies, of_picks
from learner.reward.style import STYLE_NAMES
from learner.reward.taste import taste_without_sets
from learner.update_config import LoraSpec, PpoConfig, RolloutConfig
from storage.conversations import ConversationLog
from storage.feedback import FeedbackLog
from storage.records import BASE_VERSION, AskReason, Choice, Sampling
from storage.slates import Criterion
from tests.keys import teaching_key
from tests.learner.conftest import user
from tests.learner.phases.test_text_phases import EASY
from tests.learner.phases.toy import CPU, open_place
from tests.learner.test_online_dpo import candidate
from tests.storage.builders import QUESTION

WORDS = ("stone", "river", "cloud", "grass", "light", "shade", "maple", "ocean")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Short replies are liked; harmless ones are those that say please."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows = []
    for i in range(40):
        word = WORDS[i % len(WORDS)]
        rows.append(
            {
                "prompt": f"Tell me about {word} number {i}",
                "chosen": f"A {word}.",
                "rejected": f"Well, {word} " * 6 + "and so on, on and on.",
            }
        )
        rows.append(
            {
                "set": "kind",
                "prompt": f"Say something to {word} {i}",
                "chosen": f"Please, {word}.",
                "rejected": f"Shut up {word}",
            }
        )
    rows += [
        {
            "prompt": f"Rank {i}",
            "replies": ["Yes.", "Yes, and a little more.", "Yes. " * 9, "No."],
            "ranks": {"overall": [1, 2, 3, 1], "honesty": [1, 1, 1, 2]},
        }
        for i in range(10)
    ]
    rows.append({"prompt": "The same", "chosen": "a", "rejected": "a"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def place(tmp_path, tiny_folder):
    place = open_place(tmp_path / "data", tiny_folder)
    yield place
    place.store.close()


def training(pairs, kind, **more):
    settings = {
        "kind": kind,
        "files": (pairs,),
        "harmless_sets": ("kind",),
        "answers_per_step": 12,
        "epochs": 2.0,
        "members": 2,
        "max_prompt_tokens": 64,
        "max_reply_tokens": 48,
        "held_out_share": 0.3,
        "lora": LoraSpec(rank=4, alpha=8),
        "optimiser": OptimiserConfig(learning_rate=2e-2, warmup_share=0.0),
        "loop": LoopConfig(evaluate_every=3, checkpoint_every=2, patience=0),
        "head": RewardConfig(picks_between_changes=None, draws=16),
    }
    return RewardTrainConfig(**settings | more)


def test_pairs_rankings_and_criteria_are_read_and_defective_rows_left_out(pairs):
    items = read_answers((pairs,), sets=(), harmless_sets=("kind",))
    assert len(items) == 90
    assert items[0].ranks == {Criterion.OVERALL: (1, 2)}
    assert items[1].ranks == {Criterion.HARMLESSNESS: (1, 2)}
    assert items[-1].ranks[Criterion.HONESTY] == (1, 1, 1, 2)
    assert [one.weight for one in items] == [1.0] * 90
    assert len(read_answers((pairs,), sets=("kind",), harmless_sets=())) == 40


def test_pairs_of_one_prompt_share_the_weight_of_one_answer(tmp_path):
    path = tmp_path / "three.jsonl"
    rows = [{"prompt": "Q", "chosen": a, "rejected": b} for a, b in ("ab", "ac", "bc")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    weights = [one.weight for one in read_answers((path,), sets=(), harmless_sets=())]
    assert weights == [pytest.approx(1 / 3)] * 3


def test_the_family_is_what_was_asked_and_not_the_instructions_before_it(tmp_path):
    """Else all rows with one system prompt are one family, and on one side of the split."""
    path = tmp_path / "pairs.jsonl"
    system = {"role": "system", "content": "Be kind."}
    asked = [[system, {"role": "user", "content": f"Say {i}"}] for i in range(2)]
    rows = [{"messages": one, "chosen": "a", "rejected": "b"} for one in asked]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_answers((path,), sets=(), harmless_sets=())
    assert [one.family for one in found] == ["say 0", "say 1"]
    path.write_text(json.dumps({"messages": [system], "chosen": "a", "rejected": "b"}))
    with pytest.raises(PhaseError, match="line 1: nobody asks"):
        read_answers((path,), sets=(), harmless_sets=())


@pytest.mark.parametrize("row", [{"prompt": "Q"}, {"prompt": "Q", "replies": ["a"], "ranks": [2]}])
def test_a_broken_row_is_named(tmp_path, row):
    path = tmp_path / "broken.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(PhaseError, match="line 1"):
        read_answers((path,), sets=(), harmless_sets=())


@pytest.mark.parametrize("kind", list(RewardKind))
def test_each_kind_learns_what_is_liked_and_ppo_can_read_it(place, pairs, kind):
    phase = RewardTraining(place, training(pairs, kind))
    assert phase.criteria == (Criterion.OVERALL, Criterion.HARMLESSNESS, Criterion.HONESTY)
    outcome = PhaseRun(phase, place)()
    assert outcome.accepted, outcome.reason
    m = outcome.metrics
    assert m["accuracy"] > 0.8
    assert m["log_loss"] < m["before.log_loss"]
    assert m["longer_is_better"] < 0.2
    assert "train ppo" in outcome.reason and outcome.folder.is_dir()
    assert place.policies.current().id == BASE_VERSION  # a reward model is no version

    tokenizer = place.engine.backbone.tokenizer
    prompt = user("Tell me about water")
    replies = [
        candidate(i, text, tokenizer).completion
        for i, text in enumerate(("A drop.", "Well, water " * 6 + "and so on, on and on."))
    ]
    source = read_reward(place, [outcome.folder], CriteriaWeights(), seed=0)
    rewards = source.reward.score(prompt, replies)
    assert rewards.shape[0] >= 2 and rewards.shape[1] == 2
    assert (rewards[:, 0] > rewards[:, 1]).float().mean() > 0.7
    again = read_reward(place, [outcome.folder, outcome.folder], CriteriaWeights(), seed=0)
    assert len(again.reward.score(prompt, replies)) == 2 * len(rewards)
    known = PhaseRun(RewardTraining(place, training(pairs, kind)), place)()
    assert known.folder == outcome.folder and "done before" in known.reason


@pytest.mark.parametrize("kind", [RewardKind.HEAD, RewardKind.ADAPTER])
def test_a_reward_phase_goes_on_from_a_checkpoint(place, pairs, kind):
    config = training(pairs, kind)
    whole = RewardTraining(place, config)
    for number in range(4):
        whole.step(number)
    expected = whole.measure()
    whole.close()
    first = RewardTraining(place, config)
    first.step(0)
    first.step(1)
    state = first.state()
    state = replace(state, tensors={name: t.clone() for name, t in state.tensors.items()})
    first.close()
    second = RewardTraining(place, config)
    second.restore(state)
    second.step(2)
    second.step(3)
    assert second.measure() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    second.close()


def test_every_answer_about_the_same_replies_counts_and_is_there_after_a_resume(place, tmp_path):
    """Three people like the first reply and one the second; one says which does less harm."""
    path = tmp_path / "judged.jsonl"
    replies = {"prompt": "Q", "replies": ["Yes.", "Well, no."]}
    rows = [
        *({**replies, "ranks": ranks} for ranks in ([1, 2], [1, 2], [2, 1], [1, 2])),
        {**replies, "ranks": {"harmlessness": [2, 1]}},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    items = read_answers((path,), sets=(), harmless_sets=())
    criteria = (Criterion.OVERALL, Criterion.HARMLESSNESS)

    def trainee():
        return HeadTrainee(place, criteria, RewardConfig(), max_reply_tokens=48, seed=0)

    def saved(trainee, name):
        folder = tmp_path / name
        folder.mkdir()
        trainee.save(folder)
        return read_differences(folder)

    first = trainee()
    assert first.step(0, items[:3])["answers"] == 3.0
    assert first.step(1, [*items[3:], items[0]])["answers"] == 5.0  # the last batch goes round
    rows, usual = saved(first, "first")
    overall, harmless = rows[Criterion.OVERALL], rows[Criterion.HARMLESSNESS]
    assert (len(overall), len(harmless)) == (4, 1)
    assert float(overall.weight.sum() + harmless.weight.sum()) == pytest.approx(1.0)
    signs = (overall.style @ overall.style[0]).sign().tolist()
    assert signs == [1.0, 1.0, -1.0, 1.0]
    second = trainee()
    second.restore(first.tensors(), first.values(), [*items, items[0]])
    again, same = saved(second, "second")
    for criterion in criteria:
        torch.testing.assert_close(again[criterion].style, rows[criterion].style)
        torch.testing.assert_close(again[criterion].hidden, rows[criterion].hidden)
    torch.testing.assert_close(same, usual)


def test_measures_are_of_untied_pairs_by_criterion():
    item = RankedReplies(
        prompt=user("Q"),
        texts=("long and long", "short", "tiny"),
        ranks={Criterion.OVERALL: (2, 1, 1), Criterion.HARMLESSNESS: (1, 2, 3)},
        family="f",
    )
    rewards = torch.tensor([[[0.0, 3.0, 3.0], [0.0, 9.0, 9.0]]]).expand(4, 2, 3)
    criteria = (Criterion.OVERALL, Criterion.HARMLESSNESS)
    m = measure_rewards(lambda _: rewards, [item], criteria)
    assert m["pairs"] == 2.0 and m["accuracy"] == 1.0 and m["longer_is_better"] == 0.0
    assert m["pairs.harmlessness"] == 3.0
    assert "length_balanced_accuracy" not in m  # no longer reply was chosen
    assert m["accuracy.harmlessness"] == pytest.approx(0.5 / 3)  # two wrong, one even


def test_a_head_is_as_wide_as_its_pairs_allow():
    """What is liked is in the 45th of 80 directions: too narrow a head cannot see it."""
    assert [components_for(pairs, 32) for pairs in (0, 386, 800, 1472)] == [32, 32, 50, 64]
    assert components_for(5000, 128) == 128

    def right(pairs: int) -> float:
        generator = torch.Generator().manual_seed(pairs)
        hidden = torch.randn((pairs + 500, 80), generator=generator) * torch.linspace(2, 1, 80)
        hidden *= hidden[:, 44:45].sign()  # better minus worse
        seen = Differences(
            style=torch.zeros(pairs, len(STYLE_NAMES)),
            hidden=hidden[:pairs],
            weight=torch.ones(pairs),
            tie=torch.zeros(pairs, dtype=torch.bool),
        )
        head = CriteriaHead((Criterion.OVERALL,), RewardConfig(), seed=0, taste=None)
        head.fit({Criterion.OVERALL: seen}, (torch.zeros(len(STYLE_NAMES)), torch.zeros(80)))
        scored = head.rewards(torch.zeros(500, len(STYLE_NAMES)), hidden[pairs:])
        return float((scored[:, 0].mean(dim=0) > 0).float().mean())

    assert right(500) < 0.7
    assert right(1100) > 0.85


def test_several_reward_models_keep_what_sets_prompts_apart(monkeypatch, place):
    """Centred on each prompt's own replies, one reply a prompt would earn nothing at all."""
    from learner.phases import reward_source

    monkeypatch.setattr(reward_source, "_read", lambda *_: Capitals())
    source = read_reward(place, [place.folder.root] * 2, CriteriaWeights(), seed=0)
    tokenizer = place.engine.backbone.tokenizer
    loud, quiet = (candidate(0, text, tokenizer).completion for text in ("ABC", "abc"))
    scores = [source.reward.score(user("Q"), [one]) for one in (loud, quiet)]
    assert [s.tolist() for s in scores] == [[[10.0]] * 4, [[0.0]] * 4]


def test_a_head_is_refused_on_another_base_of_the_same_width(place, tmp_path):
    prompt, texts = user("Q"), ("Yes.", "Well, no.")
    item = RankedReplies(prompt=prompt, texts=texts, ranks={Criterion.OVERALL: (1, 2)}, family="q")
    criteria = (Criterion.OVERALL,)
    trainee = HeadTrainee(place, criteria, RewardConfig(), max_reply_tokens=8, seed=0)
    trainee.step(0, [item])
    trainee.save(tmp_path)
    assert read_reward(place, [tmp_path], CriteriaWeights(), seed=0)
    other = replace(place, model=replace(place.model, sha256="1" * 64))
    with pytest.raises(ModelError, match="made for another base model"):
        read_reward(other, [tmp_path], CriteriaWeights(), seed=0)


def test_a_head_from_before_its_file_named_the_base_is_known_by_its_lineage(place, tmp_path):
    trainee = HeadTrainee(place, (), RewardConfig(), max_reply_tokens=8, seed=0)
    trainee.save(tmp_path)
    save_file(load_file(tmp_path / HEAD_FILE), tmp_path / HEAD_FILE)
    with pytest.raises(ModelError, match="made for another base model"):
        read_reward(place, [tmp_path], CriteriaWeights(), seed=0)
    said = {"base": {"name": "tiny", "sha256": place.model.sha256}}
    (tmp_path / "twofold.json").write_text(json.dumps(said))
    assert read_reward(place, [tmp_path], CriteriaWeights(), seed=0)


class Capitals:
    """A taste that can be seen through; both members share it."""

    def score(self, prompt, completions):
        share = [sum(map(str.isupper, c.text)) / max(1, len(c.text)) for c in completions]
        return torch.tensor([share, share]) * 10


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"Question {i}?"}) + "\n" for i in range(24)))
    return path


def ppo_config(prompts, **more):
    sampling = Sampling(temperature=1.0, top_k=1000, top_p=1.0, max_new_tokens=6)
    settings = {
        "prompts": (prompts,),
        "prompts_per_step": 4,
        "max_steps": 4,
        "held_out_prompts": 4,
        "ppo": PpoConfig(
            learning_rate=5e-3,
            lora=LoraSpec(rank=4, alpha=8),
            rollout=RolloutConfig(samples=2, sampling=sampling),
        ),
        "loop": LoopConfig(evaluate_every=2, checkpoint_every=1),
        "gate": EASY,
    }
    return PpoTrainConfig(**settings | more)


def test_ppo_trains_against_a_reward_folder_and_ends_in_a_version(place, pairs, prompts):
    reward = PhaseRun(RewardTraining(place, training(pairs, RewardKind.HEAD)), place)()
    config = ppo_config(
        prompts,
        reward=(reward.folder,),
        criteria=CriteriaSettings(harmlessness=0.5, least_harmless=-20.0),
    )
    outcome = PhaseRun(PpoTraining(place, config), place)()
    assert outcome.accepted, outcome.reason
    assert outcome.metrics["before.reward_win_rate"] == pytest.approx(0.5)
    assert outcome.metrics["before.kl_per_token"] == pytest.approx(0.0, abs=1e-6)
    assert outcome.metrics["kl_per_token"] > 0.0
    assert place.policies.round(outcome.version).update_rule == "ppo"


@pytest.mark.parametrize(("limit", "told"), [(0.0, True), (9.0, False)])
def test_ppo_that_went_further_than_lessons_may_says_what_becomes_of_it(
    place, pairs, prompts, monkeypatch, limit, told
):
    monkeypatch.setattr("learner.phases.publish.LESSONS_GATE", GateConfig(max_kl_per_token=limit))
    reward = PhaseRun(RewardTraining(place, training(pairs, RewardKind.HEAD)), place)()
    outcome = PhaseRun(PpoTraining(place, ppo_config(prompts, reward=(reward.folder,))), place)()
    assert outcome.accepted, outcome.reason
    assert ("the first lesson on it will pull it in" in outcome.reason) is told


def test_an_interrupted_ppo_run_ends_in_the_same_weights(place, pairs, prompts, monkeypatch):
    from learner.phases import ppo as module
    from learner.phases.reward_source import RewardSource

    def read(*_, **__):
        return RewardSource(reward=Capitals(), sha256="c" * 64)

    monkeypatch.setattr(module, "read_reward", read)
    config = ppo_config(prompts)

    def weights():
        return [p.clone() for p in place.engine.backbone.training_lora().tensors.values()]

    whole = PpoTraining(place, config)
    for number in range(3):
        whole.step(number)
    expected, measured = weights(), whole.measure()
    whole.close()
    first = PpoTraining(place, config)
    first.step(0)
    first.measure()  # leaves no trace
    first.step(1)
    state = first.state()
    first.close()
    second = PpoTraining(place, config)
    second.restore(state)
    second.step(2)
    for one, other in zip(weights(), expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-7, rtol=1e-6)
    assert second.measure() == pytest.approx(measured, rel=1e-4, abs=1e-6)
    second.close()


def test_demonstrations_behind_long_prompts_are_left_out(place, prompts, tmp_path, monkeypatch):
    from learner.phases import ppo as module
    from learner.phases.reward_source import RewardSource

    def read(*_, **__):
        return RewardSource(reward=Capitals(), sha256="c" * 64)

    monkeypatch.setattr(module, "read_reward", read)
    path = tmp_path / "demonstrations.jsonl"
    rows = [{"prompt": "long " * 20, "response": "Yes."}, {"prompt": "Short?", "response": "No."}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = ppo_config(prompts, demonstrations=(path,), max_prompt_tokens=64)
    phase = PpoTraining(place, config)
    assert phase.step(0)["ptx_loss"] > 0.0
    assert [one.prompt for one in phase._demonstrations] == [user("Short?")]
    phase.close()


def test_ppo_takes_what_the_model_has_places_for(place, tmp_path, monkeypatch):
    from learner.phases import ppo as module
    from learner.phases.reward_source import RewardSource

    monkeypatch.setattr(
        module, "read_reward", lambda *_, **__: RewardSource(reward=Capitals(), sha256="c" * 64)
    )
    path = tmp_path / "prompts.jsonl"
    texts = [f"Question {i}?" for i in range(9)] + ["word " * 98]  # 512 places, 6 for the reply
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    config = ppo_config(path, max_prompt_tokens=4096)
    phase = PpoTraining(place, replace(config, ppo=replace(config.ppo, iterations=5)))
    phase.close()
    assert phase.notes == [
        "prompts left out: 1, longer than max_prompt_tokens (506)",
        "ppo.iterations is of the live loop: a phase takes max_steps",
    ]


def test_a_prompt_is_replied_to_behind_what_was_said_before(place, tmp_path):
    path = tmp_path / "prompts.jsonl"
    before = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    asked = {"role": "user", "content": "Who?"}
    rows = [{"history": before, "prompt": " Who? "}, {"messages": [*before, asked]}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_prompts(place, (path,), sets=(), stored=True) == [user("Hi", "Hello!", "Who?")]
    for row in (
        {"messages": before},
        {"prompt": " "},
        {"prompt": 3},
        {"history": 3, "prompt": "a"},
    ):
        path.write_text(json.dumps(row))
        with pytest.raises(PhaseError, match="line 1: expected"):
            read_prompts(place, (path,), sets=(), stored=True)


def test_a_demonstration_reads_as_the_model_would_write_it(tmp_path, tiny_folder):
    path = tmp_path / "demonstrations.jsonl"
    path.write_text(json.dumps({"prompt": "Short?", "response": "Yes.\nNo."}) + "\n")
    by_example = replace(CPU, prompting=Prompting.FEW_SHOT)
    for settings, told in ((CPU, "Yes.\nNo.<|im_end|>"), (by_example, " Yes.\nNo.\nUser:")):
        place = open_place(tmp_path / settings.prompting, tiny_folder, settings)
        place.engine.backbone.context_tokens = 4096  # the examples are longer than the tiny model's
        [one], _ = read_demonstrations(
            place, (path,), sets=(), stored=True, clean=False, max_prompt_tokens=4096
        )
        assert place.engine.backbone.tokenizer.decode(one.reply_ids) == told
        place.store.close()


def answer_some(place, count):
    """Picks as the chat leaves them: the shorter reply each time."""
    conversations = ConversationLog(place.store, new_key=teaching_key)
    feedback, features = FeedbackLog(place.store), frozen_features(place.engine)
    tokenizer = place.engine.backbone.tokenizer
    for i in range(count):
        turn = conversations.say(conversations.start().id, f"Question {i}")
        replies = [candidate(i, text, tokenizer).completion for text in ("Yes.", "Yes, well. " * 9)]
        pair = featured(features, conversations.messages(turn.id), replies)
        asked = conversations.ask(turn.id, *pair, QUESTION)
        feedback.answer(asked.token, Choice.FIRST, decision_ms=1, continue_with=asked.first.id)
    return pair


def test_one_request_in_two_chats_is_on_one_side_of_the_split(place):
    """Else its replies, near-copies of each other, would train and measure."""
    answer_some(place, 3)
    answer_some(place, 3)
    families = [one.family for one in of_picks(FeedbackLog(place.store).preferences())]
    assert families == ["question 0", "question 1", "question 2"] * 2


def test_imported_pairs_of_one_prompt_share_a_weight_as_in_a_file(place):
    answer_some(place, 2)
    answer_some(place, 1)
    picks = FeedbackLog(place.store).preferences()

    def imported(pick):
        question = replace(pick.comparison.question, reason=AskReason.IMPORTED)
        return replace(pick, comparison=replace(pick.comparison, question=question))

    assert [one.weight for one in of_picks(picks)] == [1.0] * 3
    assert [one.weight for one in of_picks(map(imported, picks))] == [0.5, 1.0, 0.5]


def test_a_prior_that_knows_a_set_does_not_measure_it(place, tmp_path):
    """The shipped directions were found on public pairs, some of which people train on, too."""
    path = tmp_path / "public.jsonl"
    rows = [
        {"set": "oasst", "prompt": f"Ask {i}", "chosen": "Yes.", "rejected": "No, no."}
        for i in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    phase = RewardTraining(place, training(path, RewardKind.HEAD))
    outcome = PhaseRun(phase, place)()
    assert outcome.accepted
    fit = fit_of(outcome.folder)
    assert fit.without == ("oasst",)
    known, left = (taste_without_sets(place.model.sha256, sets) for sets in ((), ("oasst",)))
    assert set(known.names) - set(left.names) == {"criterion:oasst"}


def test_ppo_is_paid_by_the_head_that_was_measured(place, tmp_path):
    """Its settings, its seed and what was left out go with the differences."""
    prompt, texts = user("Q"), ("Yes.", "Well, no.")
    items = [
        RankedReplies(
            prompt=user(f"Ask {i}"), texts=texts, ranks={Criterion.OVERALL: (1, 2)}, family=str(i)
        )
        for i in range(6)
    ]
    config = RewardConfig(hidden_components=0, draws=8, picks_between_changes=None)
    trainee = HeadTrainee(
        place, (Criterion.OVERALL,), config, max_reply_tokens=48, seed=5, without=("oasst",)
    )
    trainee.step(0, items)
    trainee.ready()
    expected = trainee.rewards(replace(items[0], prompt=prompt))[:, 0]
    trainee.save(tmp_path)
    tokenizer = place.engine.backbone.tokenizer
    replies = [candidate(i, text, tokenizer).completion for i, text in enumerate(texts)]
    source = read_reward(place, [tmp_path], CriteriaWeights(), seed=0)
    torch.testing.assert_close(source.reward.score(prompt, replies), expected)


def test_settings_of_another_kind_of_reward_model_are_told_to_have_no_effect(place, pairs):
    phase = RewardTraining(place, training(pairs, RewardKind.HEAD))
    phase.close()
    assert phase.notes == ["without effect for kind head: epochs, lora, members, optimiser"]


def test_without_a_folder_the_reward_is_what_the_chat_would_have(place, prompts):
    short, long = answer_some(place, 8)
    phase = PpoTraining(place, ppo_config(prompts))
    phase.step(0)
    phase.close()
    source = read_reward(place, (), CriteriaWeights(), seed=0)
    rewards = source.reward.score(user("Question"), [short, long])
    assert float((rewards[:, 0] - rewards[:, 1]).mean()) > 1.0
    write_lean(place.folder.taste, {"longer": 2.0})
    leaning = read_reward(place, (), CriteriaWeights(), seed=0)
    moved = leaning.reward.score(user("Question"), [short, long]) - rewards
    # A person's own word counts here, too, against eight choices that say otherwise.
    assert float((moved[:, 1] - moved[:, 0]).mean()) > 0.5
    assert leaning.sha256 != source.sha256
    with pytest.raises(PhaseError, match="overall order only"):
        PpoTraining(place, ppo_config(prompts, criteria=CriteriaSettings(honesty=1.0)))


def test_a_version_is_scored_by_the_ensemble_that_the_chat_would_have(place):
    answer_some(place, 5)
    config = RewardScoreConfig(picks=5, prompts=2, max_new_tokens=4)
    score = RewardScore.of_picks(place, config, [user("One?"), user("Two?")], seed=0)
    assert score.measure()["reward_score"] == pytest.approx(0.5), "against its own replies"
    write_lean(place.folder.taste, {"longer": 2.0})
    other = RewardScore.of_picks(place, config, [user("One?"), user("Two?")], seed=0)
    assert other.sha256 != score.sha256
    assert RewardScore.of_picks(place, replace(config, picks=6), [user("One?")], seed=0) is None


def test_what_is_missing_is_said(place, prompts, tmp_path):
    with pytest.raises(PhaseError, match="too few"):
        RewardTraining(place, RewardTrainConfig())
    with pytest.raises(PhaseError, match="too few to train against"):
        PpoTraining(place, ppo_config(prompts))
    with pytest.raises(ModelError, match="no reward model"):
        PpoTraining(place, ppo_config(prompts, reward=(tmp_path,)))


def test_ties_alone_measure_nothing_and_that_is_said(place, tmp_path):
    path = tmp_path / "ties.jsonl"
    rows = [{"prompt": f"Say {i}", "replies": ["Yes.", "No."], "ranks": [1, 1]} for i in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(PhaseError, match="none prefers one reply"):
        RewardTraining(place, training(path, RewardKind.HEAD))
