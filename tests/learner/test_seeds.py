"""What is drawn beside the replies shares nothing with what the replies draw."""

import torch

from learner.seeds import generator_for

DRAWS = 20
SEEDS = 2000


def coins(generator: torch.Generator) -> torch.Tensor:
    return torch.rand(DRAWS, generator=generator) < 0.5


def agreement(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The largest distance from one half of the share of seeds on which two draws agree."""
    return (
        (one.T.float() @ other.float() + (~one).T.float() @ (~other).float())
        .div(SEEDS)
        .sub(0.5)
        .abs()
        .max()
    )


def test_no_decision_follows_from_a_draw_of_a_reply():
    replies = torch.stack([coins(torch.Generator().manual_seed(s)) for s in range(SEEDS)])
    decisions = torch.stack([coins(generator_for("decide", s)) for s in range(SEEDS)])
    orders = torch.stack([coins(generator_for("order", s)) for s in range(SEEDS)])
    far = torch.stack([coins(torch.Generator().manual_seed((1 << 40) + s)) for s in range(SEEDS)])
    # Five standard errors; all 400 pairs of draws are looked at.
    assert agreement(decisions, replies) < 0.06
    assert agreement(orders, replies) < 0.06
    assert agreement(orders, decisions) < 0.06
    assert agreement(far, replies) == 0.5  # what a large number added to the seed is worth


def test_the_same_seed_draws_the_same():
    assert torch.equal(coins(generator_for("decide", 7)), coins(generator_for("decide", 7)))
    assert not torch.equal(coins(generator_for("decide", 7)), coins(generator_for("decide", 8)))
