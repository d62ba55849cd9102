"""A person pauses the learner, wishes for a lesson, and both outlive a restart."""

import errno
import json
import multiprocessing
import os
import signal
import time
from functools import partial
from pathlib import Path
from threading import Thread

import pytest

from chat_app.progress import read_progress
from learner.control import LearnerControl
from learner.errors import LearnerError
from learner.progress import LearnerState
from learner.worker import LearnerProcess, Pace, run
from storage.errors import DiskFullError
from storage.records import PolicyVersionId, PreferenceId, RoundReport, RoundStatus
from tests.learner.test_online import until

PACE = Pace(poll_s=0.01, max_failures=2, back_off_s=0.01)


class Counting:
    """Notes how many picks were enough; a wish is met at the second try."""

    def __init__(self) -> None:
        self.asked: list[int | None] = []

    def step(self, at_least=None):
        self.asked.append(at_least)
        return REPORT if self.asked.count(1) == 2 and at_least == 1 else None


class Willing:
    def step(self, at_least=None):
        return REPORT if at_least == 1 else None


REPORT = RoundReport(
    number=1,
    parent=PolicyVersionId(0),
    status=RoundStatus.REFUSED,
    preference_ids=(PreferenceId(1),),
    attempted_through=PreferenceId(1),
    update_rule="none",
    seed=0,
    reason="because",
    metrics={},
    seconds=0.0,
)


@pytest.fixture
def learner(tmp_path: Path):
    """What the child does, on a thread of this process; it ends with the test."""
    counting, control = Counting(), LearnerControl(tmp_path)
    ours, theirs = multiprocessing.Pipe()
    arguments = (lambda: counting, tmp_path / "learner.json", theirs, PACE, control)

    def begin():
        thread.start()
        return counting

    thread = Thread(target=run, args=arguments)
    yield begin, control
    ours.close()
    thread.join(10)
    assert not thread.is_alive()


def said(folder: Path) -> dict:
    return json.loads((folder / "learner.json").read_text())


def test_while_it_is_paused_no_round_starts_and_the_reason_is_told(learner, tmp_path):
    begin, control = learner
    control.pause("Replies score higher but win less.")
    assert LearnerControl(tmp_path).paused == "Replies score higher but win less."
    counting = begin()
    until(lambda: (tmp_path / "learner.json").exists() and said(tmp_path)["state"] == "held")
    assert said(tmp_path)["detail"] == "Replies score higher but win less."
    assert counting.asked == []
    control.resume()
    control.resume()
    until(lambda: counting.asked)
    assert said(tmp_path)["state"] == LearnerState.IDLE and control.paused is None


def test_a_wish_waits_until_a_round_came_of_it(learner, tmp_path):
    begin, control = learner
    control.ask_for_a_lesson()
    counting = begin()
    until(lambda: not control.wanted)
    until(lambda: len(counting.asked) > 4)
    assert counting.asked[:4] == [1, 1, None, None]
    assert said(tmp_path)["round"] == 1


def test_a_wish_that_comes_during_a_lesson_is_for_the_next_one(tmp_path):
    control = LearnerControl(tmp_path)
    control.ask_for_a_lesson()
    at_its_start = control.wish
    time.sleep(0.02)
    control.ask_for_a_lesson()  # with a pick that the lesson has not read
    control.grant(at_its_start)
    assert control.wanted
    control.grant(None)  # a lesson that began without a wish
    assert control.wanted
    control.grant(control.wish)
    assert not control.wanted


class Refused:
    """A learner whose disk is full; it counts its lessons in a file."""

    def __init__(self, tries):
        self._tries = tries

    def step(self, at_least=None):
        with self._tries.open("a") as file:
            file.write("x")
        raise DiskFullError("The disk is full: free some space and try again.")


@pytest.mark.timeout(120)
def test_a_full_disk_ends_no_learning_and_costs_no_lesson_after_lesson(tmp_path):
    tries = tmp_path / "tries"
    learner = LearnerProcess(
        partial(Refused, tries), tmp_path / "learner.json", poll_s=0.02, back_off_s=0.02
    )
    learner.start()
    try:
        until(tries.exists)
        time.sleep(0.5)  # with the pauses of other failures it would have given up by now
        assert tries.read_text() == "x" and learner.alive
        told = said(tmp_path)
        assert told["state"] == LearnerState.FAILED and "free some space" in told["detail"]
        LearnerControl(tmp_path).ask_for_a_lesson()  # whoever has made room need not wait
        until(lambda: tries.read_text() == "xx")
    finally:
        learner.stop()


@pytest.mark.timeout(120)
def test_neither_a_disk_that_takes_no_progress_nor_ctrl_c_ends_learning(tmp_path):
    control = LearnerControl(tmp_path)
    told = tmp_path / "there is no such folder" / "learner.json"
    learner = LearnerProcess(Willing, told, control=control, poll_s=0.02)
    learner.start()
    first = learner.pid
    try:
        control.ask_for_a_lesson()
        until(lambda: not control.wanted)
        os.kill(first, signal.SIGINT)  # Ctrl+C goes to all processes, and is the app's to hear
        control.ask_for_a_lesson()
        until(lambda: not control.wanted)
        assert learner.alive and learner.pid == first
    finally:
        learner.stop()


@pytest.mark.timeout(120)
def test_a_machine_that_cannot_start_it_again_at_once_is_asked_once_more(tmp_path, monkeypatch):
    learner = LearnerProcess(Counting, tmp_path / "learner.json", poll_s=0.02, back_off_s=0.02)
    learner.start()
    real, refused = learner._spawn, []

    def spawn():
        if not refused:
            refused.append(None)
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        real()

    monkeypatch.setattr(learner, "_spawn", spawn)
    killed = learner.pid
    try:
        os.kill(killed, signal.SIGKILL)
        until(lambda: learner.alive and learner.pid != killed)
        assert refused
    finally:
        learner.stop()


@pytest.mark.parametrize("torn", ["", "{}", "null", '{"state": "dreaming", "round": 1}'])
def test_progress_that_cannot_be_read_is_none(tmp_path, torn):
    (tmp_path / "learner.json").write_text(torn)
    assert read_progress(tmp_path / "learner.json").state is LearnerState.IDLE
    assert read_progress(tmp_path).state is LearnerState.IDLE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is full")
def test_what_a_full_disk_does_not_take_is_told(tmp_path):
    control = LearnerControl(tmp_path)
    (tmp_path / "learner.tmp").symlink_to("/dev/full")
    with pytest.raises(LearnerError, match=r"No space left .* learning goes on as before"):
        control.pause()
    assert control.paused is None and list(tmp_path.iterdir()) == []
    for act in (LearnerControl(tmp_path / "gone").ask_for_a_lesson, nowhere(tmp_path).resume):
        with pytest.raises(LearnerError, match="cannot be written"):
            act()


def nowhere(folder: Path) -> LearnerControl:
    (folder / "learner.paused").mkdir()
    return LearnerControl(folder)


class GivingUp:
    def step(self, at_least=None):
        raise FloatingPointError("planted")


@pytest.mark.timeout(120)
def test_a_learner_that_gave_up_is_started_again_by_hand(tmp_path):
    progress = tmp_path / "learner.json"
    learner = LearnerProcess(GivingUp, progress, poll_s=0.02, max_failures=1, back_off_s=0.02)
    learner.start()
    try:
        until(lambda: not learner.alive and "paused" in progress.read_text())
        first = learner.pid
        until(lambda: learner.revive() or learner.pid != first)
        until(lambda: not learner.alive)
    finally:
        learner.stop()
