"""``twofold chat`` as a person starts it: a process of its own in a terminal."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.folder import DataFolder
from tests.test_serve import alive, children, until
from tests.tiny import write_tiny_model

ROOT = Path(__file__).parents[1]
PATIENCE_S = 60


class Terminal:
    """A person's end of a terminal in which a command runs."""

    def __init__(self, *args: str, **environment: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "app", "chat", *args],
            cwd=ROOT,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env=os.environ | environment,
        )
        os.close(theirs)
        self.seen = ""
        self._read = 0

    def type(self, line: str) -> None:
        os.write(self._ours, line.encode() + b"\n")

    def interrupt(self) -> None:
        """Ctrl+C, which goes to every process of the terminal."""
        os.killpg(self.process.pid, signal.SIGINT)

    def await_(self, words: str) -> None:
        """Wait until these words are shown, after those that were waited for before."""
        deadline = time.monotonic() + PATIENCE_S
        while words not in self.seen[self._read :]:
            assert time.monotonic() < deadline, f"no {words!r} in {self.seen!r}"
            if select.select([self._ours], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self._ours, 65536).decode(errors="replace")
                except OSError:  # the other end is gone
                    assert words in self.seen[self._read :], self.seen
        self._read = self.seen.index(words, self._read) + len(words)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    home = {"TMPDIR": str(tmp_path), "TWOFOLD_HOME": str(tmp_path / "home")}
    opened = Terminal("--demo", "--language", "en", TERM="xterm", **home)
    yield opened
    opened.close()


def test_a_person_chats_picks_stops_and_ends_in_a_terminal(terminal: Terminal, tmp_path: Path):
    terminal.await_("> ")
    terminal.type("Why is the sky blue?")
    terminal.await_("--- Reply 1 ---")
    terminal.await_("--- Reply 2 ---")
    terminal.await_("[1/2/t/b/s] > ")
    terminal.type("1")
    terminal.await_("Saved: Reply 1 is better.")
    terminal.await_("> ")
    terminal.type("u")
    terminal.await_("Taken back.")
    terminal.await_("[1/2/t/b/s] > ")
    terminal.type("2")
    terminal.await_("Saved: Reply 2 is better.")
    terminal.type("Count to 500")
    terminal.await_("10")
    terminal.interrupt()
    terminal.await_("This reply was stopped before its end.")
    terminal.await_("> ")
    terminal.type("/quit")
    assert terminal.process.wait(timeout=30) == 0
    assert not list(tmp_path.glob("twofold-demo-*")), "the demo's folder is gone"
    assert not (tmp_path / "home").exists(), "a person's own folder was never touched"


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="children are found in /proc")
def test_ctrl_c_is_for_the_chat_and_not_for_its_learner(tmp_path: Path):
    model = write_tiny_model(tmp_path / "tiny")
    data = tmp_path / "data"
    terminal = Terminal(
        *("--data", str(data), "--model", str(model.path), "--dtype", "float32"),
        *("--language", "en", "--ask", "never"),
    )
    try:
        terminal.await_("> ")
        until((data / "learner.json").exists, "the learner never said it is there")
        helpers = children(terminal.process.pid)
        assert helpers
        for helper in helpers:
            os.kill(helper, signal.SIGINT)
        terminal.type("hello")
        terminal.await_("> ")
        assert all(map(alive, helpers))
        terminal.type("/quit")
        assert terminal.process.wait(timeout=30) == 0
        until(lambda: not any(map(alive, helpers)), "a helper outlived the chat")
        assert "learner:" not in terminal.seen and "Traceback" not in terminal.seen
    finally:
        terminal.close()
    with DataFolder(data).claim():
        pass  # nobody holds it any more
