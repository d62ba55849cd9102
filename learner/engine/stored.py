"""A model folder whose weights are stored in the type they run in, so that they can be mapped.

safetensors are mapped into memory as they lie on disk: two processes that load one file share one
copy of it, and pages never touched are never read. Weights of another type would be converted into
memory of each process's own. So they are converted once, into the cache folder; the other files
beside them are brought up to date at each start.
"""

import filecmp
import shutil
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from learner.model_folder import ModelFolder
from storage.files import sync, sync_all

SMALL_BYTES = 64 << 20
"""Models below this are left as they are: there is nothing to gain."""

_NAMES = {torch.bfloat16: "BF16", torch.float16: "F16", torch.float32: "F32"}


def stored_as(model: ModelFolder, dtype: torch.dtype, cache: Path) -> Path:
    """A folder with the weights of ``model`` in ``dtype``; its own where they are already.

    Its own, too, where the cache can't be written: then each process converts at each start.
    """
    files = sorted(model.path.glob("*.safetensors"))
    if sum(file.stat().st_size for file in files) < SMALL_BYTES:
        return model.path
    name = str(dtype).removeprefix("torch.")
    folder = cache / f"{model.path.name}-{model.sha256[:16]}-{name}"
    try:
        if all(_types(file) <= {_NAMES[dtype]} for file in files):
            return model.path
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            if not folder.is_dir():
                _convert(files, dtype, folder)
            _bring_up_to_date(_others(model.path, files), folder)
    except (OSError, SafetensorError):
        return model.path
    return folder


def _convert(files: list[Path], dtype: torch.dtype, folder: Path) -> None:
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # what an earlier crash left
    unfinished.mkdir()
    try:
        for file in files:
            weights = {
                name: tensor.to(dtype) if tensor.is_floating_point() else tensor
                for name, tensor in load_file(file).items()
            }
            save_file(weights, unfinished / file.name, metadata={"format": "pt"})
        sync_all(unfinished)  # a rename may reach the disk before the contents do
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)  # on a full disk, half a model


def _bring_up_to_date(others: list[Path], folder: Path) -> None:
    """Configuration, tokenizer and template as the model has them now: people mend them."""
    for path in others:
        copy = folder / path.name
        if not copy.is_file() or not filecmp.cmp(path, copy, shallow=False):
            partial = copy.with_name(f"{copy.name}.part")
            shutil.copyfile(path, partial)
            sync(partial)
            partial.replace(copy)
    for copy in _others(folder, list(folder.glob("*.safetensors"))):
        if copy.name not in {path.name for path in others}:
            copy.unlink()


def _others(folder: Path, weights: list[Path]) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file() and path not in weights]


def _types(file: Path) -> set[str]:
    with safe_open(file, framework="pt") as tensors:
        return {tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118
