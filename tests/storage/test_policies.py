"""Which version serves: activation, roll-back, rejection, and what each frees or binds."""

from pathlib import Path

import pytest

from storage.database import Reader
from storage.errors import AdapterError, InvariantError, NotServableError, UnknownVersionError
from storage.feedback import FeedbackReader
from storage.policies import PolicyReader
from storage.records import BASE_VERSION, Choice, PolicyVersionId, RoundStatus
from storage.sqlite import fetch
from tests.storage.builders import World
from tests.storage.faults import WEIGHTS, flip

SHA = "a" * 64


def version(number: int) -> PolicyVersionId:
    return PolicyVersionId(number)


def states(world: World) -> list[tuple[int, str]]:
    found = fetch(world.store.read(), "SELECT version, state FROM version_states ORDER BY id")
    return [tuple(row) for row in found]


def epoch(world: World) -> int:
    return fetch(world.store.read(), "SELECT epoch FROM active_pointer")[0][0]


def test_the_base_serves_from_the_start(world: World) -> None:
    base = world.policies.current()
    assert (base.id, base.parent, base.adapter_path, base.metrics) == (BASE_VERSION, None, None, {})
    assert world.policies.versions() == [base] == [world.policies.get(BASE_VERSION)]
    assert world.policies.lineage() == (BASE_VERSION,)
    assert world.policies.servable() == [BASE_VERSION]
    assert world.policies.rounds_log() == []
    assert (world.policies.next_round(), world.policies.attempted_through()) == (1, 0)


def test_an_accepted_round_becomes_the_version_of_its_number_and_serves(world: World) -> None:
    picks = [world.pick(), world.pick()]
    report = world.learn(picks)
    live = world.policies.current()
    assert (live.id, live.parent, live.metrics) == (1, 0, {"loss": 0.5})
    assert live.adapter_path == world.folder.rounds / "r000001" / "adapter"
    assert live.adapter_path.is_dir()
    assert world.policies.lineage() == (1, 0)
    assert world.policies.rounds_log() == [report]
    assert world.feedback.unlearned() == []
    assert world.policies.attempted_through() == picks[-1]
    assert epoch(world) == 1
    assert states(world)[3:] == [
        (1, "written"),
        (1, "verified"),
        (1, "ready"),
        (0, "retired"),
        (1, "active"),
    ]


def test_a_refused_round_serves_nothing_and_keeps_its_picks_waiting(world: World) -> None:
    pick = world.pick()
    world.learn([pick], status=RoundStatus.REFUSED)
    assert world.policies.current().id == BASE_VERSION
    assert [one.id for one in world.feedback.unlearned()] == [pick]
    assert world.policies.attempted_through() == pick
    assert world.policies.next_round() == 2


def test_a_failed_round_counts_as_no_attempt(world: World) -> None:
    world.learn([world.pick()], status=RoundStatus.FAILED)
    assert world.policies.attempted_through() == 0
    assert world.policies.next_round() == 2
    assert len(world.feedback.unlearned()) == 1


def test_rounds_whose_folders_are_not_collected_count_already(world: World) -> None:
    """The learner reads its own progress back from here, so it never does a round twice."""
    pick = world.pick()
    world.leave(world.report([pick]))
    assert world.policies.next_round() == 2
    assert world.policies.attempted_through() == pick
    world.leave(world.report([pick, world.pick()], number=2, status=RoundStatus.FAILED))
    assert world.policies.next_round() == 3
    assert world.policies.attempted_through() == pick
    assert list(world.policies.waiting()) == [1, 2]


def test_rolling_back_frees_the_picks_and_forward_binds_them(world: World) -> None:
    first, second = world.pick(), world.pick()
    world.learn([first])
    world.learn([second])
    world.policies.activate(version(1), reason="by hand")
    assert [one.id for one in world.feedback.unlearned()] == [second]
    world.policies.activate(BASE_VERSION, reason="by hand")
    assert [one.id for one in world.feedback.unlearned()] == [first, second]
    assert world.policies.lineage() == (0,)
    world.policies.activate(version(2), reason="by hand")
    assert world.feedback.unlearned() == []
    assert world.policies.lineage() == (2, 1, 0)
    assert epoch(world) == 5
    assert states(world)[-6:] == [
        (2, "rolled_back"),
        (1, "active"),
        (1, "rolled_back"),
        (0, "active"),
        (0, "retired"),
        (2, "active"),
    ]


def test_after_a_roll_back_a_version_takes_a_number_of_its_own(world: World) -> None:
    first, second = world.pick(), world.pick()
    world.learn([first])
    world.learn([second])
    world.policies.activate(BASE_VERSION, reason="by hand")
    world.learn([first, second])
    assert (world.policies.current().id, world.policies.current().parent) == (3, 0)
    assert world.policies.lineage() == (3, 0)
    assert world.feedback.unlearned() == []


def test_a_version_whose_parent_was_rolled_back_meanwhile_is_kept_and_does_not_serve(
    world: World,
) -> None:
    first, second = world.pick(), world.pick()
    world.learn([first])
    report = world.report([second])  # begun on version 1
    world.policies.activate(BASE_VERSION, reason="by hand")
    world.policies.record(report, SHA, SHA, "{}")
    assert world.policies.current().id == BASE_VERSION
    assert world.policies.servable() == [0, 1, 2]
    assert [one.id for one in world.feedback.unlearned()] == [first, second]


def test_activating_what_serves_changes_nothing(world: World) -> None:
    world.learn([world.pick()])
    before = epoch(world), states(world)
    world.policies.activate(version(1), reason="again")
    assert (epoch(world), states(world)) == before


def test_a_rejected_version_never_serves_again_and_its_nearest_sound_ancestor_takes_over(
    world: World,
) -> None:
    picks = [world.pick() for _ in range(3)]
    for pick in picks:
        world.learn([pick])
    world.policies.reject(version(2), reason="rude")
    assert world.policies.current().id == 3  # it holds its weights itself
    world.policies.reject(version(3), reason="ruder")
    assert world.policies.current().id == 1
    assert world.policies.servable() == [0, 1]
    assert [one.id for one in world.feedback.unlearned()] == picks[1:]
    for banned in (2, 3):
        with pytest.raises(NotServableError):
            world.policies.activate(version(banned), reason="please")
    world.policies.taint(version(1), reason="broken")
    assert world.policies.current().id == BASE_VERSION


def test_who_takes_over_after_a_ban_is_read_in_full(world: World) -> None:
    for _ in range(4):
        world.learn([world.pick()])
    flip(world.folder.rounds / "r000003" / WEIGHTS)
    (world.folder.rounds / "r000002").rename(world.folder.root / "away")
    world.policies.reject(version(4), reason="rude")
    assert world.policies.current().id == 1
    assert world.policies.servable() == [0, 1, 2], "what is broken is put away, what is away kept"


def test_going_back_passes_over_what_is_broken_and_what_is_away(world: World) -> None:
    for _ in range(4):
        world.learn([world.pick()])
    flip(world.folder.rounds / "r000003" / WEIGHTS)
    (world.folder.rounds / "r000002").rename(world.folder.root / "away")
    assert world.policies.go_back(version(4), reason="it lost") == 1
    assert world.policies.current().id == 1
    assert world.policies.servable() == [0, 1, 2, 4]
    assert world.policies.last_states()[version(4)] == ("rolled_back", "it lost")


def test_going_back_from_what_is_off_the_live_line_moves_nothing(world: World) -> None:
    for _ in range(3):
        world.learn([world.pick()])
    world.policies.activate(version(1), reason="by hand")
    before = epoch(world), states(world)
    assert world.policies.go_back(version(2), reason="it lost") is None
    assert world.policies.go_back(BASE_VERSION, reason="it lost") is None
    assert (epoch(world), states(world)) == before


def test_the_base_cannot_be_rejected(world: World) -> None:
    for ban in (world.policies.reject, world.policies.taint):
        with pytest.raises(ValueError, match="falls back"):
            ban(BASE_VERSION, reason="no")


def test_a_version_that_never_was_is_told_so(world: World) -> None:
    for call in (
        lambda: world.policies.get(version(9)),
        lambda: world.policies.activate(version(9), reason=""),
        lambda: world.policies.reject(version(9), reason=""),
        lambda: world.policies.verify(version(9)),
    ):
        with pytest.raises(UnknownVersionError):
            call()


def test_a_version_with_a_broken_folder_is_not_activated(world: World) -> None:
    world.learn([world.pick()])
    world.policies.activate(BASE_VERSION, reason="by hand")
    adapter = world.policies.get(version(1)).adapter_path / "adapter_model.safetensors"
    adapter.write_bytes(adapter.read_bytes()[:-1] + b"!")
    with pytest.raises(AdapterError, match="not what the round wrote"):
        world.policies.activate(version(1), reason="forward")
    assert world.policies.current().id == BASE_VERSION


def test_a_pick_is_learned_once_on_a_lineage_whatever_a_report_says(world: World) -> None:
    pick = world.pick()
    world.learn([pick])
    report = world.report([pick])
    with pytest.raises(InvariantError, match="only once"):
        world.policies.record(report, SHA, SHA, "{}")
    assert world.policies.current().id == 1
    assert len(world.policies.rounds_log()) == 1


def test_a_round_is_recorded_once_and_whole(world: World) -> None:
    report = world.report([world.pick()])
    world.policies.record(report, SHA, SHA, "{}")
    with pytest.raises(InvariantError):
        world.policies.record(report, SHA, SHA, "{}")
    assert world.policies.rounds_log() == [report]
    assert epoch(world) == 1


def test_a_changed_answer_is_learned_anew_and_an_undone_one_never(world: World) -> None:
    changed, undone = world.ask(), world.ask()
    picks = [world.answer(one).preference_id for one in (changed, undone)]
    world.learn(picks)
    newer = world.feedback.change(changed.token, Choice.SECOND, decision_ms=1)
    world.feedback.withdraw(undone.token)
    assert [one.id for one in world.feedback.unlearned()] == [newer.preference_id]
    world.policies.activate(BASE_VERSION, reason="by hand")
    assert [one.id for one in world.feedback.unlearned()] == [newer.preference_id]


def test_the_learner_reads_all_it_needs_without_writing(world: World) -> None:
    pick = world.pick()
    world.learn([pick])
    waiting = world.pick()
    with Reader(world.folder.database) as reader:
        policies = PolicyReader(reader, world.folder.rounds)
        feedback = FeedbackReader(reader)
        assert policies.current() == world.policies.current()
        assert policies.next_round() == 2
        assert [one.id for one in feedback.unlearned()] == [waiting]
        assert [one.id for one in feedback.preferences()] == [pick, waiting]


def test_before_the_first_round_there_need_be_no_folder(world: World) -> None:
    policies = PolicyReader(world.store, Path(world.folder.root / "nowhere"))
    assert (policies.next_round(), policies.attempted_through()) == (1, 0)
    assert policies.waiting() == {}
