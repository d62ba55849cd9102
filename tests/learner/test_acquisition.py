"""Which pair, and whether to ask."""

import math

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learner.acquisition import PATIENCE, Asker
from learner.config import RESUMED, AskConfig, AskMode, QueryRule
from learner.query_rules import (
    pessimistic_best,
    regret_aware_partner,
    rule_of,
    value_of_answer,
    win_entropy,
    win_prob_variance,
)
from storage.records import AskReason
from storage.trends import AskDecision

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


EVERYONE = torch.ones(4, dtype=torch.bool)


def others(leader: int) -> torch.Tensor:
    return EVERYONE.clone().index_fill_(0, torch.tensor(leader), False)


def test_infomax_takes_the_partner_with_the_most_variance():
    rewards = torch.tensor([[0.0, 0.0, 3.0, 0.1], [0.0, 0.1, -3.0, 0.0]])
    assert regret_aware_partner(rewards, 0, others(0), regret_weight=0.0) == 2


def test_regret_keeps_two_bad_replies_from_being_asked():
    # The leader is far below 2 and 3; its comparison with the bad 1 is a little more in doubt.
    rewards = torch.tensor([[-8.0, -10.0, 1.0, 0.0], [-10.0, -8.0, 0.0, 0.9]])
    assert regret_aware_partner(rewards, 0, others(0), regret_weight=0.0) == 1
    assert regret_aware_partner(rewards, 0, others(0), regret_weight=0.1) in (2, 3)


def test_a_partner_that_is_not_usable_is_never_taken():
    usable = torch.tensor([False, False, False, True])
    assert regret_aware_partner(draw(), 1, usable, 0.05) == 3


def test_doubt_about_the_best_lets_a_surer_one_win():
    sure, doubtful = torch.full((64, 1), 1.0), 1.1 + 4.0 * draw(n=1).repeat(2, 1)
    rewards = torch.cat([sure, doubtful], dim=1)
    assert pessimistic_best(rewards, 0.0) == int(rewards.mean(dim=0).argmax())
    assert pessimistic_best(torch.cat([sure, torch.zeros(64, 1)], dim=1), 0.5) == 0


def decide(asker: Asker, rewards: torch.Tensor, *, answers: int, seed: int, usable=None):
    """A whole turn in which drafts and finished replies have the same rewards."""
    generator = torch.Generator().manual_seed(seed)
    opening = asker.open(rewards, answers=answers, generator=generator)
    usable = all_pairs(rewards.shape[1]) if usable is None else usable
    return asker.ask(opening, rewards, usable, generator)


def test_burn_in_asks_each_time_and_never_mode_never():
    asker = Asker(AskConfig(burn_in=3), pessimism=0.5)
    assert decide(asker, draw(), answers=2, seed=0)[2].reason is AskReason.BURN_IN
    never = Asker(AskConfig(mode=AskMode.NEVER), pessimism=0.5)
    assert decide(never, draw(), answers=0, seed=0) is None


def test_nothing_is_asked_where_no_pair_is_usable():
    asker = Asker(AskConfig(mode=AskMode.ALWAYS), pessimism=0.5)
    unusable = torch.zeros((4, 4), dtype=torch.bool)
    assert decide(asker, draw(), answers=0, seed=0, usable=unusable) is None


def test_a_question_holds_the_reply_that_would_have_been_shown():
    asker = Asker(AskConfig(burn_in=0, random_share=0.0), pessimism=0.5)
    for seed in range(30):
        pair = decide(asker, draw(seed), answers=100, seed=seed)[:2]
        assert pessimistic_best(draw(seed), 0.5) in pair


def live(asker: Asker, turns: int, *, scale=lambda answers: 1.0) -> list[bool]:
    """Turns on which the ensemble's spread is ``scale(answers)``; every question is answered."""
    asked = []
    for turn in range(turns):
        answers = sum(asked)
        question = decide(asker, scale(answers) * draw(turn), answers=answers, seed=turn)
        asker.count_turn(
            asked=question is not None,
            answers=answers,
            disagreement=question and question[2].disagreement,
        )
        asked.append(question is not None)
    return asked


@pytest.mark.parametrize("budget", [0.1, 0.3])
def test_the_budget_holds_over_a_thousand_doubtful_turns(budget):
    config = AskConfig(burn_in=0, budget_share=budget, early_share=budget, random_share=0.0)
    assert np.mean(live(Asker(config, pessimism=0.5), 1000)) == pytest.approx(budget, abs=0.03)


@pytest.mark.parametrize("answers", [12, 20, 500])
def test_without_a_budget_the_rule_asks_nothing_not_even_early(answers):
    assert AskConfig(budget_share=0.0).share_after(answers) == 0.0
    assert AskConfig(budget_share=0.02).share_after(answers) >= 0.02


def test_the_budget_holds_from_the_first_turn_after_the_burn_in():
    config = AskConfig(burn_in=12, budget_share=0.12, early_share=0.4, early_answers=20.0)
    # The first answers settle much, the later ones less and less, as the reward head does.
    asked = live(Asker(config, pessimism=0.5), 150, scale=lambda n: 1.0 / math.sqrt(1 + n / 6))
    assert all(asked[:12])
    assert np.mean(asked[12:36]) < 0.5, "the threshold does not take twenty questions to find"
    assert np.mean(asked[50:]) < 0.25


def settling(turn: int) -> float:
    return 1.0 / math.sqrt(1 + turn / 20)


def test_who_lets_questions_pass_is_asked_less_and_answers_bring_the_burn_in_back():
    asker = Asker(AskConfig(burn_in=12, random_share=0.0), pessimism=0.5)

    def turn(number: int, answers: int) -> bool:
        question = decide(asker, draw(number), answers=answers, seed=number)
        doubt = question and question[2].disagreement
        asker.count_turn(asked=question is not None, answers=answers, disagreement=doubt)
        return question is not None

    asked = [turn(number, 0) for number in range(600)]
    assert all(asked[:PATIENCE])
    assert 0.2 < np.mean(asked[PATIENCE:50]) < 0.5, "the share after a burn-in, and falling"
    assert 0.07 < np.mean(asked[300:]) < 0.17, "and on to the share of the long run"
    again = [turn(600 + number, 1 + number) for number in range(11)]
    assert all(again), "an answer came, to whichever question"


def test_what_is_logged_of_a_silent_person_s_question_is_how_often_it_is_asked():
    past = [AskDecision(reason=AskReason.BURN_IN, disagreement=0.3, answers=0)] * 6
    logged = []
    for seed in range(600):
        asker = Asker(AskConfig(burn_in=12), pessimism=0.5)
        asker.resume(past)
        question = decide(asker, 2 * draw(5, n=2), answers=0, seed=seed)
        if question is not None:
            logged.append(question[2].propensity)
    assert len(set(logged)) == 1
    assert len(logged) / 600 == pytest.approx(logged[0], abs=0.05)
    assert 0.3 < logged[0] < 0.4


def test_two_questions_let_pass_are_no_reason_to_stop_asking():
    asker = Asker(AskConfig(burn_in=12, random_share=0.0), pessimism=0.5)
    for number in range(30):
        answers = number // PATIENCE
        assert decide(asker, draw(number), answers=answers, seed=number) is not None
        asker.count_turn(asked=True, answers=answers, disagreement=0.3)


def decisions(
    asker: Asker,
    turns: int,
    scale=settling,
    *,
    others=None,
    before=0,
    duels=False,
    new_taste=None,
    every=2,
) -> tuple[list[AskDecision], int]:
    """What the log has of a chat in which a question of each ``every`` th turn is answered, and
    how many answers count at its end.

    ``others``: answers to other pairs after these turns, ``before`` the first turn; ``duels``: each
    third question is one; after turn ``new_taste`` only five answers count.
    """
    past, answers = [], before
    for turn in range(turns):
        rewards = scale(turn) * torch.randn(16, 4, generator=torch.Generator().manual_seed(turn))
        question = decide(asker, rewards, answers=answers, seed=turn)
        reason = doubt = None
        if question is not None:
            reason, doubt = question[2].reason, question[2].disagreement
            if duels and sum(one.asked for one in past) % 3 == 2:
                reason = AskReason.DUEL
        asker.count_turn(asked=question is not None, answers=answers, disagreement=doubt)
        answered = (question is not None and turn % every == 0) + (others or {}).get(turn, 0)
        past.append(AskDecision(reason=reason, disagreement=doubt, answers=answered))
        answers = 5 if turn == new_taste else answers + answered
    return past, answers


@pytest.mark.parametrize("turns", [0, 3, 12, 25, 120])
@pytest.mark.parametrize(
    "happens",
    [
        {},
        {"others": {2: 3, 20: 4, 60: 50}},
        {"before": 30},
        {"duels": True},
        {"new_taste": 30},
        {"new_taste": 60, "duels": True, "others": {10: 2, 80: 1}},
        {"every": 5},
        {"every": 5, "others": {30: 1}},
        {"every": 1000},
    ],
)
def test_after_a_restart_the_threshold_is_where_it_was(turns, happens):
    config = AskConfig(burn_in=8)
    kept, back = Asker(config, pessimism=0.5), Asker(config, pessimism=0.5)
    past, answers = decisions(kept, turns, **happens)
    back.resume(past)
    further = torch.randn(16, 4, generator=torch.Generator().manual_seed(999))
    asked = [decide(one, further, answers=answers, seed=1) for one in (kept, back)]
    assert asked[0] == asked[1]
    for one in (kept, back):
        one.count_turn(asked=False, answers=max(8, answers))
    assert kept.threshold == back.threshold


def test_after_a_restart_a_log_that_begins_late_is_enough():
    config = AskConfig(burn_in=8)
    kept, back = Asker(config, pessimism=0.5), Asker(config, pessimism=0.5)
    past, answers = decisions(kept, 500, scale=lambda _: 1.0)
    back.resume(past[-RESUMED:])
    decide(back, torch.zeros(16, 4), answers=answers, seed=0)
    assert back.threshold == pytest.approx(kept.threshold, rel=0.1)


def test_the_budget_is_a_ceiling_not_a_quota():
    asker = Asker(AskConfig(burn_in=0, random_share=0.0), pessimism=0.5)
    agreeing = torch.arange(4.0).expand(16, 4) * 3
    for turn in range(200):
        question = decide(asker, agreeing, answers=100, seed=turn)
        asker.count_turn(asked=question is not None, answers=100)
        assert question is None


def test_the_random_share_asks_even_when_sure_and_says_so():
    asker = Asker(AskConfig(burn_in=0, random_share=0.2), pessimism=0.5)
    agreeing = torch.arange(4.0).expand(16, 4) * 3
    asked = [decide(asker, agreeing, answers=100, seed=t) for t in range(500)]
    asked = [a for a in asked if a is not None]
    assert {question.reason for _, _, question in asked} == {AskReason.RANDOM}
    assert len(asked) / 500 == pytest.approx(0.2, abs=0.06)


@pytest.mark.parametrize("mode", [AskMode.AUTO, AskMode.ALWAYS])
@pytest.mark.parametrize("query", list(QueryRule))
def test_logged_propensities_match_how_often_each_pair_is_asked(query, mode):
    asker = Asker(AskConfig(mode=mode, burn_in=0, random_share=0.3, query=query), pessimism=0.5)
    rewards = 2 * draw(5)
    usable = all_pairs(4)
    usable[0, 1] = usable[1, 0] = False
    seen: dict[frozenset[int], list[float]] = {}
    for seed in range(1500):
        asked = decide(asker, rewards, answers=100, seed=seed, usable=usable)
        if asked is not None:
            *pair, question = asked
            seen.setdefault(frozenset(pair), []).append(question.propensity)
    for logged in seen.values():
        assert len(logged) / 1500 == pytest.approx(logged[0], abs=0.04)
        assert max(logged) - min(logged) < 1e-9


def test_every_rule_asks_about_two_different_usable_replies():
    usable = all_pairs(4)
    usable[2, 3] = usable[3, 2] = False
    for query in QueryRule:
        rule = rule_of(AskConfig(query=query), pessimism=0.5)
        for seed in range(20):
            leader_probs = rule.leader(draw(seed))
            assert float(leader_probs.sum()) == pytest.approx(1.0)
            for leader in range(4):
                partner_probs = rule.partner(draw(seed), leader, usable[leader])
                assert float(partner_probs.sum()) == pytest.approx(1.0), query
                assert float(partner_probs[~usable[leader]].sum()) == 0.0, query


def asked_by(query: QueryRule, rewards: torch.Tensor) -> set[int]:
    rule = rule_of(AskConfig(query=query, regret_weight=0.1), pessimism=0.5)
    leader = int(rule.leader(rewards).argmax())
    others_usable = all_pairs(rewards.shape[1])[leader]
    return {leader, int(rule.partner(rewards, leader, others_usable).argmax())}


def test_each_rule_takes_the_pair_its_paper_would():
    # Members disagree most about the two bad replies 0 and 1; 2 and 3 are good and alike; 4 is
    # surely the worst.
    spread = torch.linspace(-1, 1, 9)[:, None]
    rewards = torch.cat(
        [-6 + 2 * spread, -6 - 2 * spread, 1.0 + 0.2 * spread, 0.9 - 0.2 * spread, -9 + 0 * spread],
        dim=1,
    )
    assert asked_by(QueryRule.INFOMAX, rewards) == {0, 1}
    assert asked_by(QueryRule.REGRET_AWARE, rewards) & {2, 3}
    assert asked_by(QueryRule.DOUBLE_THOMPSON, rewards) == {2, 3}
    assert asked_by(QueryRule.DELTA_UCB, rewards) == {2, 4}
    assert asked_by(QueryRule.ENTROPY, rewards) in ({0, 1}, {2, 3})
    entropy = win_entropy(rewards)
    assert float(entropy[0, 1]) == pytest.approx(math.log(2), abs=1e-3)
    assert float(entropy[2, 4]) < 0.01


def test_an_answer_is_worth_what_it_would_change():
    side = torch.tensor([1.0, -1.0]).repeat(16)[:, None]
    rewards = torch.cat([2 * side, -2 * side], dim=1)  # half the members like 0, half like 1
    same_doubt = rewards.expand(3, 32, 2)  # three recent messages with the same doubt
    sure = torch.tensor([[3.0, 0.0]]).expand(3, 32, 2)  # whatever the answer, 0 is shown
    assert value_of_answer(rewards, 0, 1, same_doubt) == pytest.approx(
        2 * (1 / (1 + math.exp(-4)) - 0.5) * 2, abs=0.01
    )
    assert value_of_answer(rewards, 0, 1, sure) == pytest.approx(0.0, abs=1e-6)


def test_the_leader_is_shown_first_half_the_time():
    asker = Asker(AskConfig(mode=AskMode.ALWAYS), pessimism=0.5)
    leader = pessimistic_best(draw(3), 0.5)
    pairs = [decide(asker, draw(3), answers=0, seed=s)[:2] for s in range(2000)]
    share = sum(pair[0] == leader for pair in pairs) / 2000
    assert abs(share - 0.5) < 4 * math.sqrt(0.25 / 2000)


def test_the_stated_probability_is_that_of_the_first_as_shown():
    asker = Asker(AskConfig(mode=AskMode.ALWAYS), pessimism=0.5)
    rewards = torch.tensor([[5.0, 0.0], [4.0, 1.0]])
    for seed in range(20):
        first, _, question = decide(asker, rewards, answers=0, seed=seed)
        assert (question.first_better_prob > 0.5) == (first == 0)


def test_answers_of_an_old_taste_do_not_spare_the_burn_in_of_the_new_one():
    asker = Asker(AskConfig(burn_in=3, random_share=0.0), pessimism=0.5)
    for _ in range(10):  # the last doubts of the old taste were large ones
        asker.count_turn(asked=True, answers=40, disagreement=0.4)
    assert not asker.would_ask(0.1, answers=40)
    asked = decide(asker, draw(), answers=2, seed=0)
    assert asked is not None and asked[2].reason is AskReason.BURN_IN
    asker.count_turn(asked=True, answers=2, disagreement=0.08)
    assert asker.would_ask(0.1, answers=3), "the old threshold would ask nothing for long"
