"""What a round's folder holds: whole and synced under its name, or not there at all."""

import errno
import hashlib
import json
import os
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from storage import rounds
from storage.errors import AdapterError, DiskError, DiskFullError
from storage.records import RoundStatus
from tests.storage.builders import BASE_SHA256, World, leave, write_adapter
from tests.storage.faults import FAULTS, WEIGHTS


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_round_is_read_as_it_was_left(world: World) -> None:
    report = world.report([world.pick()])
    folder = world.leave(report)
    assert folder == world.folder.rounds / "r000001"
    assert names(folder) == [
        "MANIFEST.json",
        "adapter",
        "adapter/adapter_config.json",
        WEIGHTS,
        "report.json",
    ]
    found, manifest = rounds.read(folder)
    assert found == report
    assert manifest.base_sha256 == BASE_SHA256
    assert json.loads(manifest.config_json) == {"beta": 0.1}
    assert manifest.files[WEIGHTS].size == 2048
    rounds.verify(folder)
    assert names(world.folder.rounds)[0] == "r000001"  # nothing temporary beside it


def test_a_refused_round_brings_no_adapter_and_an_accepted_one_must(world: World) -> None:
    folder = world.leave(world.report(status=RoundStatus.REFUSED))
    assert names(folder) == ["MANIFEST.json", "report.json"]
    rounds.verify(folder)
    with pytest.raises(ValueError, match="brings no adapter"):
        leave(world.folder.rounds, world.report(), None)
    leave(world.folder.rounds, world.report(number=2), lambda adapter: None)
    with pytest.raises(AdapterError, match="holds no adapter"):
        rounds.verify(world.folder.rounds / "r000002")


def test_a_number_is_used_once_whatever_stands_there(world: World) -> None:
    folder = world.leave(world.report(number=1))
    before = folder.stat()
    with pytest.raises(AdapterError, match="used once"):
        world.leave(world.report(number=1))
    (world.folder.rounds / "r000002").mkdir()
    with pytest.raises(AdapterError, match="used once"):
        world.leave(world.report(number=2))
    assert folder.stat() == before
    assert names(world.folder.rounds / "r000002") == []


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), DiskFullError),
        (OSError(errno.EDQUOT, "Quota exceeded"), DiskFullError),
        (OSError(errno.EIO, "Input/output error"), DiskError),
        (RuntimeError("the weights are gone"), RuntimeError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_round_that_cannot_be_written_leaves_nothing(world: World, error, told) -> None:
    def half(adapter: Path) -> None:
        write_adapter(adapter)
        raise error

    with pytest.raises(told):
        leave(world.folder.rounds, world.report(), half)
    assert names(world.folder.rounds) == []
    world.leave(world.report())


def test_a_sync_that_fails_anywhere_leaves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The N-th fsync fails, for N = 1, 2, ... until a round needs no N-th one."""
    real = os.fsync
    synced = failing = 0

    def fsync(descriptor: int) -> None:
        nonlocal synced
        synced += 1
        if synced == failing:
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    while True:
        synced, failing = 0, failing + 1
        try:
            world.leave(world.report(number=1))
        except DiskError:
            # Only the last sync, of the parent after the rename, may leave the finished folder.
            left = names(world.folder.rounds)
            assert left == [] or rounds.verify(world.folder.rounds / "r000001") is None
            shutil.rmtree(world.folder.rounds / "r000001", ignore_errors=True)
        else:
            break
    assert failing > 8  # three files, two folders twice, the manifest, the parent


def test_everything_is_synced_before_the_manifest_and_the_manifest_before_the_name(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    opened: dict[int, str] = {}
    real_open, real_fsync, real_rename = os.open, os.fsync, Path.rename

    def open_(path: Path, flags: int) -> int:
        descriptor = real_open(path, flags)
        opened[descriptor] = Path(path).name
        return descriptor

    def fsync(descriptor: int) -> None:
        events.append(opened[descriptor])
        real_fsync(descriptor)

    def rename(path: Path, target: Path) -> Path:
        events.append("rename")
        return real_rename(path, target)

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)
    world.leave(world.report())
    manifest, renamed = events.index("MANIFEST.json"), events.index("rename")
    content = {"report.json", "adapter_config.json", "adapter_model.safetensors", "adapter"}
    assert content <= set(events[:manifest])
    assert manifest < renamed
    assert events[renamed + 1 :] == ["rounds"]


def test_a_metric_that_is_not_finite_is_found_when_the_round_is_left(world: World) -> None:
    report = replace(world.report(), metrics={"loss": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        world.leave(report)
    assert names(world.folder.rounds) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_folder_does_not_verify(world: World, fault: str) -> None:
    folder = world.leave(world.report())
    FAULTS[fault](folder)
    with pytest.raises(AdapterError):
        rounds.verify(folder)


@pytest.mark.parametrize("seed", range(3))
def test_a_flip_of_any_byte_of_any_file_is_found(world: World, seed: int) -> None:
    folder = world.leave(world.report())
    dice = random.Random(seed)  # noqa: S311 - not for secrets
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        before = path.read_bytes()
        for position in dice.sample(range(len(before)), 8):
            content = bytearray(before)
            content[position] ^= 1 << dice.randrange(8)
            path.write_bytes(content)
            if path.name == "MANIFEST.json":
                # A flip in its layout changes no value; the checksum in the row finds that, too.
                with pytest.raises(AdapterError):
                    rounds.verify(folder, sha256=manifest_sha256(before))
            else:
                with pytest.raises(AdapterError):
                    rounds.verify(folder)
        path.write_bytes(before)
    rounds.verify(folder, sha256=manifest_sha256((folder / "MANIFEST.json").read_bytes()))


def manifest_sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
