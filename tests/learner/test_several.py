"""Several whole replies, no two alike."""

from threading import Event

import pytest

from learner.config import RewardConfig
from learner.early_pick import EarlyPick
from learner.features import FrozenFeatures
from learner.reward.head import BayesianRewardHead
from learner.scorer import Scorer
from learner.several import write_several
from learner.viewer import Viewer
from learner.writer import Writer
from storage.records import FinishReason, Sampling
from tests.learner.conftest import SAMPLING, user


def write(engine, n, sampling=SAMPLING, seed=3, cancel=None):
    drafts = []
    prompt = user("Hello")
    scorer = Scorer(FrozenFeatures(engine), BayesianRewardHead(RewardConfig(), seed=0))
    writer = Writer(engine=engine, scorer=scorer, sampling=sampling)
    viewer = Viewer(emit=drafts.append, cancel=cancel or Event(), early=EarlyPick())
    found = write_several(writer, prompt, n, seed, viewer)
    return found, drafts


@pytest.mark.parametrize("n", [2, 9])
def test_so_many_whole_replies_of_different_words(engine, n):
    found, drafts = write(engine, n)
    assert len(found) == n == len({" ".join(one.text.split()).lower() for one in found})
    assert all(one.finish_reason is not FinishReason.ABORTED for one in found)
    assert all(len(draft.texts) == n for draft in drafts)
    assert [one.text for one in write(engine, n)[0]] == [one.text for one in found]


def test_a_greedy_model_says_one_thing(engine):
    greedy = Sampling(temperature=0.0, max_new_tokens=6)
    found, _ = write(engine, 4, greedy)
    assert len(found) <= 1


def test_nothing_is_left_of_what_was_stopped(engine):
    cancel = Event()
    cancel.set()
    assert write(engine, 3, cancel=cancel)[0] == []
