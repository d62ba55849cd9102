"""A store per test: a copy of one that was migrated once, which is the same and much quicker."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.database import Store
from tests.storage.builders import World


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "twofold.db"
    Store(path).close()
    return path


@pytest.fixture
def root(tmp_path: Path, migrated: Path) -> Path:
    """A data folder with an empty database, not opened."""
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.copy(migrated, folder / "twofold.db")
    return folder


@pytest.fixture
def world(root: Path) -> Iterator[World]:
    world = World.open(root)
    with world.store:
        yield world
