"""How much of an update is kept, where drift grows as it was measured to."""

import pytest

from learner.trust_region import POWER, ROOM, SHORTEST, nearer, shorter_step


def test_a_step_from_the_base_is_shortened_to_the_room():
    share = shorter_step(0.0, 8.0)
    assert 8.0 * share**POWER == pytest.approx(ROOM)


def test_a_step_from_half_way_leaves_what_was_there():
    before, after = 0.2, 5.0
    share = shorter_step(before, after)
    root = before ** (1 / POWER) + share * (after ** (1 / POWER) - before ** (1 / POWER))
    assert root**POWER == pytest.approx(ROOM)


def test_from_a_parent_at_the_limit_something_of_the_step_stays():
    assert shorter_step(0.9, 8.0) == SHORTEST
    assert shorter_step(ROOM, 8.0) == SHORTEST


def test_where_the_parent_is_as_far_away_the_step_is_not_to_blame():
    assert shorter_step(1.2, 1.1) == 1.0


def test_nearer_aims_at_the_room():
    assert 3.0 * nearer(3.0) ** POWER == pytest.approx(ROOM)
