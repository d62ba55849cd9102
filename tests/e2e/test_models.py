"""The Models tab in a browser: the versions, who speaks, one to take along."""

import io
import re
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import expect

from learner.engine.scripted import ScriptedAsking
from storage.records import AskReason
from tests.e2e.conftest import demo
from tests.e2e.page import until
from tests.e2e.test_data import picked
from tests.e2e.test_page import assert_fits, lesson
from tests.storage.builders import BASE_SHA256, leave, write_adapter
from tests.tiny import write_tiny_adapter, write_tiny_model

pytestmark = [
    pytest.mark.pages,
    pytest.mark.browser,
    # Gradio still sets an option that pandas 3 has deprecated.
    pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"),
]


def learned(app, lessons=2, write=write_adapter):
    """So many versions, each from one pick, each from the one before."""
    for receipt in picked(app, [f"Question {number}" for number in range(lessons)]):
        number = app.policies.next_round()
        report = replace(lesson(app, [receipt.preference_id]), number=number)
        leave(app.folder.rounds, report, write)
        app.service.collect_now()


@pytest.fixture
def asking(serve):
    return serve(demo(ScriptedAsking.ALWAYS, words_per_s=0.0))


def test_versions_are_looked_at_made_live_rolled_back_and_taken_along(asking, person):
    app = asking
    person.visit(app.address)
    person.open_tab("Models")
    expect(person.part("no-versions")).to_contain_text("Only the untrained model")
    learned(app)
    person.open_tab("Chat")
    person.open_tab("Models")
    versions = person.part("version-list").get_by_role("radio")
    expect(versions).to_have_count(3)
    expect(person.part("version-list")).to_contain_text("v2 · live")
    versions.nth(1).check(force=True)
    expect(person.part("version-title")).to_have_text("Version 1")
    expect(person.part("version-facts")).to_contain_text("The live version comes from it.")
    expect(person.part("version-facts")).to_contain_text("Distance from the base")
    person.part("version-note").get_by_role("textbox").fill("short and kind")
    person.part("version-note").get_by_role("textbox").press("Enter")
    expect(person.part("models-note")).to_contain_text("Noted.")
    expect(person.part("version-list")).to_contain_text("“short and kind”")
    person.part("make-live").click()
    expect(person.part("models-note")).to_contain_text("Version 1 speaks from the next reply on.")
    expect(person.part("version-title")).to_have_text("Version 1 · live")
    expect(person.part("status")).to_contain_text("v1")
    person.part("models-back").click()
    expect(person.part("models-note")).to_contain_text("The untrained model speaks")
    expect(person.part("models-back")).to_be_disabled()
    assert app.policies.current().id == 0

    versions.first.check(force=True)
    expect(person.part("version-facts")).to_contain_text("another branch")
    with person.page.expect_download() as saved:
        person.page.get_by_role("link", name="Download v2").click()
    archive = zipfile.ZipFile(io.BytesIO(saved.value.path().read_bytes()))
    assert "twofold-v2/adapter_model.safetensors" in archive.namelist()


def test_a_note_left_by_going_to_another_version_stays_with_its_own(asking, person):
    learned(asking)
    person.visit(asking.address)
    person.open_tab("Models")
    versions = person.part("version-list").get_by_role("radio")
    expect(person.part("version-title")).to_contain_text("Version 2")
    person.part("version-note").get_by_role("textbox").fill("a note on two")
    versions.nth(1).check(force=True)
    expect(person.part("version-title")).to_have_text("Version 1")
    expect(person.part("version-list")).to_contain_text("“a note on two”")
    expect(versions.nth(1)).to_be_checked()
    expect(person.part("version-note").get_by_role("textbox")).to_have_value("")
    person.part("make-live").click()
    expect(person.part("version-title")).to_have_text("Version 1 · live")
    assert asking.policies.current().id == 1
    notes = {one.id: one.note for one in asking.tabs.models.versions()}
    assert notes[2] == "a note on two" and notes[1] == ""


def test_a_version_is_taken_along_as_a_whole_model_on_a_phone(serve, new_person, tmp_path):
    tiny = replace(write_tiny_model(tmp_path / "tiny"), sha256=BASE_SHA256)
    app = serve(demo(ScriptedAsking.ALWAYS, words_per_s=0.0), model=tiny)
    learned(app, 1, partial(write_tiny_adapter, tiny))
    person = new_person(360, 740, is_mobile=True, has_touch=True)
    person.visit(app.address)
    person.open_tab("Models")
    link = person.page.get_by_role("link", name="Download v1 as a whole model")
    expect(link).to_be_visible()
    assert link.bounding_box()["height"] >= 44
    assert_fits(person.page)
    with person.page.expect_download() as saved:
        link.click()
    assert saved.value.suggested_filename == "twofold-v1-merged.zip"
    archive = zipfile.ZipFile(io.BytesIO(saved.value.path().read_bytes()))
    names = {Path(name).name for name in archive.namelist()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md"} <= names
    until(lambda: not list(app.folder.root.glob(".download-*")))
    assert person.errors == []


def test_two_versions_are_compared_blind_and_the_choice_counts_for_the_right_one(asking, person):
    learned(asking, 1)
    person.visit(asking.address)
    person.open_tab("Models")
    expect(person.part("version-title")).to_be_visible()  # the tab is filled as it is opened
    person.part("compare").get_by_role("button").first.click()
    person.part("compare-start").click()
    expect(person.part("compare-note")).to_contain_text("Write a message first")
    person.part("compare-message").get_by_role("textbox").fill("Why is the sky blue?")
    person.part("compare-start").click()
    person.page.wait_for_url("**/?c=*")
    person.await_question()
    assert not re.search(r"version \d|\bv\d|untrained", person.part("pair").inner_text().lower())
    person.press("1")
    person.await_reply(1)
    chat = asking.service.conversation(person.key())
    pair = asking.feedback.preferences()[-1]
    assert pair.comparison.conversation_id == chat.id
    assert pair.comparison.question.reason is AskReason.COMPARE
    by = pair.comparison.first.completion.policy_version
    [duel] = asking.tabs.models.detail(by).duels
    assert (duel.won, duel.lost) == ((1, 0) if by == 1 else (0, 1))
    del person.errors[:]  # the page that is left complains of its torn streams


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_models_tab_fits_a_phone(asking, new_person, scheme):
    app = asking
    learned(app)
    person = new_person(360, 740, is_mobile=True, has_touch=True, color_scheme=scheme)
    person.visit(app.address)
    person.open_tab("Models")
    expect(person.part("version-title")).to_be_visible()
    assert_fits(person.page)
    for name in ("models-back",):
        assert person.part(name).bounding_box()["height"] >= 44
    assert person.errors == []
