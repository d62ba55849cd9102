"""SIGKILL at random moments, on the real thing: server, learner, model, SQLite, folders.

Nothing acknowledged may be lost or learned twice, and the next start must work. Minutes:
``make test-slow``. ``TWOFOLD_TEST_KILLS`` sets how often each is killed.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from storage.database import Store
from storage.feedback import FeedbackLog
from storage.folder import DataFolder
from storage.policy_registry import PolicyRegistry
from storage.records import PreferenceId, RoundStatus

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("TWOFOLD_TEST_KILLS", "20"))
START_WITHIN_S = 120.0

pytestmark = [pytest.mark.slow, pytest.mark.model, pytest.mark.timeout(3600)]


class Child:
    """The running server and what it acknowledged so far."""

    def __init__(self, data: Path) -> None:
        self.acknowledged: dict[str, str] = {}
        self.ready = threading.Event()
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "tests.e2e.kill_child", str(data)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ.copy(),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout:
            if not line.endswith("\n"):
                return  # cut by the kill: never fully acknowledged
            match line.split():
                case ["READY"]:
                    self.ready.set()
                case ["ACK", token, choice]:
                    self.acknowledged[token] = choice

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def learner_pid(self) -> int | None:
        """The spawned learner: the child process that runs multiprocessing's spawn_main."""
        # A process hangs under the thread that started it; the watcher's restarts do too.
        threads = Path(f"/proc/{self._process.pid}/task").glob("*/children")
        for child in " ".join(file.read_text() for file in threads).split():
            try:
                command = Path(f"/proc/{child}/cmdline").read_text()
            except FileNotFoundError:
                continue
            if "spawn_main" in command:
                return int(child)
        return None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()


@contextmanager
def running(data: Path) -> Iterator[Child]:
    child = Child(data)
    try:
        assert child.ready.wait(START_WITHIN_S), "the next start did not work"
        yield child
    finally:
        child.kill()


def check(data: Path, acknowledged: dict[str, str]) -> tuple[int, int]:
    """Every acknowledged pick is there once and as acknowledged; none was learned twice."""
    folder = DataFolder(data)
    store = Store(folder.database)
    try:
        feedback, policies = FeedbackLog(store), PolicyRegistry(store, folder.rounds)
        feedback.verify_chain()
        for token, choice in acknowledged.items():
            answer = feedback.answer_of(feedback.comparison(token).id)
            assert answer is not None, "an acknowledged pick is lost"
            assert answer.choice == choice
        lineage = set(policies.lineage())
        learned: list[PreferenceId] = []
        for round_ in policies.rounds_log():
            if round_.status is RoundStatus.ACCEPTED and round_.version in lineage:
                learned += round_.preference_ids
        assert len(learned) == len(set(learned)), "a pick was learned twice"
        return len(learned), policies.current().id
    finally:
        store.close()


def test_the_server_may_be_killed_at_any_moment(tmp_path):
    rng = random.Random(1)  # noqa: S311
    acknowledged: dict[str, str] = {}
    for _ in range(KILLS):
        with running(tmp_path) as child:
            time.sleep(rng.uniform(0.0, 24.0))  # a round takes about ten
        acknowledged |= child.acknowledged
        learned, version = check(tmp_path, acknowledged)
    print(f"{KILLS} server kills, {len(acknowledged)} picks, {learned} learned, v{version}")  # noqa: T201
    assert acknowledged


def test_the_learner_may_be_killed_at_any_moment(tmp_path):
    rng = random.Random(2)  # noqa: S311
    killed = 0
    with running(tmp_path) as child:
        deadline = time.monotonic() + 3000
        while killed < KILLS and time.monotonic() < deadline:
            time.sleep(rng.uniform(0.0, 20.0))
            pid = child.learner_pid()
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
                killed += 1
            assert child.alive, "killing the learner ended the chat"
        asked = len(child.acknowledged)
        until = time.monotonic() + 120
        while time.monotonic() < until and (
            len(child.acknowledged) == asked or check(tmp_path, {})[1] == 0
        ):
            time.sleep(2.0)
        assert len(child.acknowledged) > asked, "the chat stopped with the learner"
    learned, version = check(tmp_path, child.acknowledged)
    print(f"{killed} learner kills, {len(child.acknowledged)} picks, {learned} learned, v{version}")  # noqa: T201
    assert killed == KILLS
    assert version > 0, "nothing was learned between the kills"
