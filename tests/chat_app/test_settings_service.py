"""Settings are saved before they count, count at once or say when, and have a command line."""

import errno
import json
import os
import time
from pathlib import Path

import pytest

from chat_app.errors import ChatError
from chat_app.saved_settings import SavedSettings, read_saved, with_saved
from chat_app.settings import Learning, Settings
from chat_app.settings_service import SettingsService
from learner.config import AskMode
from storage.base_models import settle
from storage.database import Store
from storage.pick_list import PickFilter, PickReader
from tests.storage.builders import World, completion


@pytest.fixture
def applied() -> list:
    return []


@pytest.fixture
def settings(world: World, applied: list) -> SettingsService:
    return SettingsService(
        folder=world.folder,
        store=world.store,
        settings=Settings(data=world.folder.root),
        configure=lambda ask, sampling: applied.append((ask, sampling)),
        refit=lambda: applied.append("refit"),
    )


def test_a_change_is_saved_and_handed_to_the_model(settings, applied, world) -> None:
    assert settings.change({"ask": "always", "temperature": 0.2}) == ()
    [(ask, sampling)] = applied
    assert ask.mode is AskMode.ALWAYS and sampling.temperature == 0.2
    assert read_saved(world.folder.settings) == SavedSettings(ask="always", temperature=0.2)
    assert settings.command_line() == "twofold serve --ask always --temperature 0.2"
    settings.change({"ask": "auto"})  # the default is not written down
    assert read_saved(world.folder.settings) == SavedSettings(temperature=0.2)
    settings.reset()
    assert settings.command_line() == "twofold serve"
    assert applied[-1][1].temperature == 0.8


def test_what_waits_for_the_next_start_says_so_and_changes_nothing_now(settings, applied) -> None:
    assert settings.change({"learn": "off", "min_picks": 9}) == ("learn", "min_picks")
    assert settings.current.learning is Learning.ON and applied == []
    assert settings.command_line() == "twofold serve --learn off --min-picks 9"
    assert settings.change({"learn": "on"}) == ()


def test_another_model_is_refused_where_this_one_has_spoken(settings, world) -> None:
    settle(world.store, sha256="1" * 64, name="Small")
    assert settings.change({"model": "large"}) == ("model",), "nothing was said yet"
    settings.reset()
    world.log.reply(world.prompt().id, completion())
    with pytest.raises(ChatError, match=r"made with Small.*--model large --data FOLDER"):
        settings.change({"model": "large", "temperature": 0.2})
    assert settings.saved == SavedSettings()
    assert settings.change({"temperature": 0.2}) == ()


def test_the_defaults_leave_the_model_of_a_folder_in_use(settings, world) -> None:
    settings.change({"model": "large", "temperature": 0.2})
    settle(world.store, sha256="1" * 64, name="Large")
    world.log.reply(world.prompt().id, completion())
    settings.reset()
    assert settings.saved == SavedSettings(model="large")


def test_a_value_that_is_not_allowed_changes_nothing(settings, applied, world) -> None:
    for wrong in ({"temperature": 9.0}, {"candidates": 1}, {"ask": "often"}, {"budget": 2.0}):
        with pytest.raises(ChatError, match="cannot be set"):
            settings.change(wrong)
    assert applied == [] and not world.folder.settings.exists()


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("candidates", 3.5, "a whole number"),
        ("candidates", "4", "a whole number"),
        ("candidates", True, "a whole number"),
        ("top_k", 7.5, "a whole number"),
        ("max_new_tokens", 100.5, "a whole number"),
        ("min_picks", 2.5, "a whole number"),
        ("min_picks", 0, "a whole number from 1 to 32"),
        ("temperature", None, "a number"),
        ("temperature", "hot", "a number"),
        ("budget", [], "a number"),
        ("api", "no", "true or false"),
        ("ask", 3, "a text"),
        ("learn", "often", "one of on, reward-only, off"),
    ],
)
def test_a_value_of_another_kind_is_refused_by_name_on_the_page_and_in_the_file(
    settings, applied, world, name, value, wanted
) -> None:
    told = f"{'min_preferences' if value == 0 else name} must be {wanted}"
    with pytest.raises(ChatError, match=told):
        settings.change({name: value})
    assert applied == [] and not world.folder.settings.exists()
    if value is not None:  # which is the default, in the file
        world.folder.settings.write_text(json.dumps({name: value}))
        with pytest.raises(ChatError, match=f"{told}.*mend it, or remove it"):
            read_saved(world.folder.settings)


def test_a_settings_file_is_an_object_or_told(settings, world) -> None:
    for torn in ("[1]", "3", '"ask"'):
        world.folder.settings.write_text(torn)
        with pytest.raises(ChatError, match="no JSON object"):
            read_saved(world.folder.settings)


def test_the_next_start_takes_up_what_was_saved(settings, world) -> None:
    settings.change({"budget": 0.1, "learn": "reward-only", "model": "some/model", "top_k": 7})
    again = with_saved(Settings(data=world.folder.root), settings.saved.given)
    assert again.ask.budget_share == 0.1 and again.engine.sampling.top_k == 7
    assert again.learning is Learning.REWARD_ONLY and again.model == "some/model"


def test_a_settings_file_that_is_torn_is_told_and_left_alone(settings, world) -> None:
    world.folder.settings.write_text("{oh no")
    with pytest.raises(ChatError, match="mend it, or remove it"):
        settings.change({"top_k": 7})
    assert world.folder.settings.read_text() == "{oh no"


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_takes_nothing_is_told_and_the_file_stays(settings, world, monkeypatch) -> None:
    settings.change({"top_k": 9})
    before = world.folder.settings.read_text()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ChatError, match="so nothing was saved"):
        settings.change({"top_k": 7})
    assert (
        world.folder.settings.read_text() == before and settings.current.engine.sampling.top_k == 9
    )
    assert not world.folder.settings.with_suffix(".tmp").exists()


def test_a_lean_is_kept_within_bounds_and_reaches_the_judges(settings, applied, world) -> None:
    settings.set_lean("longer", -1.5)
    settings.set_lean("longer", -1.5)  # nothing new: the judges are not asked again
    assert settings.lean() == {"longer": -1.5} and applied == ["refit"]
    settings.set_lean("longer", 0)
    assert settings.lean() == {} and json.loads(world.folder.taste.read_text()) == {}
    for name, value in (("louder", 1.0), ("longer", 3.0)):
        with pytest.raises(ChatError):
            settings.set_lean(name, value)


def test_a_lean_that_cannot_be_written_is_told_and_the_judges_are_not_asked(
    settings, applied, monkeypatch
) -> None:
    settings.set_lean("longer", 1.0)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ChatError, match="nothing was saved"):
        settings.set_lean("longer", 2.0)
    assert settings.lean() == {"longer": 1.0} and applied == ["refit"]


def test_sizes_are_told_while_the_learner_moves_its_files(settings, world, monkeypatch) -> None:
    world.learn([world.pick()])
    before = settings.sizes()
    assert before.database > 0 and before.versions > 0
    real = os.walk
    monkeypatch.setattr(
        os, "walk", lambda *a: [(one, [], [*names, "moved"]) for one, _, names in real(*a)]
    )
    assert settings.sizes() == before


def test_a_backup_is_a_whole_database_that_opens_by_itself(settings, world, tmp_path) -> None:
    world.pick()
    made = settings.back_up()
    assert made.parent == world.folder.root / "backups"
    assert settings.backup_named(made.name) == made
    assert settings.backup_named("../twofold.db") is None
    world.pick()
    copy = tmp_path / "restored" / "twofold.db"
    copy.parent.mkdir()
    made.rename(copy)
    with Store(copy) as restored:
        assert PickReader(restored).count(PickFilter()) == 1
    assert settings.sizes().database > 0


def test_a_backup_is_made_while_somebody_writes(settings, world, tmp_path: Path) -> None:
    from threading import Event, Thread

    ended = Event()

    def write() -> None:
        while not ended.is_set():
            world.pick()
            time.sleep(0.001)

    writer = Thread(target=write)
    writer.start()
    try:
        made = settings.back_up()
    finally:
        ended.set()
        writer.join()
    with Store(made) as restored:
        rows = PickReader(restored).count(PickFilter())
    assert 0 <= rows <= PickReader(world.store).count(PickFilter())
