"""The DPO loss against a closed form, its direction and its symmetry."""

import pytest
import torch

from learner.losses import dpo_loss

B = 8


@pytest.fixture
def logps():
    generator = torch.Generator().manual_seed(0)
    return [
        -20.0 + 5.0 * torch.randn(B, generator=generator, dtype=torch.float64) for _ in range(4)
    ]


def test_the_loss_is_ln_2_where_policy_and_reference_agree(logps):
    chosen, rejected, *_ = logps
    loss = dpo_loss(chosen, rejected, chosen, rejected, torch.ones(B).double(), beta=0.1)
    torch.testing.assert_close(loss, torch.full((B,), 2.0).double().log())


def test_a_step_downhill_raises_the_chosen_and_lowers_the_rejected(logps):
    chosen, rejected, ref_chosen, ref_rejected = logps
    chosen.requires_grad_()
    rejected.requires_grad_()
    loss = dpo_loss(chosen, rejected, ref_chosen, ref_rejected, torch.ones(B).double(), beta=0.1)
    loss.sum().backward()
    assert (chosen.grad < 0).all()
    assert (rejected.grad > 0).all()


def test_an_undecided_label_pulls_towards_the_reference(logps):
    chosen, rejected, ref_chosen, ref_rejected = logps
    chosen.requires_grad_()
    half = torch.full((B,), 0.5, dtype=torch.float64)
    dpo_loss(chosen, rejected, ref_chosen, ref_rejected, half, beta=0.1).sum().backward()
    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    assert (chosen.grad.sign() == margin.sign()).all()


@pytest.mark.parametrize("beta", [0.03, 0.1])
def test_a_label_stops_pulling_where_the_policys_odds_are_its_own_and_pulls_back_beyond(beta):
    p = torch.tensor([0.6, 0.75, 0.9], dtype=torch.float64)
    ends = (p / (1 - p)).log() / beta  # nats between the two replies
    zero = torch.zeros(3, dtype=torch.float64)
    for share, sign in ((0.5, -1.0), (1.0, 0.0), (1.5, 1.0)):
        chosen = (share * ends).requires_grad_()
        dpo_loss(chosen, zero, zero, zero, p, beta=beta).sum().backward()
        assert (
            torch.where(chosen.grad.abs() < 1e-12, 0.0, chosen.grad).sign().tolist() == [sign] * 3
        )


def test_swapping_the_pair_and_its_label_changes_nothing(logps):
    chosen, rejected, ref_chosen, ref_rejected = logps
    p = torch.linspace(0.05, 0.95, B, dtype=torch.float64)
    one = dpo_loss(chosen, rejected, ref_chosen, ref_rejected, p, beta=0.3)
    other = dpo_loss(rejected, chosen, ref_rejected, ref_chosen, 1 - p, beta=0.3)
    torch.testing.assert_close(one, other)


def test_extreme_margins_stay_finite():
    far = torch.tensor([1e4, -1e4])
    zero = torch.zeros(2)
    loss = dpo_loss(far, zero, zero, zero, torch.tensor([0.9, 0.9]), beta=1.0)
    assert loss.isfinite().all()
