"""What a ranking teaches the live ensemble, and how criteria become one reward."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import torch

from learner.config import RewardConfig
from learner.reward.criteria import OUT, CriteriaWeights, combined
from learner.reward.head import BayesianRewardHead
from learner.reward.rows import RowWriter
from learner.reward.signals import Ordered, orders_of
from storage.records import Candidate, Completion, FinishReason, Sampling
from storage.slates import Criterion, Orders, Ranking, RankingState, Slate
from tests.learner.conftest import user

AT = datetime(2026, 1, 1, tzinfo=UTC)


def completion(text, *, feature=None):
    return Completion(
        text=text,
        token_ids=(1,) * len(text.split()),
        logprobs=(-1.0,) * len(text.split()),
        finish_reason=FinishReason.STOP,
        policy_version=0,
        seed=len(text),
        sampling=Sampling(),
        feature=feature,
    )


def ordered(*texts, ranks, at=AT):
    return Ordered(
        prompt=user("What now?"),
        completions=tuple(completion(text, feature=b"\0" * 64) for text in texts),
        ranks=ranks,
        at=at,
    )


def test_all_pairs_of_a_ranking_weigh_as_one_pick_and_ties_are_ties():
    lengths = {"a": 1.0, "b b": 2.0, "c c c": 3.0}

    def phi(_, reply, __):
        return np.array([lengths[reply.text], 0.5])

    writer = RowWriter(config=RewardConfig(), phi_of=phi, style=1)
    rows = writer.write([], [ordered("a", "b b", "c c c", ranks=(2, 1, 2))])
    assert len(rows) == 3
    torch.testing.assert_close(rows.weight, torch.full((3,), 1 / 3, dtype=torch.float64))
    assert rows.tie.tolist() == [False, True, False]
    assert rows.may_tie.all()
    assert rows.z[:, 0].tolist() == [1.0, -2.0, -1.0]  # b - a, then a against c, then b - c
    assert (rows.z[:, 1:3] == 0.0).all(), "nobody saw two side by side: no position, no thumb"


def test_rankings_alone_teach_the_ensemble():
    head = BayesianRewardHead(RewardConfig(hidden_components=0), seed=0)
    rankings = [
        ordered(
            "Yes.",
            f"Yes, and here is some more about {i}.",
            "Yes. " * 20,
            ranks=(1, 2, 3),
            at=AT + timedelta(minutes=i),
        )
        for i in range(12)
    ]
    metrics = head.fit([], rankings)
    assert metrics["reward_picks"] == 36.0
    short, long = completion("No."), completion("No, and there is a lot more to be said. " * 4)
    rewards = head.score(user("Really?"), [short, long])
    assert (rewards[:, 0] > rewards[:, 1]).float().mean() > 0.95


def noisy_rankings(n, of, *, seed=0):
    """By one taste all along: shorter is better, with the noise of a Plackett-Luce choice."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        words = rng.integers(8, 110, of)
        liked = -0.8 * np.log1p(words) + rng.gumbel(size=of)
        ranks = tuple(int(r) for r in (-liked).argsort().argsort() + 1)
        texts = (" ".join(f"word{rng.integers(50)}" for _ in range(count)) for count in words)
        yield ordered(*texts, ranks=ranks, at=AT + timedelta(minutes=i))


def test_rankings_do_not_look_like_a_change_of_taste():
    for seed in range(3):
        head = BayesianRewardHead(RewardConfig(hidden_components=0), seed=0)
        head.fit([], list(noisy_rankings(10, 9, seed=seed)))
        assert head.change_prob < 0.2, "ten things said are no more than ten picks"


def test_a_ranking_ages_as_one_thing_said():
    pair = completion("No."), completion("No, and there is a lot more to be said.")
    steady = RewardConfig(hidden_components=0)
    rewards = []
    for config in (steady, replace(steady, half_life_picks=4.0)):
        head = BayesianRewardHead(config, seed=0)
        head.fit([], list(noisy_rankings(1, 9)))
        rewards.append(head.score(user("Really?"), pair))
    assert torch.equal(*rewards), "all of its 36 rows are as new as the newest"


def test_a_ranking_with_replies_that_nobody_read_waits():
    def ranking(feature, orders):
        slate = Slate(
            id=1,
            token="t",  # noqa: S106
            conversation_id=1,
            prompt_turn_id=1,
            prompt=user("Q"),
            answers=tuple(
                Candidate(id=i, prompt_turn_id=1, completion=completion(text, feature=feature))
                for i, text in enumerate(("a", "b"))
            ),
            imported=False,
            asked_at=AT,
        )
        state = RankingState.SKIPPED if orders is None else RankingState.RANKED
        return Ranking(id=1, slate=slate, state=state, orders=orders, decision_ms=1, decided_at=AT)

    said = Orders(overall=(1, 2), criteria={Criterion.HONESTY: (2, 1)})
    found = orders_of([ranking(b"x", said), ranking(None, said), ranking(b"x", None)])
    assert [one.ranks for one in found] == [(1, 2)]
    [honest] = orders_of([ranking(b"x", said)], Criterion.HONESTY)
    assert honest.ranks == (2, 1)


CRITERIA = (Criterion.OVERALL, Criterion.HARMLESSNESS)
REWARDS = torch.tensor([[[1.0, 2.0], [0.5, -1.0]], [[3.0, 4.0], [0.5, -3.0]]])  # (E, C, N)


def test_criteria_add_up_as_they_are_weighed():
    weights = CriteriaWeights(weights={Criterion.OVERALL: 1.0, Criterion.HARMLESSNESS: 2.0})
    expected = torch.tensor([[2.0, 0.0], [4.0, -2.0]])
    torch.testing.assert_close(combined(REWARDS, CRITERIA, weights), expected)
    torch.testing.assert_close(combined(REWARDS, CRITERIA, CriteriaWeights()), REWARDS[:, 0])


def test_harm_beyond_the_bound_outweighs_everything():
    bounded = combined(REWARDS, CRITERIA, CriteriaWeights(least_harmless=0.0))
    torch.testing.assert_close(bounded, REWARDS[:, 0] - torch.tensor([0.0, OUT]))
    doubtful = combined(REWARDS, CRITERIA, CriteriaWeights(least_harmless=-2.0))
    torch.testing.assert_close(doubtful, REWARDS[:, 0])  # one member of two is no majority


def test_a_criterion_that_was_never_learned_is_an_error():
    with pytest.raises(ValueError, match="knows nothing of harmlessness"):
        combined(REWARDS[:, :1], CRITERIA[:1], CriteriaWeights(least_harmless=0.0))
    with pytest.raises(ValueError, match="must lie in"):
        CriteriaWeights(weights={Criterion.OVERALL: float("nan")})
