"""The parts fit the seams they stand at."""

from learner.config import RewardConfig
from learner.engine.scripted import ScriptedReplyMaker
from learner.features import FrozenFeatures
from learner.protocols import (
    DecodingBatch,
    FeatureExtractor,
    PolicyEngine,
    ReplyMaker,
    RewardEnsemble,
)
from learner.reward.head import BayesianRewardHead
from tests.learner.conftest import SAMPLING, user


def test_the_parts_fit_the_seams(engine):
    assert isinstance(engine, PolicyEngine)
    assert isinstance(engine.start(user("Hi"), 2, SAMPLING, 0), DecodingBatch)
    assert isinstance(FrozenFeatures(engine), FeatureExtractor)
    assert isinstance(BayesianRewardHead(RewardConfig(), seed=0), RewardEnsemble)
    assert isinstance(ScriptedReplyMaker(), ReplyMaker)
