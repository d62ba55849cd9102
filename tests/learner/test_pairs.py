"""Which picks the policy is trained on."""

from dataclasses import replace

import pytest

from learner.updates.pairs import human_pairs
from storage.records import Choice, FinishReason
from tests.learner.test_reward_head import completion, pick


@pytest.mark.parametrize("choice", [Choice.FIRST, Choice.SECOND])
def test_a_reply_that_the_choice_cut_off_is_never_the_worse_one(choice):
    first, second = completion(3, seed=1), completion(9, seed=2)
    [whole] = human_pairs([pick(first, second, choice)], 0.1)
    assert whole.chosen_prob == pytest.approx(0.9)
    assert whole.chosen.completion is (first if choice is Choice.FIRST else second)
    cut = replace(second, finish_reason=FinishReason.ABORTED)
    found = human_pairs([pick(first, cut, choice)], 0.1)
    assert len(found) == (0 if choice is Choice.FIRST else 1)


def test_ties_are_no_pairs():
    tied = pick(completion(3, seed=1), completion(4, seed=2), Choice.TIE)
    assert human_pairs([tied], 0.1) == []
