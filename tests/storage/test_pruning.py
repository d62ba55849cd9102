"""Fewer and fewer of the older versions are kept, and what is not kept never speaks."""

import math
import shutil
import time
from dataclasses import replace
from itertools import pairwise

import pytest

from storage import pruning, rounds
from storage.errors import AdapterError, InvariantError
from storage.forgetting import Forgetting
from storage.pruning import NEWEST, delete_pruned, is_kept, prune
from storage.records import PolicyVersionId
from tests.storage.builders import World, leave, write_adapter


def kept_of(count: int) -> set[int]:
    return {rank for rank in range(1, count + 1) if is_kept(rank, count)}


def learn(world: World, times: int) -> None:
    for _ in range(times):
        world.learn([world.pick()])


def on_disk(world: World) -> set[int]:
    return {int(path.name[1:]) for path in world.folder.rounds.glob("r*")}


def test_what_is_dropped_once_is_dropped_by_every_later_count() -> None:
    for count in range(1, 400):
        assert kept_of(count + 1) <= kept_of(count) | {count + 1}


@pytest.mark.parametrize("count", [1, 6, 7, 30, 200, 1825])
def test_few_are_kept_and_there_is_always_one_not_much_older(count: int) -> None:
    kept = sorted(kept_of(count), reverse=True)
    assert kept[:NEWEST] == list(range(count, max(0, count - NEWEST), -1))
    assert len(kept) <= NEWEST * (1 + max(0.0, math.log2(count / NEWEST)) / 2) + 3
    for newer, older in pairwise(kept):
        assert newer - older <= 1 + (count - older) / (NEWEST / 2)


def test_files_go_and_rows_stay(world: World) -> None:
    learn(world, 20)
    dropped = prune(world.policies)
    kept = {version for version in range(1, 21) if version not in dropped}
    assert kept == kept_of(20) | {14}  # the live version and six before it
    assert on_disk(world) == kept
    assert len(world.policies.versions()) == 21
    assert {version.id for version in world.policies.versions(kept=True)} == kept | {0}
    assert set(world.policies.servable()) == kept | {0}
    assert world.policies.servable_among([dropped[0], 14]) == {14}
    assert world.policies.learned() == 20  # what it knows of them it knows still
    assert prune(world.policies) == []
    with pytest.raises(AdapterError, match="not kept any more"):
        world.policies.activate(dropped[0], reason="please")
    rounds.sweep(world.policies)
    assert world.policies.current().id == 20
    assert set(world.policies.servable()) == kept | {0}


def test_notes_phases_and_the_live_line_are_kept(world: World) -> None:
    learn(world, 1)
    trained = replace(world.report([world.pick()]), update_rule="sft")
    rounds.leave(
        world.folder.rounds,
        trained,
        base_sha256="b" * 64,
        config_json='{"run_key": "k"}',
        forgotten=0,
        write_adapter=write_adapter,
    )
    rounds.collect(world.policies)
    learn(world, 3)
    world.policies.note(PolicyVersionId(1), "the good old one")
    world.policies.note(PolicyVersionId(3), "hm")
    world.policies.note(PolicyVersionId(3), "")
    learn(world, 40)
    world.policies.activate(PolicyVersionId(5), reason="back")
    dropped = prune(world.policies)
    assert {1, 2, 5, 4, 3} <= on_disk(world)  # 3 as one of the live line, its note is taken back
    world.policies.activate(PolicyVersionId(45), reason="forth")
    assert {3, 5} <= set(prune(world.policies))
    assert {1, 2, 45} <= on_disk(world) and dropped


def test_what_a_kill_left_goes_with_the_next_start_and_is_not_called_broken(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn(world, 12)
    with monkeypatch.context() as killed:
        killed.setattr(pruning, "_delete", lambda *_: None)
        dropped = prune(world.policies)
    assert set(dropped) <= on_disk(world)
    shutil.rmtree(world.folder.rounds / f"r{dropped[0]:06d}")
    rounds.sweep(world.policies)
    assert not set(dropped) & on_disk(world)
    assert not any(state == "tainted" for state, _ in world.policies.last_states().values())
    delete_pruned(world.policies)  # and once more finds nothing to do


@pytest.mark.parametrize("version", [0, 2])
def test_the_base_and_the_live_version_cannot_be_dropped(world: World, version: int) -> None:
    learn(world, 2)
    with pytest.raises(InvariantError, match="are kept"), world.store.write() as db:
        db.execute("INSERT INTO pruned_versions VALUES (?, 0)", [version])


def test_going_back_passes_over_what_is_not_kept(world: World) -> None:
    learn(world, 12)
    dropped = prune(world.policies)
    gone = max(dropped)
    below = max(version for version in range(gone) if version not in dropped)
    assert world.policies.nearest_servable(gone).id == below
    assert world.policies.nearest_servable(PolicyVersionId(12)).id == 12


def test_a_forgotten_pick_bans_also_what_is_not_kept_so_its_picks_are_learned_anew(
    world: World,
) -> None:
    learn(world, 4)
    time.sleep(0.01)  # a round made in the answer's millisecond might have seen it
    pair = world.ask()
    world.learn([world.answer(pair).preference_id])
    learn(world, 15)
    dropped = prune(world.policies)
    later = [version for version in dropped if version > 5]
    assert later
    done = Forgetting(world.store, world.policies, world.log).forget([pair.id], reason="asked")
    assert done.live == 4
    assert not set(done.versions) & set(dropped)  # told is what could speak
    states = world.policies.last_states()
    assert all(states[version][0] == "tainted" for version in later)
    assert world.feedback.due(world.policies.attempted_through()) == 15


def test_the_nearest_ancestor_among_those_that_are_listed(world: World) -> None:
    learn(world, 4)
    world.policies.activate(PolicyVersionId(2), reason="back")
    leave(world.folder.rounds, world.report([world.pick()], number=5, parent=2), write_adapter)
    rounds.collect(world.policies)
    listed = [PolicyVersionId(one) for one in (0, 1, 4, 5)]
    assert world.policies.nearest_among(listed) == {1: 0, 4: 1, 5: 1}
