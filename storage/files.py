"""Getting files onto the disk for good: what a rename stands for must be written before it."""

import os
from contextlib import suppress
from pathlib import Path


def sync_all(folder: Path) -> None:
    """Flush every file and folder below, and the folder itself."""
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def replace_text(path: Path, text: str, *, mode: int = 0o666) -> None:
    """Put ``text`` in the place of a file: a crash leaves the old one or the new one, whole.

    ``mode`` holds from its first byte on. Raises OSError, with the file as it was.
    """
    temporary = path.with_suffix(".tmp")
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)  # or after a crash the name could stand for an empty file
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
