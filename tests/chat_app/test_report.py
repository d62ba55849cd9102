"""The numbers of the status line and of the Learning page, and the way back to a version."""

import json

import pytest

from chat_app.config import ServiceConfig
from chat_app.errors import ChatError
from chat_app.progress import LearnerStatus, read_progress
from learner.errors import AdapterLoadError
from learner.progress import LearnerState, write_progress
from storage.records import RoundStatus
from tests.chat_app.makers import PreparedReplyMaker, scripted


def test_status_counts_picks_and_says_how_many_are_missing(serve, world):
    service = serve(scripted())
    status = service.status()
    assert (status.live, status.picks, status.waiting, status.missing) == (0, 0, 0, 4)
    assert status.asked_share is None
    for _ in range(5):
        world.pick()
    status = service.status()
    assert (status.picks, status.waiting, status.missing) == (5, 5, 0)
    assert status.asked_share == 1.0


def test_after_a_refused_round_new_picks_are_missing_though_old_ones_wait(serve, world):
    service = serve(scripted())
    world.learn([world.pick() for _ in range(4)], status=RoundStatus.REFUSED)
    world.pick()
    status = service.status()
    assert (status.waiting, status.missing) == (5, 3)


def test_what_only_a_banned_version_had_learned_starts_a_lesson_as_new_picks_do(serve, world):
    service = serve(scripted())
    world.learn([world.pick() for _ in range(3)])
    assert service.status().missing == 4
    world.policies.taint(1, reason="broken")
    status = service.status()
    assert (status.waiting, status.missing) == (3, 1)


def test_a_finished_round_is_live_once_collected(serve, world):
    picks = [world.pick() for _ in range(4)]
    service = serve(scripted())
    world.leave(world.report(picks))
    assert [report.number for report in service.collect_now()] == [1]
    status = service.status()
    assert (status.live, status.waiting) == (1, 0)


@pytest.mark.parametrize("keep", [False, True])
def test_old_versions_make_room_for_new_ones_unless_all_are_to_be_kept(serve, world, keep):
    service = serve(
        scripted(), ServiceConfig(model_name="a script", collect_every_s=0, keep_versions=keep)
    )
    for _ in range(9):
        world.leave(world.report([world.pick()]))
        service.collect_now()
    assert world.policies.pruned() == ([] if keep else [1])
    assert (world.folder.rounds / "r000001").exists() == keep


def test_a_new_version_is_prepared_for_the_chat_that_is_open(serve, world):
    maker = PreparedReplyMaker()
    service = serve(maker)
    picks = [world.pick() for _ in range(4)]
    chat = service.new_conversation()
    service.say(chat.id, "Hello")
    service.drain()
    world.leave(world.report(picks))
    service.collect_now()
    service.drain()
    service.roll_back(0)
    service.drain()
    said = [turn.message.content for turn in service.view(chat.id).turns]
    assert maker.prepared == [(1, said), (0, said)]


def test_a_version_that_cannot_be_prepared_ends_nothing(serve, world):
    service = serve(PreparedReplyMaker(AdapterLoadError("no weights")))
    world.leave(world.report([world.pick() for _ in range(4)]))
    service.collect_now()
    service.drain()
    assert service.status().live == 1


def test_the_collector_finds_a_round_by_itself(serve, world):
    serve(scripted(), ServiceConfig(model_name="a script", collect_every_s=0.01))
    world.leave(world.report([world.pick()]))
    for _ in range(500):
        if world.policies.current().id == 1:
            return
        import time

        time.sleep(0.01)
    pytest.fail("the round was never collected")


def test_the_collector_outlives_a_folder_it_cannot_read(serve, world, monkeypatch, caplog):
    calls = []

    def broken(_):
        calls.append(1)
        raise OSError("gone")

    monkeypatch.setattr("chat_app.loop.collect", broken)
    service = serve(scripted(), ServiceConfig(model_name="a script", collect_every_s=0.01))
    while len(calls) < 3:
        service.drain()
    told = [one for one in caplog.records if "could not be collected" in one.getMessage()]
    assert len(told) == 1, "a log must not grow by a page a second"


def test_a_person_can_go_back_and_forth_between_versions(serve, world):
    service = serve(scripted())
    for _ in range(2):
        world.learn([world.pick()])
    service.roll_back(1)
    assert service.status().live == 1
    assert service.status().waiting == 1  # what only version 2 had learned waits again
    service.roll_back(2)
    assert service.status().live == 2


def test_going_back_to_the_live_version_or_to_none_is_a_sentence(serve, world):
    service = serve(scripted())
    with pytest.raises(ChatError, match="live already"):
        service.roll_back(0)
    with pytest.raises(ChatError, match="no policy version 7"):
        service.roll_back(7)


def test_going_back_to_a_broken_version_is_a_sentence_and_changes_nothing(serve, world):
    service = serve(scripted())
    world.learn([world.pick()])
    world.learn([world.pick()])
    weights = world.folder.rounds / "r000001" / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(b"something else")
    with pytest.raises(ChatError):
        service.roll_back(1)
    assert service.status().live == 2


def test_progress_is_what_the_learner_last_wrote(tmp_path):
    path = tmp_path / "learner.json"
    assert read_progress(path) == LearnerStatus(state=LearnerState.IDLE)
    write_progress(path, LearnerState.LEARNING, number=3, detail="on 4 picks")
    assert read_progress(path) == LearnerStatus(
        state=LearnerState.LEARNING, round=3, detail="on 4 picks"
    )
    assert json.loads(path.read_text())["state"] == "learning"
