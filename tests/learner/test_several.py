"""Several whole replies, no two alike."""

from threading import Event

import pytest

from learner.several import write_several
from storage.records import FinishReason, Sampling
from tests.learner.conftest import SAMPLING, user


def write(engine, n, sampling=SAMPLING, seed=3, cancel=None):
    drafts = []
    prompt = user("Hello")
    found = write_several(engine, prompt, n, sampling, seed, drafts.append, cancel or Event())
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
