"""Getting files onto the disk for good: what a rename stands for must be written before it."""

import os
from pathlib import Path


def sync_all(folder: Path) -> None:
    """Flush every file and folder below, and the folder itself."""
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
