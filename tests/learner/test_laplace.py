"""The Bayesian Bradley-Terry fit against closed forms, gradients and separable data."""

import pytest
import torch

from learner.reward.laplace import Picks, fit_posterior, negative_log_posterior

D = 5


def picks_of(n: int, seed: int = 0, *, scale: float = 1.0, ties: int = 0) -> Picks:
    generator = torch.Generator().manual_seed(seed)
    z = scale * torch.randn((n, D), generator=generator, dtype=torch.float64)
    truth = torch.linspace(-1, 1, D, dtype=torch.float64)
    z = torch.where((z @ truth < 0)[:, None], -z, z)  # the better one was always picked
    tie = torch.arange(n) < ties
    return Picks(z=z, tie=tie, weight=torch.ones(n, dtype=torch.float64))


def prior(std: float = 1.0) -> torch.Tensor:
    return torch.full((D,), std, dtype=torch.float64)


def test_without_picks_the_posterior_is_the_prior():
    posterior = fit_posterior(picks_of(0), prior(0.7), eps=0.1, nu=0.5)
    assert posterior.mean.abs().max() == 0
    torch.testing.assert_close(posterior.scale, 0.7 * torch.eye(D).double())


@pytest.mark.parametrize(("eps", "ties"), [(0.0, 0), (0.1, 0), (0.3, 20)])
def test_the_gradient_vanishes_at_the_mean(eps, ties):
    picks = picks_of(60, ties=ties)
    w = fit_posterior(picks, prior(), eps=eps, nu=0.5).mean.requires_grad_()
    negative_log_posterior(w, picks, prior(), eps, 0.5).backward()
    assert w.grad.abs().max() < 1e-3


def test_separable_picks_on_huge_features_converge():
    # Undamped Newton overshoots here: the first step lands where the sigmoid is flat.
    picks = picks_of(400, scale=30.0)
    posterior = fit_posterior(picks, prior(10.0), eps=0.1, nu=0.5)
    assert posterior.mean.isfinite().all()
    assert ((picks.z @ posterior.mean) > 0).double().mean() > 0.98


def test_without_step_halving_newton_would_leave_the_optimum_behind(monkeypatch):
    import learner.reward.laplace as laplace

    picks = picks_of(400, scale=30.0)
    damped = fit_posterior(picks, prior(10.0), eps=0.1, nu=0.5)
    monkeypatch.setattr(
        laplace, "_halve_until_lower", lambda w, value, step, *rest: (w - step, value, 1.0)
    )
    undamped = fit_posterior(picks, prior(10.0), eps=0.1, nu=0.5)

    def at(w):
        return negative_log_posterior(w, picks, prior(10.0), 0.1, 0.5)

    assert not at(undamped.mean) <= at(damped.mean) + 1.0


def test_without_flips_the_covariance_is_the_inverse_hessian():
    picks = picks_of(80)
    posterior = fit_posterior(picks, prior(), eps=0.0, nu=0.5)
    hessian = torch.autograd.functional.hessian(
        lambda w: negative_log_posterior(w, picks, prior(), 0.0, 0.5), posterior.mean
    )
    covariance = posterior.scale @ posterior.scale.T
    torch.testing.assert_close(covariance @ hessian, torch.eye(D).double(), atol=1e-6, rtol=0)


def test_a_tie_pulls_the_difference_to_zero():
    picks = picks_of(40)
    apart = fit_posterior(picks, prior(), eps=0.0, nu=0.5).mean
    pulled = fit_posterior(picks_of(40, ties=40), prior(), eps=0.0, nu=0.5).mean
    assert (picks.z @ pulled).abs().mean() < 0.2 * (picks.z @ apart).abs().mean()


def test_more_picks_mean_less_doubt():
    few = fit_posterior(picks_of(10), prior(), eps=0.1, nu=0.5).scale
    many = fit_posterior(picks_of(200), prior(), eps=0.1, nu=0.5).scale
    assert (many @ many.T).trace() < 0.4 * (few @ few.T).trace()


def test_a_pick_of_weight_two_counts_as_two():
    picks = picks_of(12)
    doubled = Picks(z=picks.z, tie=picks.tie, weight=2 * picks.weight)
    repeated = Picks(z=picks.z.repeat(2, 1), tie=picks.tie.repeat(2), weight=picks.weight.repeat(2))
    one = fit_posterior(doubled, prior(), eps=0.1, nu=0.5)
    other = fit_posterior(repeated, prior(), eps=0.1, nu=0.5)
    torch.testing.assert_close(one.mean, other.mean)
    torch.testing.assert_close(one.scale, other.scale)


def test_features_that_are_not_finite_are_refused():
    picks = picks_of(3)
    picks.z[1, 2] = torch.nan
    with pytest.raises(FloatingPointError, match="not finite"):
        fit_posterior(picks, prior(), eps=0.1, nu=0.5)
