"""The Learning tab in a browser: the brakes, the figures, the person's own word."""

import pytest
from playwright.sync_api import expect

from learner.control import LearnerControl
from learner.engine.scripted import ScriptedAsking
from learner.reward.lean_file import read_lean
from storage.records import Choice
from tests.e2e.conftest import demo
from tests.e2e.test_data import picked
from tests.e2e.test_page import assert_fits, lesson
from tests.storage.builders import leave, write_adapter

pytestmark = [
    pytest.mark.pages,
    pytest.mark.browser,
    # Gradio still sets an option that pandas 3 has deprecated.
    pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"),
]


@pytest.fixture
def asking(serve):
    return serve(demo(ScriptedAsking.ALWAYS, words_per_s=0.0))


def learned(app):
    receipts = picked(app, [f"Question {number}" for number in range(6)], Choice.FIRST)
    leave(app.folder.rounds, lesson(app, [one.preference_id for one in receipts]), write_adapter)
    app.service.collect_now()


def test_learning_is_paused_wished_for_and_rolled_back(asking, person):
    control = LearnerControl(asking.folder.root)
    person.visit(asking.address)
    person.open_tab("Learning")
    expect(person.part("no-lesson")).to_contain_text("No lesson yet")
    expect(person.part("learn-now")).to_be_disabled()
    expect(person.part("taste")).to_contain_text("Nothing yet")
    learned(asking)
    picked(asking, ["Why is the sky blue?"])
    person.open_tab("Chat")
    person.open_tab("Learning")
    expect(person.part("facts")).to_contain_text("6 learned from")
    expect(person.part("charts").get_by_role("img").first).to_be_visible()
    expect(person.part("checks")).to_contain_text("Position: 7 choices so far")
    person.part("pause-learning").click()
    expect(person.part("learning-note")).to_contain_text("Paused")
    expect(person.part("resume-learning")).to_be_visible()
    expect(person.part("learn-now")).to_be_disabled()
    assert control.paused
    person.part("resume-learning").click()
    expect(person.part("learning-note")).to_contain_text("Resumed")
    person.part("learn-now").click()
    expect(person.part("learning-note")).to_contain_text("A lesson starts now")
    assert control.wanted and not control.paused
    person.part("roll-back").click()
    expect(person.part("learning-note")).to_contain_text("The untrained model speaks")
    assert asking.policies.current().id == 0


def test_numbers_that_were_unfolded_stay_so_when_something_new_is_learned(asking, person):
    learned(asking)
    person.visit(asking.address)
    person.open_tab("Learning")
    folds = person.part("charts").locator("details")
    folds.nth(1).locator("summary").click()
    expect(folds.nth(1).locator("table")).to_be_visible()
    picked(asking, ["Why is the sky blue?"])
    expect(person.part("facts")).to_contain_text("7", timeout=20_000)
    expect(folds.nth(1).locator("table")).to_be_visible()
    expect(folds.nth(0).locator("table")).to_be_hidden()
    folds.nth(1).locator("summary").click()
    picked(asking, ["And the sea?"])
    expect(person.part("facts")).to_contain_text("8", timeout=20_000)
    expect(folds.nth(1).locator("table")).to_be_hidden()


def test_a_person_says_their_taste_and_sets_the_budget_by_keyboard(asking, person):
    person.visit(asking.address)
    person.open_tab("Learning")
    expect(person.part("taste")).to_contain_text("Nothing yet")
    budget = person.part("budget").get_by_role("spinbutton")
    expect(budget).to_have_value("12")  # it is built with another: now the sliders are drawn
    person.part("lean").get_by_role("button", name="Say it yourself").click()
    number = person.part("lean-longer").get_by_role("spinbutton")
    expect(number).to_have_value("0")  # drawn, now that the box around it is open
    number.fill("-1")
    number.press("Tab")
    expect(person.part("lean-said")).to_contain_text("Longer: saved")
    assert read_lean(asking.folder.taste) == {"longer": -1.0}
    person.part("lean-clear").click()
    expect(person.part("lean-said")).to_contain_text("your choices alone")
    assert read_lean(asking.folder.taste) == {}
    budget.fill("10")
    budget.press("Tab")
    expect(person.part("budget-said")).to_contain_text("Saved")
    assert asking.tabs.settings.current.ask.budget_share == 0.1


def test_the_latest_lesson_is_shown_before_and_after(asking, person):
    person.visit(asking.address)
    person.open_tab("Learning")
    person.part("latest-lesson").get_by_role("button").first.click()
    person.part("show-lesson").click()
    expect(person.part("lesson-message")).to_contain_text("there is no lesson to show")
    learned(asking)
    person.part("show-lesson").click()
    expect(person.part("lesson-message")).to_contain_text("You said: Question 5")
    expect(person.part("lesson-after")).to_contain_text("Version 1, now")
    expect(person.part("lesson-before")).to_contain_text("Before")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_learning_tab_fits_a_phone(asking, new_person, scheme):
    learned(asking)
    person = new_person(360, 740, is_mobile=True, has_touch=True, color_scheme=scheme)
    person.visit(asking.address)
    person.open_tab("Learning")
    expect(person.part("charts").get_by_role("img").first).to_be_visible()
    assert_fits(person.page)
    for name in ("pause-learning", "learn-now", "roll-back"):
        assert person.part(name).bounding_box()["height"] >= 44
    assert person.errors == []
