"""The Settings tab in a browser: what counts at once, what waits, theme, keys, a backup."""

import httpx
import pytest
from playwright.sync_api import expect

from learner.config import AskMode
from learner.engine.scripted import ScriptedAsking
from storage.database import Store
from tests.e2e.conftest import demo
from tests.e2e.page import until
from tests.e2e.test_page import assert_fits

pytestmark = [
    pytest.mark.pages,
    pytest.mark.browser,
    # Gradio still sets an option that pandas 3 has deprecated.
    pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"),
]


@pytest.fixture
def quick(serve):
    return serve(demo(ScriptedAsking.NEVER, words_per_s=0.0))


def unfold(person, name):
    person.page.get_by_role("button", name=name).click()


def test_asking_always_counts_from_the_next_reply_on(quick, person):
    person.visit(quick.address)
    person.converse("Why is the sky blue?")
    expect(person.part("pair")).to_be_hidden()
    person.open_tab("Settings")
    person.part("ask-mode").get_by_role("radio", name="Always").check()
    expect(person.part("settings-note")).to_contain_text("from the next reply on")
    unfold(person, "The same from the command line")
    expect(person.part("command-line")).to_contain_text("twofold serve --ask always")
    person.open_tab("Chat")
    person.say("Why is the sky blue?")
    person.await_question()
    assert quick.tabs.settings.current.ask.mode is AskMode.ALWAYS
    person.press("1")
    person.await_reply(2)
    person.open_tab("Settings")
    unfold(person, "Learner")
    person.part("learn-mode").get_by_role("radio", name="Do not learn").check()
    expect(person.part("settings-note")).to_contain_text("at the next start")
    person.part("settings-reset").click()
    expect(person.part("settings-note")).to_contain_text("as in the beginning")
    assert not quick.tabs.settings.saved.given


def test_a_slider_that_is_set_with_keys_is_saved(quick, person):
    person.visit(quick.address)
    person.open_tab("Settings")
    replies = person.part("settings-replies")
    expect(replies.get_by_role("spinbutton").first).to_have_value("0.8")
    expect(replies.get_by_role("button")).to_have_count(1)  # the fold's, and none that resets
    replies.get_by_role("slider").first.press("ArrowRight")
    expect(person.part("settings-note")).to_contain_text("Saved")
    until(lambda: quick.tabs.settings.current.engine.sampling.temperature == pytest.approx(0.85))


def test_an_emptied_number_is_told_and_comes_back(quick, person):
    person.visit(quick.address)
    person.open_tab("Settings")
    drafts = person.part("settings-asking").get_by_role("spinbutton").last
    expect(drafts).to_have_value("4")
    drafts.fill("3.5")
    drafts.blur()
    expect(person.part("settings-note")).to_contain_text("enter a whole number from 2 to 8")
    expect(drafts).to_have_value("4")
    assert not quick.tabs.settings.saved.given


def test_theme_and_keys_are_kept_in_the_browser(quick, new_person):
    person = new_person(color_scheme="light")
    person.visit(quick.address)
    person.open_tab("Settings")
    unfold(person, "This browser")
    dark = "document.body.classList.contains('dark')"
    assert not person.page.evaluate(dark)
    person.part("theme").get_by_role("radio", name="Dark").check()
    person.page.wait_for_function(dark)
    person.part("keys-on").get_by_role("checkbox").uncheck()
    quick.tabs.settings.change({"ask": "always"})
    person.reload()
    person.page.wait_for_function(dark)
    person.say("Why is the sky blue?")
    person.await_question()
    person.press("1")
    person.page.wait_for_timeout(300)
    expect(person.part("choose-1")).to_be_visible()
    person.part("choose-1").click()
    expect(person.part("saved")).to_contain_text("Saved")
    assert person.errors == []


def test_a_backup_is_made_and_downloaded(quick, person, tmp_path):
    person.visit(quick.address)
    person.converse("Why is the sky blue?")
    person.open_tab("Settings")
    unfold(person, "Your data")
    expect(person.part("privacy")).to_contain_text(str(quick.folder.root))
    person.part("backup").click()
    expect(person.part("backup-said")).to_contain_text("Checked and kept")
    with person.page.expect_download() as saved:
        person.page.get_by_role("link", name="Download it").click()
    copy = tmp_path / "copy.db"
    saved.value.save_as(copy)
    with Store(copy) as restored:
        assert restored.read().table("turns").count == 2


def test_every_version_can_be_kept_from_the_next_start_on(quick, person):
    person.visit(quick.address)
    person.open_tab("Settings")
    unfold(person, "Your data")
    box = person.page.get_by_label("Keep every version")
    expect(box).not_to_be_checked()
    box.check()
    expect(person.part("settings-note")).to_contain_text("for what is kept, at the next start")
    unfold(person, "The same from the command line")
    expect(person.part("command-line")).to_contain_text("--keep-versions")
    person.page.reload()
    person.open_tab("Settings")
    unfold(person, "Your data")
    expect(box).to_be_checked()


def test_a_program_is_answered_as_soon_as_the_switch_is_on(quick, person):
    def ask(key):
        return httpx.post(
            f"{quick.address}/v1/chat/completions",
            headers={"authorization": f"Bearer {key}"},
            json={"messages": [{"role": "user", "content": "Count to 3"}]},
            timeout=30,
        )

    person.visit(quick.address)
    assert ask("any").status_code == 403
    person.open_tab("Settings")
    unfold(person, "API")
    person.part("api-on").get_by_role("checkbox").check()
    expect(person.part("api-said")).to_contain_text("Programs are answered now")
    expect(person.part("api-example")).to_contain_text(quick.address)
    box = person.part("api-key").get_by_role("textbox")
    expect(box).to_have_value(quick.tabs.api_key.read())
    old = box.input_value()
    assert ask("any").status_code == 401
    assert ask(old).json()["choices"][0]["message"]["role"] == "assistant"
    person.part("api-renew").click()
    expect(person.part("api-said")).to_contain_text("The one before opens nothing")
    assert ask(old).status_code == 401
    person.part("api-log").get_by_role("checkbox").check()
    expect(person.part("api-said")).to_contain_text("kept from now on")
    assert ask(quick.tabs.api_key.read()).status_code == 200
    assert [chat.title for chat in quick.service.shelf.list()] == ["Count to 3"]
    person.part("api-on").get_by_role("checkbox").uncheck()
    expect(person.part("api-key")).to_be_hidden()
    assert ask(quick.tabs.api_key.read()).status_code == 403


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_settings_tab_fits_a_phone(quick, new_person, scheme):
    person = new_person(360, 740, is_mobile=True, has_touch=True, color_scheme=scheme)
    person.visit(quick.address)
    person.open_tab("Settings")
    for name in (
        "Learner",
        "Language",
        "Model",
        "API",
        "Your data",
        "This browser",
        "The same from",
    ):
        unfold(person, name)
    expect(person.part("settings-reset")).to_be_visible()
    assert_fits(person.page)
    assert person.errors == []
