"""Advantages and the losses of policy gradients against what their definitions say."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learner.advantages import (
    doubted,
    generalised_advantages,
    leave_one_out,
    padded,
    standardised,
    whitened,
)
from learner.losses import bradley_terry_loss, clipped_policy_loss, clipped_value_loss, k3
from learner.updates.kl_control import steered


def by_definition(rewards, values, discount, lam):
    """A_t = sum_l (discount lam)^l delta_{t+l}, summed out."""
    T = len(rewards)
    ahead = [*values[1:], 0.0]
    delta = [rewards[t] + discount * ahead[t] - values[t] for t in range(T)]
    return [sum((discount * lam) ** k * delta[t + k] for k in range(T - t)) for t in range(T)]


@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    discount=st.sampled_from([1.0, 0.9]),
    lam=st.sampled_from([0.0, 0.95, 1.0]),
    seed=st.integers(0, 100),
)
def test_gae_is_the_discounted_sum_of_errors_and_padding_never_counts(lengths, discount, lam, seed):
    generator = torch.Generator().manual_seed(seed)
    R = sum(lengths)
    rewards, values = (torch.randn(R, generator=generator, dtype=torch.float64) for _ in range(2))
    rows, mask = padded(rewards, lengths)
    value_rows = padded(values, lengths)[0].masked_fill(~mask, 1e6)
    advantages, returns = generalised_advantages(
        rows.masked_fill(~mask, 1e6), value_rows, mask, discount=discount, gae_lambda=lam
    )
    expected = [
        a
        for r, v in zip(rewards.split(lengths), values.split(lengths), strict=True)
        for a in by_definition(r.tolist(), v.tolist(), discount, lam)
    ]
    torch.testing.assert_close(advantages[mask], torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(returns[mask], advantages[mask] + values)
    assert (advantages[~mask] == 0).all()


def test_with_lambda_1_and_no_discount_a_return_is_what_is_still_to_come():
    rewards = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 0.0]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    values = torch.tensor([[0.3, -0.7, 0.9], [0.1, 0.2, 0.0]])
    _, returns = generalised_advantages(rewards, values, mask, discount=1.0, gae_lambda=1.0)
    torch.testing.assert_close(returns, torch.tensor([[7.0, 6.0, 4.0], [24.0, 16.0, 0.0]]))


def test_whitened_values_have_mean_0_and_spread_1_and_equal_ones_vanish():
    x = torch.tensor([1.0, 5.0, -2.0, 7.5])
    assert float(whitened(x).mean()) == pytest.approx(0.0, abs=1e-6)
    assert float(whitened(x).std(correction=0)) == pytest.approx(1.0, abs=1e-5)
    assert (whitened(torch.full((3,), 4.0)) == 0).all()


def test_leave_one_out_takes_off_the_mean_of_the_others():
    rewards = torch.tensor([[1.0, 2.0, 6.0]])
    expected = torch.tensor([[1.0 - 4.0, 2.0 - 3.5, 6.0 - 1.5]])
    torch.testing.assert_close(leave_one_out(rewards), expected)


def test_standardised_groups_do_not_know_of_each_other():
    rewards = torch.tensor([[1.0, 3.0], [100.0, 300.0]])
    rows = standardised(rewards)
    torch.testing.assert_close(rows[0], rows[1], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(rows.sum(dim=1), torch.zeros(2), atol=1e-6, rtol=0.0)


def test_what_the_ensemble_doubts_shrinks_to_the_nudge_and_both_orders_sum_to_two_nudges():
    p = torch.tensor([0.9, 0.6, 0.2])
    s = torch.tensor([0.1, 0.4, 0.1])
    one = doubted(p, s, doubt=0.5, nudge=0.03)
    torch.testing.assert_close(one, torch.tensor([0.38, 0.03, -0.22]))
    other = doubted(1.0 - p, s, doubt=0.5, nudge=0.03)
    torch.testing.assert_close(one + other, torch.full((3,), 0.06))


def test_the_clipped_loss_stops_pushing_where_the_ratio_left_its_bounds():
    old = torch.zeros(4)
    logprobs = torch.tensor([0.5, -0.5, 0.5, -0.5], requires_grad=True)
    advantages = torch.tensor([1.0, 1.0, -1.0, -1.0])
    clipped_policy_loss(logprobs, old, advantages, low=0.2, high=0.2).sum().backward()
    ratio = logprobs.detach().exp()
    # Free where moving back towards the old policy would be an improvement, still elsewhere.
    expected = torch.tensor([0.0, -float(ratio[1]), float(ratio[2]), 0.0])
    torch.testing.assert_close(logprobs.grad, expected)


def test_without_a_step_the_clipped_loss_is_the_plain_policy_gradient():
    logprobs = torch.tensor([-1.0, -2.0], requires_grad=True)
    advantages = torch.tensor([0.7, -0.3])
    loss = clipped_policy_loss(logprobs, logprobs.detach(), advantages, low=0.2, high=0.28)
    loss.sum().backward()
    torch.testing.assert_close(logprobs.grad, -advantages)


def test_a_value_that_ran_away_past_its_clip_gets_no_gradient_back_to_the_return():
    old, returns = torch.zeros(2), torch.tensor([1.0, 1.0])
    values = torch.tensor([0.1, 0.5], requires_grad=True)
    loss = clipped_value_loss(values, old, returns, clip=0.2)
    torch.testing.assert_close(loss.detach(), torch.tensor([0.5 * 0.81, 0.5 * 0.64]))
    loss.sum().backward()
    torch.testing.assert_close(values.grad, torch.tensor([-0.9, 0.0]))


def test_k3_is_never_negative_and_agrees_with_the_exact_kl_on_average():
    generator = torch.Generator().manual_seed(0)
    logits, ref = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    logp, logq = logits.log_softmax(0), ref.log_softmax(0)
    each = k3(logp, logq)
    assert (each >= 0).all()
    torch.testing.assert_close((logp.exp() * each).sum(), (logp.exp() * (logp - logq)).sum())


def test_the_controller_raises_the_weight_above_the_target_and_lowers_it_below():
    assert steered(0.1, 10.0, 0.04) == pytest.approx(0.102)
    assert steered(0.1, 0.0, 0.04) == pytest.approx(0.098)
    assert steered(0.1, 0.04, 0.04) == pytest.approx(0.1)


def test_a_ranking_counts_all_its_pairs_as_one():
    rewards = torch.tensor([2.0, 0.5, -1.0], requires_grad=True)
    loss = bradley_terry_loss(rewards, torch.tensor([1.0, 2.0, 3.0]))
    expected = -sum(torch.nn.functional.logsigmoid(torch.tensor(m)) for m in (1.5, 3.0, 1.5)) / 3
    torch.testing.assert_close(loss.detach(), expected)
    loss.backward()
    assert rewards.grad[0] < 0 < rewards.grad[2]


def test_a_tie_pulls_rewards_together():
    rewards = torch.tensor([2.0, -1.0], requires_grad=True)
    bradley_terry_loss(rewards, torch.tensor([1.0, 1.0])).backward()
    assert rewards.grad[0] > 0 > rewards.grad[1]
