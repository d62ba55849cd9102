"""Which picks the policy is trained on."""

from dataclasses import replace

import pytest

from learner.config import RewardConfig
from learner.reward.head import BayesianRewardHead
from learner.updates.pairs import MOST_CERTAIN, human_pairs
from storage.records import Choice, FinishReason
from tests.learner.test_reward_head import brevity_picks, completion, pick


def unfitted() -> BayesianRewardHead:
    """An ensemble that has seen no pick and expects nothing of style."""
    return BayesianRewardHead(RewardConfig(hidden_components=0), seed=0)


@pytest.mark.parametrize("choice", [Choice.FIRST, Choice.SECOND])
def test_a_reply_that_the_choice_cut_off_is_never_the_worse_one(choice):
    first, second = completion(3, seed=1), completion(9, seed=2)
    [whole] = human_pairs([pick(first, second, choice)], unfitted(), 0.1)
    assert whole.chosen_prob == pytest.approx(0.9, abs=0.05)
    assert whole.chosen.completion is (first if choice is Choice.FIRST else second)
    cut = replace(second, finish_reason=FinishReason.ABORTED)
    found = human_pairs([pick(first, cut, choice)], unfitted(), 0.1)
    assert len(found) == (0 if choice is Choice.FIRST else 1)


def test_a_loop_may_be_the_worse_one_but_is_nothing_to_imitate():
    said = completion(9, seed=1)
    loop = replace(completion(60, seed=2), token_ids=(7, 8) * 30)
    [pair] = human_pairs([pick(said, loop, Choice.FIRST)], unfitted(), 0.1)
    assert pair.rejected.completion is loop
    assert human_pairs([pick(said, loop, Choice.SECOND)], unfitted(), 0.1) == []


def test_ties_are_no_pairs():
    tied = pick(completion(3, seed=1), completion(4, seed=2), Choice.TIE)
    assert human_pairs([tied], unfitted(), 0.1) == []


def test_a_label_is_surer_where_the_ensemble_agrees_and_a_tie_where_all_else_contradicts_it():
    head = unfitted()
    head.fit(brevity_picks(60))
    short, long = completion(3, seed=901), completion(60, seed=902)
    [agreed] = human_pairs([pick(short, long, Choice.FIRST)], head, 0.1)
    [contradicted] = human_pairs([pick(short, long, Choice.SECOND)], head, 0.1)
    assert 0.9 < agreed.chosen_prob <= MOST_CERTAIN
    assert 0.5 <= contradicted.chosen_prob < 0.7
    [certain] = human_pairs([pick(short, long, Choice.SECOND)], head, 0.0)
    assert certain.chosen_prob == MOST_CERTAIN, "without smoothing the pick alone decides"
