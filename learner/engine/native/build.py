"""Compile ``decode.cpp`` once per machine, for exactly this processor.

A shipped binary would have to leave out the instructions that make the step fast, so the source is
shipped and compiled at first use (three seconds), into the cache folder, under a name made of all
that went into it. Without a compiler there is no native step and the transformers engine decodes.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from learner.model_source import default_cache
from storage.files import sync

log = logging.getLogger(__name__)

_SOURCE = Path(__file__).with_name("decode.cpp")
_FLAGS = ("-O3", "-std=c++20", "-shared", "-fPIC", "-pthread")
_TUNINGS = ("-march=native", "-mcpu=native")  # x86 and most compilers; some for ARM know the second
_WITHIN_S = 120


class NativeUnavailableError(Exception):
    """There is no native step on this machine; the text says why."""


def native_cache() -> Path:
    """Where what was made for this machine and model is kept."""
    return default_cache().parent / "native"


def load_library(cache: Path | None = None) -> ctypes.CDLL:
    """The compiled step, from the cache or compiled now. Raises NativeUnavailableError."""
    compiler = _compiler()
    library = (cache or native_cache()) / f"decode-{_fingerprint(compiler)}.so"
    if library.is_file():
        with suppress(OSError):  # what is damaged is made anew
            return ctypes.CDLL(str(library))
    try:
        _compile(compiler, library)
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise NativeUnavailableError(
            f"the compiled step can't be made or loaded in {library.parent}: {error}"
        ) from error


def _compiler() -> str:
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and (found := shutil.which(name)):
            return found
    raise NativeUnavailableError("there is no C++ compiler (c++, g++ or clang++)")


def _fingerprint(compiler: str) -> str:
    """Of the source, the compiler, its flags and the processor."""
    version = _run([compiler, "--version"]).stdout
    parts = (_SOURCE.read_text(encoding="utf-8"), version, *_FLAGS, _processor())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _processor() -> str:
    """What ``-march=native`` depends on: a data folder may move to another machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    kept = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    return "\n".join(sorted(kept))


def _compile(compiler: str, library: Path) -> None:
    library.parent.mkdir(parents=True, exist_ok=True)
    # Two processes may compile at once: each its own file, and the last rename wins.
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made = Path(folder) / library.name
        for tuning in _TUNINGS:
            done = _run([compiler, tuning, *_FLAGS, str(_SOURCE), "-o", str(made)])
            if done.returncode == 0:
                sync(made)  # or after a crash the name could stand for an empty file
                made.replace(library)
                log.info("compiled the decoding step with %s %s", compiler, tuning)
                return
        raise NativeUnavailableError(f"{compiler} refused the source: {done.stderr[-500:]}")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - the compiler found on the PATH, no input of anybody's
            command, capture_output=True, text=True, check=False, timeout=_WITHIN_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NativeUnavailableError(f"{command[0]} can't be run: {error}") from error
