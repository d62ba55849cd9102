"""The whole round on real parts: SQLite, a tiny model, LoRA, the gate, folders and rows."""

import os
import signal
import time
from dataclasses import replace
from functools import partial

import pytest
import torch

from learner.build import LearnerBuild, build_replies, load_engine
from learner.config import (
    AskConfig,
    AskMode,
    GateConfig,
    OnlineConfig,
    RewardConfig,
)
from learner.early_pick import EarlyPick
from learner.lesson_check import LessonCheck
from learner.progress import LearnerState
from learner.protocols import Draft
from learner.trust_region import SHORTEST
from learner.update_config import (
    DpoConfig,
    GroupConfig,
    LoraSpec,
    RolloutConfig,
    UpdateConfig,
    UpdateRuleName,
)
from learner.updates.lesson import Lesson
from learner.updates.online_dpo import OnlineDpo
from learner.worker import LearnerProcess
from storage.conversations import ConversationLog
from storage.database import Store
from storage.feedback import FeedbackLog
from storage.folder import DataFolder
from storage.forgetting import Forgetting
from storage.policy_registry import PolicyRegistry
from storage.records import Choice, RoundStatus, Sampling
from storage.rounds import collect
from tests.keys import teaching_key
from tests.learner.test_online_dpo import make_pairs, make_rule, saved

ONLINE = OnlineConfig(
    min_preferences=3,
    poll_s=0.05,
    dpo=DpoConfig(lora=LoraSpec(rank=4, alpha=8), reward_pairs_after=4, reward_pairs=2),
    gate=GateConfig(
        prompts=2, max_new_tokens=8, max_empty_share=1.0, max_repetition=1.0, min_length_ratio=0.05
    ),
)


class World:
    """One data folder with everything around it, driven by hand."""

    def __init__(self, root, model, engine_config) -> None:
        self.folder = DataFolder(root)
        self.store = Store(self.folder.database)
        self.conversations = ConversationLog(self.store, new_key=teaching_key)
        self.feedback = FeedbackLog(self.store)
        self.policies = PolicyRegistry(self.store, self.folder.rounds)
        self.replies = build_replies(
            model,
            engine=engine_config,
            ask=AskConfig(mode=AskMode.ALWAYS, commit_after_tokens=4),
            reward=RewardConfig(),
        )
        self.build = LearnerBuild(data=root, model=model, engine=engine_config, online=ONLINE)
        self._seed = 0

    def pick(self, n: int, *, early: bool = False) -> list[int]:
        """Answer ``n`` questions that may train, the shorter reply each time.

        ``early``: the first reply, while both are being written.
        """
        from threading import Event

        picked = []
        while len(picked) < n:
            conversation = self.conversations.start()
            turn = self.conversations.say(conversation.id, f"Question {self._seed}")
            self._seed += 100
            hurried = EarlyPick()
            plan = self.replies.reply(
                self.conversations.messages(turn.id),
                self.policies.current(),
                self._seed,
                partial(choose_first, hurried) if early else lambda _: None,
                Event(),
                early=hurried,
            )
            if plan.question is None or (early and plan.picked is None):
                continue
            comparison = self.conversations.ask(turn.id, *plan.shown, plan.question)
            self.conversations.add_candidates(turn.id, plan.finish_others(Event()))
            shorter = min(
                comparison.first, comparison.second, key=lambda c: len(c.completion.token_ids)
            )
            chosen = comparison.first if early else shorter
            choice = Choice.FIRST if chosen is comparison.first else Choice.SECOND
            receipt = self.feedback.answer(
                comparison.token, choice, decision_ms=900, continue_with=chosen.id
            )
            picked.append(receipt.preference_id)
        return picked


def choose_first(early: EarlyPick, draft: Draft) -> None:
    """As a person does who has read enough once both replies show some words."""
    if len(draft.texts) == 2 and all(draft.texts):
        early.take(Choice.FIRST)


@pytest.fixture
def world(tmp_path, tiny_folder, engine_config):
    world = World(tmp_path / "data", tiny_folder, engine_config)
    yield world
    world.store.close()


def test_picks_become_a_version_that_speaks(world):
    picks = world.pick(3)
    report = world.build().step()
    assert report.status is RoundStatus.ACCEPTED, report.reason
    assert list(report.preference_ids) == picks
    assert [r.number for r in collect(world.policies)] == [1]
    assert world.policies.current().id == 1
    assert world.feedback.unlearned() == []
    world.replies.engine.load(world.policies.current())
    assert world.replies.engine.policy_version == 1


def test_what_is_forgotten_right_after_a_lesson_read_it_is_not_learned(world, monkeypatch):
    world.pick(3)
    learner = world.build()
    read = learner._feedback.next_picks

    def forgotten_then(attempted, limit):
        picks = read(attempted, limit)
        forgetting = Forgetting(world.store, world.policies, world.conversations)
        forgetting.forget([picks[0].comparison.id], reason="the person asked")
        return picks

    monkeypatch.setattr(learner._feedback, "next_picks", forgotten_then)
    assert learner.step().status is RoundStatus.ACCEPTED
    [report] = collect(world.policies)
    assert report.status is RoundStatus.FAILED and "forgotten" in report.reason
    assert world.policies.current().id == 0
    assert not (world.folder.rounds / "r000001" / "adapter").exists()


def test_too_few_new_picks_wait(world):
    learner = world.build()
    assert learner.step() is None
    world.pick(2)
    assert learner.step() is None


def test_a_round_that_is_not_collected_yet_holds_the_next_one_back(world):
    learner = world.build()
    world.pick(3)
    assert learner.step() is not None
    world.pick(3)
    assert learner.step() is None
    collect(world.policies)
    report = learner.step()
    assert report.parent == 1
    assert len(report.preference_ids) == 3


def test_a_restarted_learner_goes_on_where_the_old_one_was(world):
    first = world.pick(3)
    world.build().step()
    collect(world.policies)
    second = world.pick(3)
    report = world.build().step()
    assert list(report.preference_ids) == second
    collect(world.policies)
    learned = [i for r in world.policies.rounds_log() for i in r.preference_ids]
    assert learned == first + second


class Backwards(OnlineDpo):
    """Learns the opposite of every pick, as a flipped sign would."""

    def update(self, parent, lesson, seed):
        swapped = [
            replace(pair, chosen=pair.rejected, rejected=pair.chosen) for pair in lesson.pairs
        ]
        return super().update(parent, replace(lesson, pairs=tuple(swapped)), seed)


def test_an_update_that_learned_the_opposite_is_refused_and_its_picks_come_back(
    world, tiny_folder, engine_config
):
    first = world.pick(3)
    engine = load_engine(tiny_folder, engine_config)
    rule = Backwards(engine.backbone, replace(ONLINE.dpo, steps=4), max_prompt_tokens=256)
    report = world.build.on(engine, rule=rule).step()
    assert report.status is RoundStatus.REFUSED
    assert "less likely" in report.reason
    assert report.metrics["lesson_lift"] < 0.0
    collect(world.policies)
    assert world.policies.current().id == 0
    second = world.pick(3)
    report = world.build().step()
    assert report.status is RoundStatus.ACCEPTED, report.reason
    assert list(report.preference_ids) == first + second


class Overflowing(OnlineDpo):
    """Its first round ends in numbers that are none."""

    def update(self, parent, lesson, seed):
        if seed == ONLINE.seed + 1:
            raise FloatingPointError("the gradient's norm is nan")
        return super().update(parent, lesson, seed)


def test_a_round_whose_numbers_overflow_uses_its_number_up_and_the_next_goes_on(
    world, tiny_folder, engine_config
):
    """Tried again as it was it would end the same way, and learning with it."""
    first = world.pick(3)
    engine = load_engine(tiny_folder, engine_config)
    rule = Overflowing(engine.backbone, ONLINE.dpo, max_prompt_tokens=256)
    learner = world.build.on(engine, rule=rule)
    report = learner.step()
    assert report.status is RoundStatus.REFUSED
    assert report.reason == "its numbers overflow: the gradient's norm is nan"
    collect(world.policies)
    assert learner.step() is None
    second = world.pick(3)
    report = learner.step()
    assert report.status is RoundStatus.ACCEPTED, report.reason
    assert (report.number, list(report.preference_ids)) == (2, first + second)


def test_moments_that_pull_to_an_old_taste_are_left_behind(backbone, base, tmp_path):
    pairs = make_pairs(backbone.tokenizer)
    check = LessonCheck(backbone, GateConfig(), row_tokens=64, max_prompt_tokens=256)
    rule, version = make_rule(backbone), base
    for number in range(1, 9):
        rule.update(version, Lesson(pairs=tuple(pairs)), seed=number)
        version = saved(rule, version, tmp_path / str(number), number)
    turned = make_pairs(backbone.tokenizer, swapped=True)
    rule.update(version, Lesson(pairs=tuple(turned)), seed=9)
    assert not check.judge(version, turned).accepted  # the momentum of eight rounds
    rule.close()
    rule.start_afresh()
    rule.update(version, Lesson(pairs=tuple(turned)), seed=9)
    assert check.judge(version, turned).accepted
    rule.close()


class Carried(Backwards):
    """Learns the opposite as long as it takes its parent's moments along."""

    def start_afresh(self):
        self.update = super(Backwards, self).update


def test_a_round_that_old_moments_carry_away_starts_afresh(world, tiny_folder, engine_config):
    world.pick(3)
    world.build().step()
    collect(world.policies)
    world.pick(3)
    engine = load_engine(tiny_folder, engine_config)
    rule = Carried(engine.backbone, replace(ONLINE.dpo, steps=4), max_prompt_tokens=256)
    del rule.__dict__["start_afresh"]  # the tuning's own
    report = world.build.on(engine, rule=rule).step()
    assert report.status is RoundStatus.ACCEPTED, report.reason
    assert report.metrics["lesson_lift"] > 0.0


def test_a_refused_round_is_tried_again_with_the_next_picks(world):
    strict = replace(ONLINE, gate=replace(ONLINE.gate, max_perplexity_ratio=0.01))
    first = world.pick(3)
    report = replace(world.build, online=strict)().step()
    assert report.status is RoundStatus.REFUSED
    collect(world.policies)
    assert world.policies.current().id == 0
    learner = world.build()
    assert learner.step() is None  # the same picks alone are not tried twice
    second = world.pick(3)
    report = learner.step()
    assert list(report.preference_ids) == first + second


@pytest.mark.parametrize("rule", [UpdateRuleName.DPO, UpdateRuleName.NPG, UpdateRuleName.KTO])
def test_picks_that_all_cut_the_other_reply_off_are_learned_with_the_next_ones(world, rule):
    online = replace(ONLINE, update=UpdateConfig(rule=rule))
    learner = replace(world.build, online=online)()
    early = world.pick(3, early=True)
    report = learner.step()
    assert report.status is RoundStatus.REFUSED
    assert "nothing to learn from yet" in report.reason
    collect(world.policies)
    assert world.policies.current().id == 0
    assert learner.step() is None  # no round after round on the same picks
    later = world.pick(3)
    report = learner.step()
    assert list(report.preference_ids) == early + later
    assert report.metrics["grad_norm"] > 0.0


def test_a_rule_that_samples_waits_until_the_ensemble_can_score(world):
    """Against one that knows nothing it would run from all that it doubts, which is everything."""
    few = RolloutConfig(samples=2, sampling=replace(Sampling(), max_new_tokens=4))
    update = UpdateConfig(rule=UpdateRuleName.RLOO, group=GroupConfig(rollout=few))
    learner = replace(world.build, online=replace(ONLINE, update=update))()
    first = world.pick(3)
    report = learner.step()
    assert report.status is RoundStatus.REFUSED
    assert "cannot be told apart" in report.reason
    collect(world.policies)
    second = world.pick(3)
    report = learner.step()
    assert list(report.preference_ids) == first + second
    assert report.metrics["prompts"] == 6.0


def test_kto_takes_no_step_on_picks_that_all_contradict_the_others(world):
    """Each is worth as much as its label is sure; the moments of earlier steps would move on."""
    online = replace(
        ONLINE,
        update=UpdateConfig(rule=UpdateRuleName.KTO),
        dpo=replace(ONLINE.dpo, label_smoothing=0.49, reward_pairs=0),
    )
    world.pick(3)
    learner = replace(world.build, online=online)()
    learner._reward.score = lambda prompt, completions: torch.tensor([[-50.0, 50.0]])
    report = learner.step()
    assert report.status is RoundStatus.REFUSED
    assert "contradicts the others" in report.reason


def test_rolling_back_frees_the_picks_for_the_next_round(world):
    first = world.pick(3)
    learner = world.build()
    learner.step()
    collect(world.policies)
    world.policies.activate(0, reason="test")
    second = world.pick(3)
    report = learner.step()
    assert report.parent == 0
    assert list(report.preference_ids) == first + second


def test_a_round_takes_only_so_many_and_the_next_one_goes_on(world):
    picks = world.pick(7)
    learner = replace(world.build, online=replace(ONLINE, max_preferences=3))()
    for taken in (picks[:3], picks[3:6]):
        report = learner.step()
        assert (list(report.preference_ids), report.attempted_through) == (taken, taken[-1])
        collect(world.policies)
    assert learner.step() is None  # one is left


def test_what_forgetting_set_free_is_learned_round_after_round_without_new_picks(world):
    picks = world.pick(6)
    few = replace(world.build, online=replace(ONLINE, min_preferences=2, max_preferences=3))()
    for _ in range(2):
        few.step()
        collect(world.policies)
    one = world.feedback.preferences()[0].comparison.id
    Forgetting(world.store, world.policies, world.conversations).forget([one], reason="test")
    assert world.policies.current().id == 0
    for freed in (picks[1:4], picks[4:]):
        report = few.step()
        assert (list(report.preference_ids), report.attempted_through) == (freed, picks[-1])
        collect(world.policies)
    assert few.step() is None


def test_a_look_at_the_log_reads_no_pick_before_a_round_begins(world, monkeypatch):
    world.pick(3)
    learner = world.build()
    learner.step()
    collect(world.policies)
    world.policies.activate(0, reason="test")
    monkeypatch.setattr("storage.next_picks.preferences_of", None)
    monkeypatch.setattr("storage.feedback.preferences_of", None)
    assert learner.step() is None  # what was rolled back waits for a new pick


@pytest.mark.parametrize("least", [0, 33])
def test_a_round_that_could_never_begin_is_no_setting(least):
    with pytest.raises(ValueError, match="min_preferences must be a whole number from 1 to"):
        OnlineConfig(min_preferences=least)


def test_the_same_picks_and_seed_make_the_same_weights(tmp_path, tiny_folder, engine_config):
    weights = []
    for name in "ab":
        world = World(tmp_path / name, tiny_folder, engine_config)
        world.pick(3)
        report = world.build().step()
        folder = world.folder.rounds / f"r{report.number:06d}" / "adapter"
        weights.append((folder / "adapter_model.safetensors").read_bytes())
        world.store.close()
    assert weights[0] == weights[1]


def until(condition, limit_s=100.0):  # at idle priority a busy machine leaves it little
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


@pytest.mark.timeout(180)
def test_the_real_process_learns_at_idle_priority_and_survives_being_killed(world):
    learner = LearnerProcess(
        world.build, world.folder.progress, poll_s=0.05, max_failures=3, back_off_s=0.05
    )
    learner.start()
    try:
        until(world.folder.progress.exists)
        if hasattr(os, "SCHED_IDLE"):
            assert os.sched_getscheduler(learner.pid) == os.SCHED_IDLE
        killed = learner.pid
        os.kill(killed, signal.SIGKILL)
        until(lambda: learner.alive and learner.pid != killed)
        first = world.pick(3)
        until(lambda: collect(world.policies) or world.policies.current().id == 1)
        assert world.policies.current().id == 1
        second = world.pick(3)
        until(lambda: collect(world.policies) or world.policies.current().id == 2)
        learned = [i for r in world.policies.rounds_log() for i in r.preference_ids]
        assert learned == first + second
    finally:
        learner.stop()
    assert not learner.alive


class Broken:
    def step(self):
        raise FloatingPointError("planted")


def build_broken():
    return Broken()


@pytest.mark.timeout(120)
def test_a_learner_that_fails_again_and_again_pauses_and_says_why(tmp_path):
    import json

    progress = tmp_path / "learner.json"
    learner = LearnerProcess(build_broken, progress, poll_s=0.02, max_failures=2, back_off_s=0.02)
    learner.start()
    try:
        until(lambda: progress.exists() and LearnerState.PAUSED in progress.read_text())
        assert "planted" in json.loads(progress.read_text())["detail"]
        until(lambda: not learner.alive)
    finally:
        learner.stop()


def limited(world, far, share):
    """The same picks under a limit on KL of this share of ``far``, in a world of its own."""
    other = World(world.folder.root.parent / f"at {share}", world.build.model, world.build.engine)
    gate = replace(ONLINE.gate, max_kl_per_token=share * far)
    other.build = replace(other.build, online=replace(ONLINE, gate=gate))
    return other


def test_a_step_that_drifts_too_far_is_shortened_until_it_holds(world):
    world.pick(3)
    far = world.build().step().metrics["kl_per_token"]
    other = limited(world, far, 0.95)
    other.pick(3)
    report = other.build().step()
    other.store.close()
    assert report.status is RoundStatus.ACCEPTED
    assert 0 < report.metrics["shortened"] < 1
    assert 0 < report.metrics["kl_per_token"] <= 0.95 * far
    assert "pulled_in" not in report.metrics  # there was nothing before this step


def test_from_a_parent_at_the_limit_the_whole_adapter_is_pulled_in(world):
    world.pick(3)
    far = world.build().step().metrics["kl_per_token"]
    other = limited(world, far, 1.01)  # the first round just holds, and its child starts there
    for _ in range(2):
        other.pick(3)
        report = other.build().step()
        collect(other.policies)
    other.store.close()
    assert report.status is RoundStatus.ACCEPTED
    assert report.metrics["shortened"] == pytest.approx(SHORTEST)
    assert 0 < report.metrics["pulled_in"] < 1
    assert report.metrics["kl_per_token"] <= 1.01 * far
