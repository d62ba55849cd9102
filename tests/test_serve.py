"""``twofold serve`` as a person starts it: a process of its own that answers, and ends cleanly."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from storage.folder import DataFolder
from tests.tiny import write_tiny_model

ROOT = Path(__file__).parents[1]
PATIENCE_S = 90


@contextmanager
def served(*args: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and the address it printed."""
    command = [sys.executable, "-m", "app", "serve", "--no-open", "--port", "0", *map(str, args)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        line = process.stdout.readline()
        assert line.startswith("twofold is at http://127.0.0.1:"), line
        yield process, line.split()[3]
    finally:
        process.kill()
        process.communicate()


def answers(address: str) -> bool:
    with urlopen(address, timeout=30) as response:  # noqa: S310
        return response.status == 200


def until(holds: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.1)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text().split()]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_demo_serves_and_leaves_nothing_behind(
    ending: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("TWOFOLD_HOME", str(tmp_path / "home"))
    with served("--demo") as (process, address):
        assert answers(address)
        process.send_signal(ending)
        assert process.wait(timeout=30) == 0
    assert not list(tmp_path.glob("twofold-demo-*")), "the demo's folder is gone"
    assert not (tmp_path / "home").exists(), "a person's own folder was never touched"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="children are found in /proc")
def test_a_real_chat_starts_a_learner_and_takes_it_along(tmp_path: Path):
    model = write_tiny_model(tmp_path / "tiny")
    data = tmp_path / "data"
    with served("--data", data, "--model", model.path, "--dtype", "float32") as (process, address):
        assert answers(address)
        until((data / "learner.json").exists, "the learner never said it is there")
        helpers = children(process.pid)
        assert helpers

        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        until(lambda: not any(map(alive, helpers)), "a helper outlived the chat")
    with DataFolder(data).claim():
        pass  # nobody holds it any more
    assert not (data / "server.json").exists()
