"""Which picks the next round takes, in which order, and which of them start it."""

import pytest

from storage.forgetting import Forgetting
from storage.records import BASE_VERSION, PolicyVersionId, PreferenceId, RoundStatus
from tests.storage.builders import World


def due(world: World) -> int:
    return world.feedback.due(world.policies.attempted_through())


def taken(world: World, limit: int = 32) -> list[PreferenceId]:
    found = world.feedback.next_picks(world.policies.attempted_through(), limit)
    return [pick.id for pick in found]


def picks(world: World, count: int) -> list[PreferenceId]:
    return [world.pick() for _ in range(count)]


def test_up_to_the_limit_a_round_takes_all_that_waits_by_id(world: World) -> None:
    learned, refused, fresh = picks(world, 2), picks(world, 2), picks(world, 2)
    world.learn(learned)
    world.learn(refused, status=RoundStatus.REFUSED)
    world.policies.activate(BASE_VERSION, reason="by hand")
    assert taken(world, 6) == taken(world) == [*learned, *refused, *fresh]
    assert world.feedback.unlearned() == world.feedback.next_picks(PreferenceId(0), 6)


def test_beyond_it_new_picks_come_first_then_freed_ones_then_resting_ones(world: World) -> None:
    refused, freed, fresh = picks(world, 3), picks(world, 3), picks(world, 3)
    world.learn(refused, status=RoundStatus.REFUSED)
    world.learn(freed)
    world.policies.taint(world.policies.current().id, reason="broken")
    assert due(world) == 6
    assert taken(world, 2) == fresh[:2]
    assert taken(world, 5) == [*freed[:2], *fresh]
    assert taken(world, 8) == [*refused[:2], *freed, *fresh]


def test_what_was_rolled_back_rests_until_learning_goes_on_without_it(world: World) -> None:
    """Else the version that a person, or lost duels, put back would be gone within a minute."""
    rolled_back = picks(world, 3)
    world.learn(rolled_back)
    world.policies.activate(BASE_VERSION, reason="by hand")
    assert due(world) == 0
    fresh = picks(world, 1)
    assert (due(world), taken(world, 2)) == (1, [rolled_back[0], *fresh])
    world.learn(taken(world, 2))
    assert (due(world), taken(world)) == (2, rolled_back[1:])


def test_what_only_a_forgotten_version_had_learned_is_due_at_once(world: World) -> None:
    pair = world.ask()
    world.learn([world.answer(pair).preference_id])
    later = picks(world, 2)
    world.learn(later)
    Forgetting(world.store, world.policies, world.log).forget([pair.id], reason="asked")
    assert (due(world), taken(world)) == (2, later)


def test_a_round_whose_parent_was_rolled_back_meanwhile_starts_no_other(world: World) -> None:
    first, second = picks(world, 2)
    world.learn([first])
    report = world.report([second])
    world.policies.activate(BASE_VERSION, reason="by hand")
    world.policies.record(report, "a" * 64, "a" * 64, "{}")
    assert (due(world), taken(world)) == (0, [first, second])


@pytest.mark.parametrize("status", [RoundStatus.REFUSED, RoundStatus.ACCEPTED])
def test_freed_picks_start_rounds_until_each_was_in_one_and_no_longer(
    world: World, status: RoundStatus
) -> None:
    world.learn(picks(world, 3), status=RoundStatus.REFUSED)  # older, and not to be retried first
    world.learn(picks(world, 5))
    world.policies.taint(PolicyVersionId(2), reason="broken")
    left = []
    while due(world):
        left.append(due(world))
        world.learn(taken(world, 2), status=status)
    assert left == [5, 3, 1]


def test_a_failed_round_changes_nothing(world: World) -> None:
    world.learn(picks(world, 2))
    world.policies.taint(PolicyVersionId(1), reason="broken")
    before = due(world), taken(world)
    world.learn(taken(world), status=RoundStatus.FAILED)
    assert (due(world), taken(world)) == before
