"""A file that is replaced is there whole, whatever ends the machine."""

import os
from pathlib import Path

import pytest

from storage.files import replace_text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "settings.json"
    path.write_text("before")
    return path


def test_a_text_is_on_the_disk_before_its_name_stands_for_it(file, monkeypatch) -> None:
    done = []
    sync, name = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda one: (done.append("synced"), sync(one)))
    monkeypatch.setattr(Path, "replace", lambda *a: (done.append("named"), name(*a)))
    replace_text(file, "über")
    assert done == ["synced", "named"] and file.read_text(encoding="utf-8") == "über"


def test_what_a_crash_left_is_no_hindrance_and_is_not_followed(file, tmp_path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("theirs")
    file.with_suffix(".tmp").symlink_to(elsewhere)
    replace_text(file, "after")
    assert file.read_text() == "after" and elsewhere.read_text() == "theirs"


def test_where_the_disk_refuses_the_file_stays_and_nothing_lies_beside_it(
    file, monkeypatch
) -> None:
    def refused(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", refused)
    with pytest.raises(OSError, match="No space left"):
        replace_text(file, "after")
    assert file.read_text() == "before" and list(file.parent.iterdir()) == [file]
