"""Averaging over priors, flip rates and changes of taste."""

import pytest
import torch

from learner.config import RewardConfig
from learner.reward.components import Components
from learner.reward.laplace import Rows
from learner.reward.mixture import GRID, TasteModel, change_places
from learner.reward.style import STYLE_NAMES
from learner.reward.taste import HIDDEN, POSITION, Taste, hypotheses, load_taste

S, K = len(STYLE_NAMES), 8
D = HIDDEN + K


def rows_of(weights: torch.Tensor, n: int, *, seed: int = 0, flips: float = 0.0) -> Rows:
    """Picks that follow ``weights`` by Bradley-Terry, some of them blind."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn((n, D), generator=generator, dtype=torch.float64)
    z[:, POSITION:HIDDEN] = 0.0
    draws = torch.rand((2, n), generator=generator, dtype=torch.float64)
    blind = torch.rand(n, generator=generator, dtype=torch.float64) < flips
    won = draws[0] < torch.where(blind, 0.5, torch.sigmoid(z @ weights))
    return Rows(
        z=torch.where(won[:, None], z, -z),
        tie=torch.zeros(n, dtype=torch.bool),
        may_tie=torch.zeros(n, dtype=torch.bool),
        weight=torch.ones(n, dtype=torch.float64),
    )


def joined(a: Rows, b: Rows) -> Rows:
    return Rows(
        **{name: torch.cat([getattr(a, name), getattr(b, name)]) for name in Rows.__slots__}
    )


def direction(seed: int, size: float) -> torch.Tensor:
    drawn = torch.randn(D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    drawn[POSITION:HIDDEN] = 0.0
    return size * drawn / drawn.norm()


def taste_of(*directions: torch.Tensor) -> Taste:
    stacked = torch.stack(directions)
    return Taste(
        names=tuple(f"style:{i}" for i in range(len(directions))),
        style=stacked[:, :POSITION],
        hidden=stacked[:, HIDDEN:],
        basis=Components(basis=torch.eye(K, dtype=torch.float64)),
    )


def directed_share(mixture, config: RewardConfig) -> float:
    """Weight of the hypotheses that use the shipped directions, whatever the stretch."""
    per_prior = len(config.flip_rates)
    priors = len(config.hidden_prior_stds) + 1
    is_directed = (torch.arange(len(mixture.weight)) // per_prior) % priors == priors - 1
    return float(mixture.weight[is_directed].sum())


@pytest.mark.parametrize("lean", [1.0, -1.0])
def test_a_known_direction_is_learned_sooner_either_way_round(lean):
    known, config = direction(1, 2.0), RewardConfig()
    rows = rows_of(lean * known, 12)
    fits = {
        name: TasteModel(expected_picks=None).fit(
            rows, hypotheses(config, taste, K, shipped_basis=True), nu=0.5
        )
        for name, taste in (("directed", taste_of(known, direction(2, 2.0))), ("flat", None))
    }
    along = {name: float(fit.average @ (lean * known)) / 4.0 for name, fit in fits.items()}
    assert along["directed"] > along["flat"] + 0.1


def test_a_prior_that_is_wrong_loses_its_weight():
    config = RewardConfig()
    prior = hypotheses(config, taste_of(direction(1, 3.0)), K, shipped_basis=True)
    rows = rows_of(direction(5, 3.0), 150)  # another direction, to which that prior leaves little
    shares = [
        directed_share(
            TasteModel(expected_picks=None).fit(rows.part(slice(0, n)), prior, nu=0.5), config
        )
        for n in (5, 150)
    ]
    assert shares[0] > 0.15
    assert shares[1] < 0.05


@pytest.mark.parametrize(("flips", "low", "high"), [(0.0, 0.0, 0.11), (0.4, 0.18, 0.3)])
def test_blind_picks_raise_the_flip_rate(flips, low, high):
    config = RewardConfig()
    rows = rows_of(direction(1, 6.0), 250, flips=flips)
    mixture = TasteModel(expected_picks=None).fit(
        rows, hypotheses(config, None, K, shipped_basis=True), nu=0.5
    )
    assert low <= float(mixture.weight @ mixture.flip_rate) <= high


def test_a_change_of_taste_is_noticed_and_followed():
    old, new = direction(1, 3.0), -direction(1, 3.0)
    rows = joined(rows_of(old, 100), rows_of(new, 40, seed=1))
    prior = hypotheses(RewardConfig(), None, K, shipped_basis=True)
    watching = TasteModel(expected_picks=500.0).fit(rows, prior, nu=0.5)
    blind = TasteModel(expected_picks=None).fit(rows, prior, nu=0.5)
    assert watching.change_prob > 0.95
    assert float(watching.average @ new) > 1.0 > float(blind.average @ new)


def test_a_constant_taste_seldom_looks_changed():
    prior = hypotheses(RewardConfig(), None, K, shipped_basis=True)
    seen = [
        TasteModel(expected_picks=500.0).fit(rows_of(direction(1, 3.0), 120, seed=s), prior, nu=0.5)
        for s in range(8)
    ]
    assert sum(m.change_prob > 0.5 for m in seen) <= 1


def test_the_present_taste_is_as_old_as_the_change():
    prior = hypotheses(RewardConfig(), None, K, shipped_basis=True)
    old, new = direction(1, 3.0), -direction(1, 3.0)
    for since in (15, 30, 70, 110):
        rows = joined(rows_of(old, 100), rows_of(new, since, seed=1))
        found = TasteModel(expected_picks=500.0).fit(rows, prior, nu=0.5)
        assert abs(found.present_since - 100) <= max(5, since // 2)
    same = TasteModel(expected_picks=500.0).fit(rows_of(old, 100), prior, nu=0.5)
    assert same.present_since == 0


def test_a_change_is_looked_for_between_things_said_not_between_their_rows():
    prior = hypotheses(RewardConfig(), None, K, shipped_basis=True)
    rows = rows_of(direction(1, 3.0), 90)
    starts = range(0, 90, 6)
    found = TasteModel(expected_picks=100.0).fit(rows, prior, nu=0.5, starts=starts)
    assert sorted({*found.begins}) == [0, *(starts[c] for c in change_places(15))]
    alone = TasteModel(expected_picks=100.0).fit(rows, prior, nu=0.5)
    assert sorted({*alone.begins}) == [0, *change_places(90)]


def test_places_for_a_change_are_near_each_other_where_it_is_recent_and_stay():
    assert change_places(9) == []
    assert change_places(10) == [5]
    for n in (50, 173, 400, 1000):
        places = change_places(n)
        assert all(c % GRID == 0 and 5 <= n - c <= 120 for c in places)
        for since in range(5, min(100, n - 5)):
            assert min(abs(n - since - c) for c in places) <= max(4, since // 2)
        later = set(change_places(n + 1))
        assert sum(c not in later for c in places) <= 4


def test_the_mixture_follows_from_the_rows_alone():
    prior = hypotheses(RewardConfig(), None, K, shipped_basis=True)
    rows = rows_of(direction(1, 3.0), 90)
    walked = TasteModel(expected_picks=500.0)
    for n in (10, 50, 90, 70):
        last = walked.fit(rows.part(slice(0, n)), prior, nu=0.5)
    fresh = TasteModel(expected_picks=500.0).fit(rows.part(slice(0, 70)), prior, nu=0.5)
    assert torch.equal(last.weight, fresh.weight)
    assert torch.equal(last.mean, fresh.mean)


def test_members_are_drawn_from_the_components_by_weight():
    mixture = TasteModel(expected_picks=500.0).fit(
        rows_of(direction(1, 3.0), 60),
        hypotheses(RewardConfig(), None, K, shipped_basis=True),
        nu=0.5,
    )
    E = 4000
    noise = torch.randn((E, D), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    places = (torch.randperm(E, generator=torch.Generator().manual_seed(1)).double() + 0.5) / E
    members = mixture.members(noise, places)
    torch.testing.assert_close(members.mean(dim=0), mixture.average, atol=0.05, rtol=0)


def test_of_what_ships_another_base_model_uses_the_style_alone():
    taste = load_taste("no such model")
    assert taste.basis is None
    prior = hypotheses(RewardConfig(), taste, K, shipped_basis=False)
    directed = torch.linalg.inv(prior.precision[-1])
    assert float(directed[HIDDEN:, :POSITION].abs().max()) < 1e-9
    assert float(directed[:POSITION, :POSITION].triu(1).abs().max()) > 0.01


def test_what_ships_names_its_sources_and_fits_the_features():
    from importlib.resources import files

    from safetensors import safe_open

    with safe_open(str(files("learner.reward") / "taste.safetensors"), "pt") as stored:
        about = stored.metadata()
    assert "SmolLM2" in about["sources"] and "make_taste" in about["made_by"]
    taste = load_taste(about["base_sha256"])
    assert taste.style.shape == (len(taste.names), S)
    assert taste.hidden.shape[1] == taste.basis.basis.shape[1] == RewardConfig().hidden_components
    kept = taste.without("criterion:oasst")
    assert "criterion:oasst" not in kept.names and len(kept.names) == len(kept.style)
