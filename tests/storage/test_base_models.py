"""A data folder belongs to the base model that it was made with."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from storage import database, migrations, sqlite
from storage.base_models import check_owner, settle
from storage.database import Reader
from storage.errors import InvariantError, OtherModelError
from storage.sqlite import fetch
from tests.storage.builders import BASE_SHA256, World, completion

OURS, THEIRS = "1" * 64, "2" * 64


def models(world: World) -> list[tuple[str, str]]:
    return [
        (r["sha256"], r["name"]) for r in fetch(world.store.read(), "SELECT * FROM base_models")
    ]


def test_until_a_model_has_said_something_it_may_be_another(world: World) -> None:
    settle(world.store, sha256=OURS, name="Small")
    settle(world.store, sha256=OURS, name="Small")
    world.prompt()  # a person's message is no model's
    settle(world.store, sha256=THEIRS, name="Large")
    assert models(world) == [(OURS, "Small"), (THEIRS, "Large")]


def test_after_its_first_reply_another_model_is_told_to_take_another_folder(world: World) -> None:
    settle(world.store, sha256=OURS, name="Small")
    world.log.reply(world.prompt().id, completion())
    settle(world.store, sha256=OURS, name="Small, renamed")
    with pytest.raises(OtherModelError, match=r"made with Small: .* Name another folder"):
        settle(world.store, sha256=THEIRS, name="Large")
    assert models(world) == [(OURS, "Small")]
    row = f"INSERT INTO base_models (sha256, name, created_ms) VALUES ('{THEIRS}', 'x', 0)"  # noqa: S608
    with pytest.raises(InvariantError, match="made with another model"), world.store.write() as db:
        db.execute(row)


def test_who_only_reads_is_told_the_same_and_settles_nothing(world: World) -> None:
    with Reader(world.store.path) as reader:
        check_owner(reader, sha256=THEIRS, name="Large")
        settle(world.store, sha256=OURS, name="Small")
        check_owner(reader, sha256=THEIRS, name="Large")  # nothing was said yet
        world.log.reply(world.prompt().id, completion())
        check_owner(reader, sha256=OURS, name="Small")
        with pytest.raises(OtherModelError) as read:
            check_owner(reader, sha256=THEIRS, name="Large")
    with pytest.raises(OtherModelError) as settled:
        settle(world.store, sha256=THEIRS, name="Large")
    assert str(read.value) == str(settled.value)
    assert models(world) == [(OURS, "Small")]


@pytest.mark.parametrize("what", ["UPDATE base_models SET name = ''", "DELETE FROM base_models"])
def test_what_it_was_made_with_is_never_rewritten(world: World, what: str) -> None:
    settle(world.store, sha256=OURS, name="Small")
    with pytest.raises(InvariantError, match="append-only"), world.store.write() as db:
        db.execute(what)


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A folder of before there was such a table; ``reopened`` closes it."""
    apply = partial(migrations.migrations.apply, stop_before="m013")
    monkeypatch.setattr(database, "migrations", SimpleNamespace(apply=apply))
    monkeypatch.setattr(sqlite, "SCHEMA_VERSION", 12)
    return World.open(tmp_path / "older")


def reopened(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """By the twofold of today."""
    world.store.close()
    monkeypatch.undo()
    return World.open(world.folder.root)


def test_a_folder_of_before_belongs_to_the_model_of_its_versions(older, monkeypatch) -> None:
    older.learn([older.pick()])
    with (world := reopened(older, monkeypatch)).store:
        settle(world.store, sha256=BASE_SHA256, name="Small")
        with pytest.raises(OtherModelError, match="made with another model"):
            settle(world.store, sha256=THEIRS, name="Large")


def test_a_folder_of_before_without_versions_belongs_to_the_next_model(older, monkeypatch) -> None:
    older.log.reply(older.prompt().id, completion())
    with (world := reopened(older, monkeypatch)).store:
        settle(world.store, sha256=OURS, name="Small")
        with pytest.raises(OtherModelError):
            settle(world.store, sha256=THEIRS, name="Large")
