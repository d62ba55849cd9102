"""A store per test: a copy of one that was migrated once, which is the same and much quicker."""

import multiprocessing
import shutil
from collections.abc import Iterator
from multiprocessing.context import BaseContext
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
def durable_world(root: Path) -> Iterator[World]:
    """A store exactly as the app opens it."""
    world = World.open(root)
    with world.store:
        yield world


@pytest.fixture
def world(durable_world: World) -> World:
    """The same without waiting for the disk, which is most of the time of such a test."""
    durable_world.store._writer.execute("PRAGMA synchronous = OFF")
    return durable_world


@pytest.fixture(scope="session")
def processes() -> BaseContext:
    """Child processes that start in milliseconds.

    They come from a server that has imported the code and never opened a database, so they are as
    separate as spawned ones; a fork of this process would inherit its connections.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.storage.children"])
    return context
