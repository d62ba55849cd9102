"""The Bayesian Bradley-Terry fit against closed forms, gradients and separable data."""

from dataclasses import replace

import pytest
import torch

from learner.reward.laplace import (
    Hypotheses,
    Rows,
    derivatives,
    fit_posteriors,
    log_likelihood,
)

D = 5


def picks_of(n: int, seed: int = 0, *, scale: float = 1.0, ties: int = 0) -> Rows:
    generator = torch.Generator().manual_seed(seed)
    z = scale * torch.randn((n, D), generator=generator, dtype=torch.float64)
    truth = torch.linspace(-1, 1, D, dtype=torch.float64)
    z = torch.where((z @ truth < 0)[:, None], -z, z)  # the better one was always picked
    tie = torch.arange(n) < ties
    may_tie = torch.full((n,), ties > 0)
    return Rows(z=z, tie=tie, may_tie=may_tie, weight=torch.ones(n, dtype=torch.float64))


def prior(std: float = 1.0, eps: float = 0.1) -> Hypotheses:
    return Hypotheses(
        mean=torch.zeros((1, D), dtype=torch.float64),
        precision=(torch.eye(D, dtype=torch.float64) / std**2)[None],
        flip_rate=torch.tensor([eps], dtype=torch.float64),
    )


def log_posterior(w: torch.Tensor, picks: Rows, std: float, eps: float, nu: float = 0.5):
    rate = torch.tensor([eps], dtype=torch.float64)
    loglik = log_likelihood((picks.z @ w)[None], picks, rate, nu)[0]
    return (picks.weight * loglik).sum() - 0.5 * ((w / std) ** 2).sum()


def test_without_picks_the_posterior_is_the_prior():
    posterior = fit_posteriors(picks_of(0), prior(0.7), nu=0.5)
    assert posterior.mean.abs().max() == 0
    torch.testing.assert_close(posterior.scale[0], 0.7 * torch.eye(D).double())
    assert float(posterior.log_evidence) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("eps", "ties"), [(0.0, 0), (0.1, 0), (0.3, 20)])
def test_the_gradient_vanishes_at_the_mean(eps, ties):
    picks = picks_of(60, ties=ties)
    w = fit_posteriors(picks, prior(eps=eps), nu=0.5).mean[0].requires_grad_()
    log_posterior(w, picks, 1.0, eps).backward()
    assert w.grad.abs().max() < 1e-6


@pytest.mark.parametrize("eps", [0.0, 0.2])
@pytest.mark.parametrize("ties", [0, 7])
def test_slopes_are_the_likelihoods_derivative(eps, ties):
    rows = picks_of(12, ties=ties)
    s = torch.linspace(-4, 4, 12, dtype=torch.float64)[None].requires_grad_()
    rate = torch.tensor([eps], dtype=torch.float64)
    slope = torch.autograd.grad(log_likelihood(s, rows, rate, 0.5).sum(), s, create_graph=True)[0]
    curvature = -torch.autograd.grad(slope.sum(), s)[0]
    found = derivatives(s.detach(), rows, rate, 0.5)
    torch.testing.assert_close(found.slope, slope.detach())
    torch.testing.assert_close(found.curvature, curvature)
    assert (found.information >= 0).all()


@pytest.mark.parametrize("eps", [0.0, 0.2])
def test_the_information_is_the_mean_curvature_over_outcomes(eps):
    rate, s = torch.tensor([eps]).double(), torch.linspace(-3, 3, 7).double()[None]
    won, tied = (
        Rows(
            z=torch.zeros((7, D)).double(),
            tie=torch.full((7,), tie),
            may_tie=torch.ones(7, dtype=torch.bool),
            weight=torch.ones(7).double(),
        )
        for tie in (False, True)
    )
    mean = torch.zeros_like(s)
    for rows, side in ((won, 1.0), (won, -1.0), (tied, 1.0)):
        p = log_likelihood(side * s, rows, rate, 0.5).exp()
        mean = mean + p * derivatives(side * s, rows, rate, 0.5).curvature
    torch.testing.assert_close(derivatives(s, won, rate, 0.5).information, mean)


def test_outcomes_of_a_row_that_may_tie_add_up_to_one():
    rate, z = torch.tensor([0.1], dtype=torch.float64), torch.zeros((2, D), dtype=torch.float64)
    rows = Rows(
        z=z,
        tie=torch.tensor([False, True]),
        may_tie=torch.tensor([True, True]),
        weight=torch.ones(2).double(),
    )
    for s in (-3.0, 0.0, 1.7):
        won, tied = log_likelihood(torch.full((1, 2), s).double(), rows, rate, 0.5)[0].exp()
        lost = log_likelihood(torch.full((1, 2), -s).double(), rows, rate, 0.5)[0, 0].exp()
        assert float(won + lost + tied) == pytest.approx(1.0)


def test_separable_picks_on_huge_features_converge():
    # Undamped Newton overshoots here: the first step lands where the sigmoid is flat.
    picks = picks_of(400, scale=30.0)
    posterior = fit_posteriors(picks, prior(10.0), nu=0.5)
    assert posterior.mean.isfinite().all()
    assert ((picks.z @ posterior.mean[0]) > 0).double().mean() > 0.98


def noisy_picks(seed: int) -> Rows:
    """Some blind picks on large features: the data on which undamped Newton diverges."""
    generator = torch.Generator().manual_seed(seed)
    z = 5.0 * torch.randn((60, D), generator=generator).double()
    z = torch.where((z @ torch.linspace(-1, 1, D).double() < 0)[:, None], -z, z)
    z = torch.where((torch.rand(60, generator=generator) < 0.1)[:, None], -z, z)
    return replace(picks_of(60), z=z)


def test_without_step_halving_newton_would_leave_the_optimum_behind(monkeypatch):
    import learner.reward.laplace as laplace

    damped = [fit_posteriors(noisy_picks(seed), prior(10.0), nu=0.5) for seed in range(6)]
    monkeypatch.setattr(
        laplace, "_halve_until_lower", lambda w, value, step, *rest: (w - step, value, 1.0)
    )
    lost = 0.0
    for seed, fit in enumerate(damped):
        assert fit.mean.isfinite().all() and fit.steps < laplace.MAX_STEPS
        undamped = fit_posteriors(noisy_picks(seed), prior(10.0), nu=0.5)
        best, other = (
            float(log_posterior(f.mean[0], noisy_picks(seed), 10.0, 0.1)) for f in (fit, undamped)
        )
        lost = max(lost, best - other)
    assert lost > 20.0, "nats"


def test_without_flips_the_covariance_is_the_inverse_hessian():
    picks = picks_of(80)
    posterior = fit_posteriors(picks, prior(eps=0.0), nu=0.5)
    hessian = torch.autograd.functional.hessian(
        lambda w: -log_posterior(w, picks, 1.0, 0.0), posterior.mean[0]
    )
    covariance = posterior.scale[0] @ posterior.scale[0].T
    torch.testing.assert_close(covariance @ hessian, torch.eye(D).double(), atol=1e-6, rtol=0)


def test_a_tie_pulls_the_difference_to_zero():
    picks = picks_of(40)
    apart = fit_posteriors(picks, prior(eps=0.0), nu=0.5).mean[0]
    pulled = fit_posteriors(picks_of(40, ties=40), prior(eps=0.0), nu=0.5).mean[0]
    assert (picks.z @ pulled).abs().mean() < 0.2 * (picks.z @ apart).abs().mean()


def test_more_picks_mean_less_doubt():
    few = fit_posteriors(picks_of(10), prior(), nu=0.5).scale[0]
    many = fit_posteriors(picks_of(200), prior(), nu=0.5).scale[0]
    assert (many @ many.T).trace() < 0.4 * (few @ few.T).trace()


def test_a_pick_of_weight_two_counts_as_two():
    picks = picks_of(12)
    counted = torch.full((1, 12), 2.0).double()
    repeated = Rows(
        z=picks.z.repeat(2, 1),
        tie=picks.tie.repeat(2),
        may_tie=picks.may_tie.repeat(2),
        weight=picks.weight.repeat(2),
    )
    one = fit_posteriors(picks, prior(), nu=0.5, counted=counted)
    other = fit_posteriors(repeated, prior(), nu=0.5)
    torch.testing.assert_close(one.mean, other.mean)
    torch.testing.assert_close(one.scale, other.scale)
    torch.testing.assert_close(one.log_evidence, other.log_evidence)


def test_hypotheses_fitted_together_are_as_fitted_alone():
    picks = picks_of(30)
    both = Hypotheses(
        mean=torch.zeros((2, D)).double(),
        precision=torch.stack([prior(0.3).precision[0], prior(2.0).precision[0]]),
        flip_rate=torch.tensor([0.1, 0.3], dtype=torch.float64),
    )
    together = fit_posteriors(picks, both, nu=0.5)
    for i, alone in enumerate((prior(0.3, 0.1), prior(2.0, 0.3))):
        fit = fit_posteriors(picks, alone, nu=0.5)
        torch.testing.assert_close(together.mean[i], fit.mean[0], atol=1e-8, rtol=0)
        torch.testing.assert_close(together.log_evidence[i], fit.log_evidence[0])


def test_the_evidence_is_the_integral_over_the_prior():
    picks = picks_of(3)
    fitted = float(fit_posteriors(picks, prior(0.5), nu=0.5).log_evidence)
    draws = 0.5 * torch.randn((400_000, D), generator=torch.Generator().manual_seed(1)).double()
    rate = torch.tensor([0.1]).double()
    sampled = log_likelihood(draws @ picks.z.T, picks, rate.expand(400_000), 0.5).sum(dim=1)
    assert fitted == pytest.approx(float(sampled.exp().mean().log()), abs=0.05)


def test_features_that_are_not_finite_are_refused():
    picks = picks_of(3)
    picks.z[1, 2] = torch.nan
    with pytest.raises(FloatingPointError, match="not finite"):
        fit_posteriors(picks, prior(), nu=0.5)
