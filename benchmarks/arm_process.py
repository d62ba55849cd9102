"""The parent's end of one arm. Stopped between its rounds, it takes no time from others."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from typing import Any

from benchmarks.row import ROOT, Arm, Environment

THREADS = 2
"""As on the reference machine; every arm gets as many, on the same cores."""


class ArmProcess:
    """``absent`` tells why it cannot run, else None."""

    def __init__(self, arm: Arm) -> None:
        self.arm = arm
        self.absent: str | None = None
        self.rounds: list[dict[str, float]] = []
        self.facts: dict[str, Any] = {}
        python = interpreter(arm.environment)
        if python is None:
            self.absent = f"{arm.environment} is not there: make bench-peers"
            return
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed in close
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [python, "-m", "benchmarks.child", arm.make, json.dumps(dict(arm.options))],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
            start_new_session=True,  # its own children end with it
        )
        self._take(self._answer())
        self._pause()

    def round(self, number: int, *, counts: bool) -> None:
        """Run one round; warm-ups do not count."""
        if self.absent is not None:
            return
        os.kill(self._process.pid, signal.SIGCONT)
        self._process.stdin.write(f"{number}\n")
        answer = self._answer()
        if "metrics" in answer:
            self.facts |= {name: answer[name] for name in ("peak_rss_mb", "nice")}
            if counts:
                self.rounds.append(answer["metrics"])
        self._take(answer)
        self._pause()

    def close(self) -> None:
        if not hasattr(self, "_process"):
            return
        if self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGCONT)
            self._process.stdin.close()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        self._log.close()

    def _pause(self) -> None:
        if self.absent is None:
            os.kill(self._process.pid, signal.SIGSTOP)

    def _take(self, answer: dict[str, Any]) -> None:
        if "absent" in answer:
            self.absent = answer["absent"]
        self.facts |= {key: answer[key] for key in ("load_s", "versions") if key in answer}

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        self._process.wait()
        self._log.seek(0)
        said = self._log.read().strip().splitlines()
        print(*said[-12:], sep="\n", file=sys.stderr)
        return {"absent": f"failed: {said[-1] if said else 'without a word'}"}


def interpreter(which: Environment) -> str | None:
    if which is Environment.OURS:
        return sys.executable
    python = ROOT / which / "bin" / "python"
    return str(python) if python.exists() else None


def environment() -> dict[str, str]:
    threads = str(THREADS)
    return os.environ | {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "PYTHONPATH": str(ROOT),
    }
