"""The process of one arm: builds it, then runs a round whenever the parent asks.

Only the standard library here: this also runs in the peers' environment. What libraries print
goes to stderr; the first standard output belongs to the answers, one JSON object a line.
"""

import contextlib
import ctypes
import importlib
import json
import os
import platform
import signal
import sys
import time
from importlib.metadata import distributions
from typing import Any

NAMED = [
    "torch",
    "transformers",
    "peft",
    "trl",
    "accelerate",
    "tokenizers",
    "numpy",
    "llama-cpp-python",
    "openvino",
    "openvino-genai",
    "sqlite-utils",
    "gradio",
    "gradio-client",
    "pysqlite3",
]


def main() -> None:
    end_with_parent()
    go_first()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")

    make, options = sys.argv[1], json.loads(sys.argv[2])
    module, name = make.split(":")
    began = time.perf_counter()
    try:
        arm = getattr(importlib.import_module(module), name)(**options)
    except ImportError as error:
        answer({"absent": f"not installed ({error})"})
        return
    except Exception as error:
        if type(error).__name__ != "AbsentError":
            raise
        answer({"absent": str(error)})
        return
    answer({"load_s": time.perf_counter() - began, "versions": versions()})
    for line in sys.stdin:
        metrics = arm.round(int(line))
        answer({"metrics": metrics, "peak_rss_mb": peak_rss_mb(), "nice": os.nice(0)})
    if hasattr(arm, "close"):
        arm.close()


def end_with_parent() -> None:
    """A benchmark that is cut short must not leave an arm behind (Linux; PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def go_first() -> None:
    """Ahead of whatever else runs on the machine, where that is allowed; all arms alike."""
    with contextlib.suppress(PermissionError):
        os.nice(-19)


def versions() -> dict[str, str]:
    found = {d.metadata["Name"].lower(): d.version for d in distributions()}
    return {"python": platform.python_version()} | {n: found[n] for n in NAMED if n in found}


def peak_rss_mb() -> float:
    """The most memory this process ever held, from the kernel's own high-water mark."""
    with open("/proc/self/status", encoding="utf-8") as status:  # noqa: PTH123 - a kernel file
        line = next(one for one in status if one.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
