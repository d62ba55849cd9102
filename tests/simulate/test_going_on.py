"""A run that was cut off goes on, and ends as if nothing had happened."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from signal import SIGINT, SIGKILL

import pytest

from chat_app.service import ChatService
from chat_app.simulate.run import Simulation
from learner.asking import AskingReplyMaker
from learner.config import AskMode
from learner.model_folder import ModelFolder
from learner.model_source import resolve_model
from learner.online import OnlineLearner
from learner.protocols import ReplyPlan
from learner.viewer import Viewer
from storage.feedback import FeedbackReader
from tests.simulate.small import ALWAYS, simulated, write_files
from tests.tiny import write_tiny_model

TURNS = 6


class LightsOut(BaseException):
    """Nothing in the loop catches it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulations")
    write_files(folder)
    write_tiny_model(folder / "tiny")
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> ModelFolder:
    return resolve_model(str(folder / "tiny"), cache=folder / "cache")


@pytest.fixture(scope="module")
def whole(folder: Path, model: ModelFolder) -> list[dict]:
    """The checkpoints of a run that nothing disturbs."""
    return measured(simulated(folder, model, "whole", turns=TURNS))


def measured(summary: dict) -> list[dict]:
    """Checkpoints without the time they took."""
    return [{k: v for k, v in one.items() if k != "seconds"} for one in summary["checkpoints"]]


KILLED = """
import os, signal, sys
from pathlib import Path
from learner.model_source import resolve_model
from learner.asking import AskingReplyMaker
from tests.simulate.small import simulated

class Dark(AskingReplyMaker):
    calls = 0
    def _plan(self, *args):
        Dark.calls += 1
        if Dark.calls == 5:  # drafts are there, no reply is
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._plan(*args)

import learner.build
learner.build.AskingReplyMaker = Dark
folder = Path(sys.argv[1])
simulated(folder, resolve_model(str(folder / "tiny"), cache=folder / "cache"), "killed", turns=6)
"""


def cut(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, call: int, *, after: bool) -> None:
    """Have the ``call``-th call of a method end everything, before or after its work."""
    real: Callable = getattr(owner, name)
    calls = 0

    def method(*args: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == call and not after:
            raise LightsOut
        result = real(*args, **named)
        if calls == call:
            raise LightsOut
        return result

    monkeypatch.setattr(owner, name, method)


@pytest.mark.parametrize(
    ("owner", "name", "call", "after"),
    [
        (ChatService, "new_conversation", 6, False),
        (ChatService, "new_conversation", 6, True),
        (ChatService, "choose", 5, False),
        (ChatService, "choose", 5, True),
        (OnlineLearner, "step", 4, True),
        (Simulation, "_progress", 2, False),
    ],
)
def test_a_run_that_was_cut_off_goes_on_as_if_it_had_not(
    owner: type,
    name: str,
    call: int,
    after: bool,
    folder: Path,
    model: ModelFolder,
    whole: list[dict],
    monkeypatch: pytest.MonkeyPatch,
):
    out = f"{name}-{after}"
    with monkeypatch.context() as lamp:
        cut(lamp, owner, name, call, after=after)
        with pytest.raises(LightsOut):
            simulated(folder, model, out, turns=TURNS)
    assert measured(simulated(folder, model, out, turns=TURNS)) == whole


def test_a_run_that_asks_when_unsure_goes_on_with_the_same_threshold(
    folder: Path, model: ModelFolder, monkeypatch: pytest.MonkeyPatch
):
    unsure = replace(ALWAYS, mode=AskMode.AUTO, burn_in=2, min_disagreement=0.001)
    whole = measured(simulated(folder, model, "unsure", turns=14, ask=unsure))
    with monkeypatch.context() as lamp:
        cut(lamp, ChatService, "new_conversation", 10, after=True)
        with pytest.raises(LightsOut):
            simulated(folder, model, "unsure-cut", turns=14, ask=unsure)
    assert measured(simulated(folder, model, "unsure-cut", turns=14, ask=unsure)) == whole
    asked = [one["asked"] for one in whole]
    assert 2 < asked[-1] < 14, "or there was no threshold to remember"


def test_a_run_that_was_killed_in_a_reply_goes_on_as_if_it_had_not(
    folder: Path, model: ModelFolder, whole: list[dict]
):
    process = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", KILLED, str(folder)], check=False, capture_output=True, text=True
    )
    assert process.returncode == -SIGKILL, process.stderr
    assert measured(simulated(folder, model, "killed", turns=TURNS)) == whole


def test_a_reply_that_was_stopped_on_its_way_is_written_anew(
    folder: Path, model: ModelFolder, monkeypatch: pytest.MonkeyPatch
):
    plan, calls = AskingReplyMaker._plan, 0

    def pressed(self: AskingReplyMaker, *args: object) -> ReplyPlan:
        nonlocal calls
        calls += 1
        if calls == 4:
            os.kill(os.getpid(), SIGINT)  # Ctrl+C, while drafts are there
            viewer = args[-1]
            assert isinstance(viewer, Viewer) and viewer.cancel.wait(30)
        return plan(self, *args)

    with monkeypatch.context() as lamp:
        lamp.setattr(AskingReplyMaker, "_plan", pressed)
        with pytest.raises(KeyboardInterrupt):
            simulated(folder, model, "stopped", turns=TURNS)
    last = simulated(folder, model, "stopped", turns=TURNS)["checkpoints"][-1]
    assert last["turn"] == last["asked"] == TURNS


def test_a_run_that_goes_on_looks_at_all_its_turns(folder, model, monkeypatch):
    """The app looks at the newest ones alone: what the styles came to before would be forgotten."""
    asked: list[dict] = []
    pools = FeedbackReader.pools

    def spied(reader, **wishes):
        asked.append(wishes)
        return pools(reader, **wishes)

    monkeypatch.setattr(FeedbackReader, "pools", spied)
    simulated(folder, model, "all-its-turns", turns=1)
    resumed = asked[0]
    assert resumed["limit"] > 1_000_000
    assert resumed["with_held_out"] and resumed["with_cut"]
