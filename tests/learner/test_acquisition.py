"""Which pair, and whether to ask."""

import math

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learner.acquisition import (
    Asker,
    pessimistic_best,
    regret_aware_infomax,
    win_prob_variance,
)
from learner.config import AskConfig, AskMode, QueryRule
from storage.records import AskReason

rewards_of = npst.arrays(
    np.float32, (6, 4), elements=st.floats(-20, 20, width=32, allow_nan=False)
).map(torch.from_numpy)


def all_pairs(n: int) -> torch.Tensor:
    return ~torch.eye(n, dtype=torch.bool)


def draw(seed: int = 0, n: int = 4) -> torch.Tensor:
    return torch.randn((32, n), generator=torch.Generator().manual_seed(seed))


@given(rewards_of)
def test_variance_is_symmetric_bounded_and_zero_on_the_diagonal(rewards):
    variance = win_prob_variance(rewards)
    torch.testing.assert_close(variance, variance.T)
    assert variance.diagonal().abs().max() == 0
    assert (variance >= 0).all() and (variance <= 0.25 + 1e-6).all()


@given(rewards_of)
def test_an_offset_shared_by_all_replies_changes_nothing(rewards):
    offsets = torch.linspace(-3, 3, len(rewards))[:, None]
    torch.testing.assert_close(
        win_prob_variance(rewards + offsets), win_prob_variance(rewards), atol=1e-4, rtol=1e-3
    )
    assert pessimistic_best(rewards * 0 + draw(1)[:6] + offsets, 0.5) == pessimistic_best(
        draw(1)[:6], 0.5
    )


def test_members_that_agree_disagree_about_nothing():
    assert win_prob_variance(draw()[:1].expand(8, 4)).abs().max() < 1e-12


def test_infomax_takes_the_pair_with_the_most_variance():
    rewards = torch.tensor([[0.0, 0.0, 3.0, 0.1], [0.0, 0.1, -3.0, 0.0]])
    i, j = regret_aware_infomax(rewards, all_pairs(4), regret_weight=0.0)
    assert 2 in (i, j)


def test_regret_keeps_two_bad_replies_from_being_asked():
    # 0 and 1 are far below 2 and 3, and a little more in doubt.
    rewards = torch.tensor([[-8.0, -10.0, 1.0, 0.0], [-10.0, -8.0, 0.0, 0.9]])
    assert regret_aware_infomax(rewards, all_pairs(4), regret_weight=0.0) == (0, 1)
    assert regret_aware_infomax(rewards, all_pairs(4), regret_weight=0.1) == (2, 3)


def test_a_pair_that_is_not_usable_is_never_taken():
    usable = torch.zeros((4, 4), dtype=torch.bool)
    usable[1, 3] = usable[3, 1] = True
    assert regret_aware_infomax(draw(), usable, 0.05) == (1, 3)


def test_doubt_about_the_best_lets_a_surer_one_win():
    sure, doubtful = torch.full((64, 1), 1.0), 1.1 + 4.0 * draw(n=1).repeat(2, 1)
    rewards = torch.cat([sure, doubtful], dim=1)
    assert pessimistic_best(rewards, 0.0) == int(rewards.mean(dim=0).argmax())
    assert pessimistic_best(torch.cat([sure, torch.zeros(64, 1)], dim=1), 0.5) == 0


def decide(asker: Asker, rewards: torch.Tensor, *, answers: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    return asker.decide(rewards, all_pairs(rewards.shape[1]), answers=answers, generator=generator)


def test_burn_in_asks_each_time_and_never_mode_never():
    asker = Asker(AskConfig(burn_in=3), pessimism=0.5)
    assert decide(asker, draw(), answers=2, seed=0).question.reason is AskReason.BURN_IN
    never = Asker(AskConfig(mode=AskMode.NEVER), pessimism=0.5)
    assert decide(never, draw(), answers=0, seed=0).pair is None


def test_nothing_is_asked_where_no_pair_is_usable():
    asker = Asker(AskConfig(mode=AskMode.ALWAYS), pessimism=0.5)
    decision = asker.decide(
        draw(),
        torch.zeros((4, 4), dtype=torch.bool),
        answers=0,
        generator=torch.Generator().manual_seed(0),
    )
    assert decision.pair is None


@pytest.mark.parametrize("budget", [0.1, 0.3])
def test_the_budget_holds_over_a_thousand_doubtful_turns(budget):
    asker = Asker(AskConfig(burn_in=0, budget_share=budget, random_share=0.0), pessimism=0.5)
    asked = 0
    for turn in range(1000):
        decision = decide(asker, draw(turn), answers=100, seed=turn)
        asker.count_turn(decision, answers=100)
        asked += decision.pair is not None
    assert asked / 1000 == pytest.approx(budget, abs=0.05)


def test_the_budget_is_a_ceiling_not_a_quota():
    asker = Asker(AskConfig(burn_in=0, random_share=0.0), pessimism=0.5)
    agreeing = torch.arange(4.0).expand(16, 4) * 3
    for turn in range(200):
        decision = decide(asker, agreeing, answers=100, seed=turn)
        asker.count_turn(decision, answers=100)
        assert decision.pair is None


def test_the_random_share_asks_even_when_sure_and_says_so():
    asker = Asker(AskConfig(burn_in=0, random_share=0.2), pessimism=0.5)
    agreeing = torch.arange(4.0).expand(16, 4) * 3
    reasons = [decide(asker, agreeing, answers=100, seed=t).question for t in range(500)]
    asked = [q for q in reasons if q is not None]
    assert {q.reason for q in asked} == {AskReason.RANDOM}
    assert len(asked) / 500 == pytest.approx(0.2, abs=0.06)


@pytest.mark.parametrize("query", list(QueryRule))
def test_logged_propensities_match_how_often_each_pair_is_asked(query):
    asker = Asker(AskConfig(burn_in=0, random_share=0.3, query=query), pessimism=0.5)
    rewards = 2 * draw(5)
    seen: dict[frozenset[int], list[float]] = {}
    for seed in range(3000):
        decision = decide(asker, rewards, answers=100, seed=seed)
        seen.setdefault(frozenset(decision.pair), []).append(decision.question.propensity)
    for logged in seen.values():
        assert len(logged) / 3000 == pytest.approx(logged[0], abs=0.03)
        assert max(logged) - min(logged) < 1e-9


def test_the_candidate_sampled_first_is_shown_first_half_the_time():
    asker = Asker(AskConfig(mode=AskMode.ALWAYS), pessimism=0.5)
    pairs = [decide(asker, draw(3), answers=0, seed=s).pair for s in range(2000)]
    share = sum(i < j for i, j in pairs) / 2000
    assert abs(share - 0.5) < 4 * math.sqrt(0.25 / 2000)


def test_the_stated_probability_is_that_of_the_first_as_shown():
    asker = Asker(AskConfig(mode=AskMode.ALWAYS), pessimism=0.5)
    rewards = torch.tensor([[5.0, 0.0], [4.0, 1.0]])
    for seed in range(20):
        decision = decide(asker, rewards, answers=0, seed=seed)
        assert (decision.question.first_better_prob > 0.5) == (decision.pair[0] == 0)
