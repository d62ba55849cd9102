"""The sliders of Settings and of the taste: what they save, and what they tell of the rest."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import gradio as gr
import pytest

from chat_app.language import speak
from chat_app.settings import Settings
from chat_app.settings_service import SettingsService
from chat_app.ui_settings import SettingsPage
from chat_app.ui_taste import TastePanel


@pytest.fixture
def settings(world) -> SettingsService:
    return SettingsService(
        folder=world.folder,
        store=world.store,
        settings=Settings(data=world.folder.root),
        configure=lambda ask, sampling: None,
        refit=lambda: None,
    )


@pytest.fixture
def drawn(settings):
    """Both, on a page that nobody serves."""
    page = SettingsPage(settings, SimpleNamespace(read=lambda: "a key"), "a script")
    taste = TastePanel(SimpleNamespace(), settings)

    async def build():  # where no loop runs, Gradio leaves one behind
        with gr.Blocks() as blocks:
            with gr.Tab("Settings") as tab:
                page.body()
            taste.body()
            page.bind(blocks, tab)
            taste.bind()
        return blocks

    with ThreadPoolExecutor() as pool:  # where a browser is driven from this one, a loop runs here
        blocks = pool.submit(lambda: asyncio.run(build())).result()
    return SimpleNamespace(page=page, taste=taste, blocks=blocks)


def told(update, note) -> str:
    return update[note]["value"]


def test_no_slider_has_a_button_that_would_undo_what_was_set(drawn) -> None:
    """Gradio resets to what a slider was built with, which is not what is set."""
    sliders = [one for one in drawn.blocks.blocks.values() if isinstance(one, gr.Slider)]
    assert len(sliders) > 8
    assert [one.label for one in sliders if one.buttons != []] == []


def test_a_slider_saves_what_it_can_take(drawn, settings) -> None:
    assert "from the next reply on" in told(drawn.page.slide("candidates", 6), drawn.page.note)
    assert "at the next start" in told(drawn.page.slide("min_picks", 9), drawn.page.note)
    assert settings.saved.given == {"candidates": 6, "min_picks": 9}
    assert "saved" in told(drawn.taste.lean("longer", 1.5), drawn.taste.said)
    assert settings.lean() == {"longer": 1.5}
    assert "Saved" in told(drawn.taste.set_budget(20), drawn.taste.budget_said)
    assert settings.current.ask.budget_share == 0.2


def test_a_taste_that_was_touched_and_put_back_is_not_called_saved(drawn, settings) -> None:
    assert told(drawn.taste.lean("longer", 0), drawn.taste.said) == ""
    assert told(drawn.taste.set_budget(12), drawn.taste.budget_said) == ""
    assert settings.saved.given == {}
    drawn.taste.lean("longer", 1.5)
    assert told(drawn.taste.lean("longer", 1.5), drawn.taste.said) == ""
    assert settings.lean() == {"longer": 1.5}


@pytest.mark.parametrize("wrong", [None, 3.5, 9, 1])
def test_what_a_slider_cannot_take_is_told_and_it_goes_back(drawn, settings, wrong) -> None:
    settings.change({"candidates": 5})
    update = drawn.page.slide("candidates", wrong)
    assert told(update, drawn.page.note) == (
        "Drafts per message: enter a whole number from 2 to 8. It stays at 5."
    )
    assert update[drawn.page.candidates] == 5
    assert settings.saved.given == {"candidates": 5}


def test_an_emptied_box_of_a_number_is_told(drawn, settings) -> None:
    update = drawn.page.slide("temperature", None)
    assert told(update, drawn.page.note) == (
        "Temperature: enter a number from 0 to 2. It stays at 0.8."
    )
    update = drawn.taste.lean("longer", None)
    assert "It stays at 0." in told(update, drawn.taste.said)
    assert update[drawn.taste.sliders["longer"]] == 0 and settings.lean() == {}
    update = drawn.taste.set_budget(None)
    assert update[drawn.taste.budget] == 12 and "It stays at 12." in told(
        update, drawn.taste.budget_said
    )
    assert settings.saved.given == {}


def test_it_is_told_in_german(drawn) -> None:
    speak("de")
    try:
        assert "ganze Zahl von 2 bis 8" in told(
            drawn.page.slide("candidates", 3.5), drawn.page.note
        )
    finally:
        speak("en")


def test_gradio_hands_on_what_the_box_holds(drawn) -> None:
    """It would fail at None, and round or refuse the rest before it is ours to tell."""
    sliders = {part._id for part in (*drawn.page.sliders.values(), *drawn.taste.sliders.values())}
    sliders.add(drawn.taste.budget._id)
    heard = {
        target: listener
        for listener in drawn.blocks.fns.values()
        for target, event in listener.targets
        if event == "release"
    }
    assert heard.keys() == sliders
    assert not any(listener.preprocess for listener in heard.values())


def test_a_settings_file_that_is_torn_meanwhile_is_told_and_can_be_reset(drawn, world) -> None:
    world.folder.settings.write_text('{"candidates": "4"}')
    request = SimpleNamespace(headers={})
    for update in (drawn.page.open(request), drawn.page.slide("top_k", 7)):
        assert "mend it, or remove it" in told(update, drawn.page.note)
    assert "as in the beginning" in told(drawn.page.to_defaults(request), drawn.page.note)
