"""One folder, one server."""

import json
import os
from pathlib import Path

import pytest

from storage.errors import DataFolderError
from storage.folder import DataFolder


def test_a_new_folder_is_private_and_names_everything_inside(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "new" / "home")
    assert folder.root.stat().st_mode & 0o777 == 0o700
    assert folder.rounds.is_dir()
    inside = (folder.database, folder.rounds, folder.progress)
    assert [path.relative_to(folder.root).as_posix() for path in inside] == [
        "twofold.db",
        "rounds",
        "learner.json",
    ]
    DataFolder(folder.root)  # a second time is fine


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataFolderError, match=r"cannot be written .* TWOFOLD_HOME"):
        DataFolder(tmp_path / "file" / "home")


def test_the_folder_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWOFOLD_HOME", str(tmp_path / "chosen"))
    assert DataFolder.default_root() == tmp_path / "chosen"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TWOFOLD_HOME", "~/chosen")
    assert DataFolder.default_root() == tmp_path / "chosen"
    monkeypatch.delenv("TWOFOLD_HOME")
    assert DataFolder.default_root().name == "twofold"


def test_a_second_server_is_told_who_has_the_folder(tmp_path: Path) -> None:
    first, second = DataFolder(tmp_path), DataFolder(tmp_path)
    with first.claim() as claim:
        with pytest.raises(DataFolderError, match=rf"process {os.getpid()}\) is using {tmp_path}"):
            second.claim().__enter__()
        claim.note_port(7860)
        with pytest.raises(DataFolderError, match=rf"process {os.getpid()}, port 7860\)"):
            second.claim().__enter__()
    with second.claim():
        assert json.loads((tmp_path / "server.json").read_text())["port"] is None
    assert not (tmp_path / "server.json").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is full")
def test_a_full_disk_at_the_start_is_a_sentence(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    (tmp_path / "server.json").symlink_to("/dev/full")
    with pytest.raises(DataFolderError, match=r"No space left .* free some space"):
        folder.claim().__enter__()
    with folder.claim() as claim:  # the note went with the failed start
        (tmp_path / "server.json").unlink()
        (tmp_path / "server.json").symlink_to("/dev/full")
        with pytest.raises(DataFolderError, match="free some space"):
            claim.note_port(7860)


def test_a_lock_that_cannot_be_opened_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "server.lock").mkdir()
    with pytest.raises(DataFolderError, match=r"cannot be written .* see to its permissions"):
        DataFolder(tmp_path).claim().__enter__()


def test_who_only_reads_makes_nothing(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "none", make=False)
    assert folder.database == tmp_path / "none" / "twofold.db"
    assert not folder.root.exists()


def test_what_a_killed_server_left_stops_nobody(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    (tmp_path / "server.lock").touch()
    (tmp_path / "server.json").write_text('{"pid": 1, "po')
    with folder.claim():
        (tmp_path / "server.json").write_text("half a no")
        with pytest.raises(DataFolderError, match="Another twofold is using"):
            DataFolder(tmp_path).claim().__enter__()
        (tmp_path / "server.json").write_text("null")
        with pytest.raises(DataFolderError, match="Another twofold is using"):
            DataFolder(tmp_path).claim().__enter__()
