"""Two versions reply to one message, and nothing but the record says which is which."""

from threading import Event

import pytest

from learner.asking import AskingReplyMaker
from learner.config import AskConfig, RewardConfig
from learner.engine.lean import LeanEngine
from learner.features import FrozenFeatures
from learner.reward.head import BayesianRewardHead
from storage.records import AskReason, FinishReason
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
