"""Ways in which the folder of a finished round breaks.

Of a READABLE one the report can still be believed, so the round can be recorded as failed.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

WEIGHTS = "adapter/adapter_model.safetensors"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def link(path: Path) -> None:
    elsewhere = path.parent.parent.parent / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def rename_round(folder: Path) -> None:
    """The folder of another round, under this one's name."""
    shutil.copytree(folder, folder.parent / "copy")
    shutil.rmtree(folder)
    (folder.parent / "copy").rename(folder)
    report = json.loads((folder / "report.json").read_text()) | {"number": 7}
    content = json.dumps(report).encode()
    (folder / "report.json").write_bytes(content)
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    manifest["files"]["report.json"] = {
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    (folder / "MANIFEST.json").write_text(json.dumps(manifest))


READABLE: dict[str, Callable[[Path], None]] = {
    "a flipped bit in the weights": lambda folder: flip(folder / WEIGHTS),
    "cut-off weights": lambda folder: (folder / WEIGHTS).write_bytes(b"\x00" * 10),
    "other weights of equal size": lambda folder: (folder / WEIGHTS).write_bytes(b"\x00" * 2048),
    "no weights": lambda folder: (folder / WEIGHTS).unlink(),
    "no adapter folder": lambda folder: shutil.rmtree(folder / "adapter"),
    "one file more": lambda folder: (folder / "adapter" / "evil.py").write_text("boom"),
    "a link for the weights": lambda folder: link(folder / WEIGHTS),
    "a link for the adapter": lambda folder: link(folder / "adapter"),
    "a pipe": lambda folder: os.mkfifo(folder / "pipe"),
    "a changed setting": lambda folder: flip(folder / "adapter" / "adapter_config.json"),
}
UNREADABLE: dict[str, Callable[[Path], None]] = {
    "no manifest": lambda folder: (folder / "MANIFEST.json").unlink(),
    "an empty manifest": lambda folder: (folder / "MANIFEST.json").write_bytes(b""),
    "half a manifest": lambda folder: (folder / "MANIFEST.json").write_text('{"format": 1, "fi'),
    "a manifest that is a list": lambda folder: (folder / "MANIFEST.json").write_text("[]"),
    "a manifest of another format": lambda folder: (folder / "MANIFEST.json").write_text(
        (folder / "MANIFEST.json").read_text().replace('"format": 1', '"format": 2')
    ),
    "a link for the manifest": lambda folder: link(folder / "MANIFEST.json"),
    "a flipped bit in the report": lambda folder: flip(folder / "report.json"),
    "an edited report": lambda folder: (folder / "report.json").write_text(
        (folder / "report.json").read_text().replace('"seed": 11', '"seed": 12')
    ),
    "no report": lambda folder: (folder / "report.json").unlink(),
    "another round's number": rename_round,
    "a link for the folder": link,
    "a file for the folder": lambda folder: (shutil.rmtree(folder), folder.write_text("?")),
}

FAULTS = READABLE | UNREADABLE
