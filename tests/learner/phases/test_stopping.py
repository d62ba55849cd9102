"""When a run stops, and which weights it keeps; the order of data; the schedule of the rate."""

import pytest
import torch
from torch import nn

from learner.phases.optimiser import Optimiser, OptimiserConfig, Schedule
from learner.phases.order import batch
from learner.phases.protocol import Aim
from learner.phases.stopping import Stopping
from learner.phases.world import World

LOSS = Aim(metric="loss", slack=0.1)
REWARD = Aim(metric="reward", higher_is_better=True)


def seen(stopping, *rows):
    return [
        stopping.see(step, dict(zip(("loss", "reward"), row, strict=False)))
        for step, row in enumerate(rows)
    ]


def test_reward_chooses_among_weights_whose_loss_is_within_its_slack():
    stopping = Stopping((LOSS, REWARD), patience=2)
    # Better; loss a little up but reward better; reward best of all but the loss is too far off.
    assert seen(stopping, (2.0, 0.5), (1.0, 0.6), (1.05, 0.7), (1.2, 0.9)) == [
        True,
        True,
        True,
        False,
    ]
    assert stopping.kept_step == 2


def test_what_there_was_before_does_not_win_by_the_luck_of_a_few_prompts():
    """It is what the others are set against: its own score is one half whatever it says."""
    stopping = Stopping((LOSS, REWARD), patience=3)
    assert seen(stopping, (2.5, 0.5), (2.46, 0.49), (2.47, 0.48), (2.47, 0.51)) == [
        True,
        True,
        False,
        True,
    ]
    worse = Stopping((LOSS, REWARD), patience=3)
    seen(worse, (2.5, 0.5), (2.55, 0.49), (2.7, 0.9))
    assert worse.kept_step == 0


def test_a_run_goes_on_while_either_improves():
    stopping = Stopping((LOSS, REWARD), patience=2)
    seen(stopping, (1.0, 0.5), (1.5, 0.6), (1.6, 0.7))
    assert not stopping.exhausted  # the reward still rises
    seen(stopping, (1.7, 0.7), (1.8, 0.7))
    assert stopping.exhausted


def test_a_lower_loss_can_take_weights_out_of_the_running():
    stopping = Stopping((LOSS, REWARD), patience=2)
    assert seen(stopping, (2.0, 0.9), (1.0, 0.5)) == [True, True]


def test_without_a_reward_the_loss_decides():
    stopping = Stopping((LOSS, REWARD), patience=1)
    assert [stopping.see(i, {"loss": v}) for i, v in enumerate((2.0, 1.0, 1.05))] == [
        True,
        True,
        False,
    ]
    assert stopping.kept_step == 1 and stopping.exhausted


def test_its_state_goes_through_json():
    import json

    stopping = Stopping((LOSS, REWARD), patience=3)
    seen(stopping, (2.0, 0.5), (1.0, 0.6), (1.05, 0.4))
    other = Stopping((LOSS, REWARD), patience=3)
    other.restore(json.loads(json.dumps(stopping.state())))
    assert seen(other, (0.9, 0.7)) == seen(stopping, (0.9, 0.7))
    assert other.state() == stopping.state()


def test_every_item_comes_up_once_a_pass_in_a_new_order():
    places = [p for number in range(6) for p in batch(number, count=9, size=3, seed=4)]
    assert sorted(places[:9]) == sorted(places[9:]) == list(range(9))
    assert places[:9] != places[9:]
    assert [batch(0, count=9, size=3, seed=s) for s in (4, 5)] != [places[:3], places[:3]]
    assert sorted(batch(0, count=2, size=4, seed=0)) == [0, 0, 1, 1]  # fewer items than places


@pytest.mark.parametrize(
    ("schedule", "last"),
    [(Schedule.CONSTANT, 1.0), (Schedule.LINEAR, 0.1), (Schedule.COSINE, 0.12202)],
)
def test_the_rate_rises_and_falls_as_the_schedule_says(schedule, last):
    config = OptimiserConfig(learning_rate=1.0, schedule=schedule, warmup_share=0.16)
    rates = [config.rate(number, 12) for number in range(12)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[-1] == pytest.approx(last, abs=1e-4)
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_a_gradient_that_is_not_finite_is_left_out_and_the_fourth_ends_the_run():
    weight = nn.Parameter(torch.ones(2, 2))
    config = OptimiserConfig(warmup_share=0.0)
    optimiser = Optimiser([weight], config, steps=10, world=World())
    for number in range(3):
        weight.grad = torch.full((2, 2), float("nan"))
        assert optimiser.step(number) == {"skipped_steps": number + 1.0}
    assert torch.equal(weight, torch.ones(2, 2))
    weight.grad = torch.full((2, 2), float("inf"))
    with pytest.raises(FloatingPointError, match="norm is inf again"):
        optimiser.step(3)
