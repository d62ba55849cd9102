"""Two versions reply to one message, and nothing but the record says which is which."""

from threading import Event

import pytest

from learner.asking import AskingReplyMaker
from learner.config import AskConfig, AskMode, RewardConfig
from learner.early_pick import EarlyPick
from learner.engine.lean import LeanEngine
from learner.features import FrozenFeatures
from learner.protocols import Stage
from learner.reward.head import BayesianRewardHead
from storage.records import AskReason, Choice, FinishReason
from tests.learner.canned import PARIS, brief
from tests.learner.conftest import SAMPLING, user
from tests.learner.test_engine import make_version, run

PROMPT = user("Which of you is it?")


@pytest.fixture(params=["transformers", "lean"])
def replies(request, engine, backbone, engine_config):
    if request.param == "lean":
        engine = LeanEngine(backbone, engine_config)
    return AskingReplyMaker(
        engine=engine,
        features=FrozenFeatures(engine),
        reward=BayesianRewardHead(RewardConfig(), seed=0),
        ask=AskConfig(),
        sampling=SAMPLING,
    )


def test_each_says_what_it_would_have_said_alone_in_an_order_that_the_seed_draws(
    replies, base, tmp_path
):
    newer = make_version(replies.engine.backbone, 1, tmp_path)
    alone = {}
    for version in (base, newer):
        replies.engine.load(version)
        for seed in range(8):
            [one] = run(replies.engine.start(PROMPT, 1, SAMPLING, seed))
            alone[version.id, seed] = one.token_ids
    orders = []
    for seed in range(8):
        drafts = []
        plan = replies.compare(PROMPT, (base, newer), seed, drafts.append, Event())
        assert plan.question.reason is AskReason.COMPARE
        orders.append(tuple(one.policy_version for one in plan.shown))
        for one in plan.shown:
            assert one.token_ids == alone[one.policy_version, seed]
            assert one.feature is not None and one.reward_mean is not None
        assert drafts[-1].texts == tuple(one.text for one in plan.shown)
        assert all(len(draft.texts) == 2 for draft in drafts)
        again = replies.compare(PROMPT, (base, newer), seed, lambda _: None, Event())
        assert [one.token_ids for one in again.shown] == [one.token_ids for one in plan.shown]
    assert set(orders) == {(0, 1), (1, 0)}


def test_who_stops_it_gets_what_there_is_and_no_question(replies, base, tmp_path):
    newer = make_version(replies.engine.backbone, 1, tmp_path)
    cancel = Event()

    def emit(draft):
        if len(draft.texts[0]) > 3:
            cancel.set()

    plan = replies.compare(PROMPT, (base, newer), 0, emit, cancel)
    assert plan.question is None and len(plan.shown) == 1
    assert plan.shown[0].finish_reason is FinishReason.ABORTED


def duelling(replies):
    replies.configure(
        AskConfig(mode=AskMode.ALWAYS, duel_share=1.0, commit_after_tokens=6), SAMPLING
    )
    return replies


def test_a_duel_is_between_plain_samples_of_two_versions_and_looks_like_any_pair(
    replies, base, tmp_path
):
    live = make_version(replies.engine.backbone, 1, tmp_path)
    duelling(replies)
    orders = set()
    for seed in range(0, 80, 10):
        drafts = []
        plan = replies.reply(PROMPT, live, seed, drafts.append, Event(), rival=base)
        alone = {}
        for version, own_seed in ((live, seed), (base, seed + 4)):
            replies.engine.load(version)
            [alone[version.id]] = run(replies.engine.start(PROMPT, 1, SAMPLING, own_seed))
        assert plan.question.reason is AskReason.DUEL
        orders.add(tuple(one.policy_version for one in plan.shown))
        for one in plan.shown:
            assert one.token_ids == alone[one.policy_version].token_ids
            assert one.style is None and one.reward_mean is not None
        read = [draft.texts for draft in drafts if draft.stage is Stage.STREAMING]
        assert read[-1] == tuple(one.text for one in plan.shown)
        assert all(len(texts) == 2 and all(texts) for texts in read)
    assert orders == {(0, 1), (1, 0)}


def test_a_duel_that_a_person_skips_or_stops_asks_nothing(replies, base, tmp_path):
    live = make_version(replies.engine.backbone, 1, tmp_path)
    duelling(replies)
    early, cancel = EarlyPick(), Event()
    early.take(Choice.SKIP)
    plan = replies.reply(PROMPT, live, 0, lambda _: None, Event(), early=early, rival=base)
    assert plan.question is None
    [shown] = plan.shown
    assert shown.policy_version == live.id
    assert shown.finish_reason is not FinishReason.ABORTED
    cancel.set()
    plan = replies.reply(PROMPT, live, 0, lambda _: None, cancel, rival=base)
    assert plan.question is None and len(plan.shown) == 1


def test_a_duel_and_a_comparison_are_decided_while_they_are_written(replies, base, tmp_path):
    live = make_version(replies.engine.backbone, 1, tmp_path)
    early = EarlyPick()
    early.take(Choice.SECOND)
    plan = duelling(replies).reply(
        PROMPT, live, 0, lambda _: None, Event(), early=early, rival=base
    )
    assert plan.question.reason is AskReason.DUEL and plan.picked is Choice.SECOND
    cut, chosen = plan.shown
    assert cut.finish_reason is FinishReason.ABORTED is not chosen.finish_reason
    assert {cut.policy_version, chosen.policy_version} == {live.id, base.id}
    plan = replies.compare(PROMPT, (base, live), 0, lambda _: None, Event(), early=early)
    assert plan.question.reason is AskReason.COMPARE and plan.picked is Choice.SECOND
    cut, chosen = plan.shown
    assert cut.finish_reason is FinishReason.ABORTED is not chosen.finish_reason


def test_without_a_rival_there_is_no_duel(replies, base):
    plan = duelling(replies).reply(PROMPT, base, 0, lambda _: None, Event())
    assert plan.question.reason is AskReason.ALWAYS


@pytest.mark.parametrize(
    "ask",
    [
        {"mode": AskMode.ALWAYS},
        {"burn_in": 0, "min_disagreement": 0.5, "random_share": 0.4},  # only at random
    ],
)
def test_logged_propensities_count_the_duels(ask, base):
    replies = brief(*PARIS, duel_share=0.4, **ask)
    seen = {}
    for seed in range(0, 2500, 10):
        plan = replies.reply(PROMPT, base, seed, lambda _: None, Event(), rival=base)
        if plan.question is not None:
            pair = plan.question.reason, *sorted(one.text for one in plan.shown)
            seen.setdefault(pair, []).append(plan.question.propensity)
    assert {pair[0] for pair in seen} > {AskReason.DUEL}
    for logged in seen.values():
        assert len(logged) / 250 == pytest.approx(logged[0], abs=0.06)
        assert max(logged) - min(logged) < 1e-9
