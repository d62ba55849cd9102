"""The Data tab in a browser: find a choice, change it, take it out, forget it, export, import."""

import json

import pytest
from playwright.sync_api import expect

from learner.engine.scripted import ScriptedAsking
from storage.records import Choice
from tests.e2e.conftest import demo
from tests.e2e.test_page import assert_fits, lesson
from tests.storage.builders import leave, write_adapter

pytestmark = [
    pytest.mark.pages,
    pytest.mark.browser,
    # Gradio still sets an option that pandas 3 has deprecated.
    pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"),
]

QUESTIONS = ("Why is the sky blue?", "A rainy Sunday?", "A note to a neighbour")


def picked(app, questions=QUESTIONS, choice=Choice.FIRST):
    """One chat for each question, each with a choice; the receipts."""
    receipts = []
    for text in questions:
        chat = app.service.new_conversation()
        app.service.say(chat.id, text)
        app.service.drain()
        question = app.service.view(chat.id).question
        receipts.append(app.service.choose(question.token, choice))
    app.service.drain()
    return receipts


@pytest.fixture
def asking(serve):
    return serve(demo(ScriptedAsking.ALWAYS, words_per_s=0.0))


def open_data(person, app):
    person.visit(app.address)
    person.open_tab("Data")


def cards(person):
    return person.part("picks").get_by_role("radio")


def test_choices_are_found_changed_left_out_and_forgotten(asking, person):
    app = asking
    receipts = picked(app)
    leave(app.folder.rounds, lesson(app, [one.preference_id for one in receipts]), write_adapter)
    open_data(person, app)
    expect(cards(person)).to_have_count(3)
    expect(person.part("picks-count")).to_have_text("3 choices")
    expect(person.part("status")).to_contain_text("v1")

    person.part("data-search").get_by_role("textbox").fill("sunday")
    expect(cards(person)).to_have_count(1)
    person.part("data-search").get_by_role("textbox").fill("no such thing")
    expect(person.part("no-picks")).to_contain_text("Nothing matches")
    person.part("data-search").get_by_role("textbox").fill("sky")
    expect(cards(person)).to_have_count(1)

    cards(person).first.check(force=True)
    expect(person.part("pick-title")).to_contain_text("Why is the sky blue?")
    expect(person.part("pick-first-title")).to_contain_text("your choice")
    expect(person.part("pick-facts")).to_contain_text("learned in v1 (live)")
    person.part("pick-answer").get_by_role("radio", name="Reply 2 is better").check()
    expect(person.part("data-note")).to_contain_text("Changed")
    expect(person.part("pick-second-title")).to_contain_text("your choice")
    expect(person.part("picks")).to_contain_text("Reply 2 is better")
    person.part("pick-exclude").click()
    expect(person.part("data-note")).to_contain_text("Left out")
    expect(person.part("picks")).to_contain_text("left out")
    person.part("pick-include").click()
    expect(person.part("data-note")).to_contain_text("teaches again")

    person.part("pick-forget").click()
    expect(person.part("confirm-forget")).to_contain_text("1 version learned from it")
    person.part("forget-no").click()
    expect(person.part("confirm-forget")).to_be_hidden()
    person.part("pick-forget").click()
    person.part("forget-yes").click()
    expect(person.part("data-note")).to_contain_text("v1 will never speak again")
    expect(person.part("status")).to_contain_text("v0")
    assert app.policies.current().id == 0 and app.policies.servable() == [0]
    assert len(app.feedback.preferences()) == 2
    app.feedback.verify_chain()


def test_a_choice_is_looked_up_and_left_out_by_keyboard_alone(asking, person):
    app = asking
    picked(app)
    open_data(person, app)
    expect(cards(person)).to_have_count(3)
    keyboard = person.page.keyboard
    cards(person).first.focus()
    keyboard.press("Space")
    expect(person.part("pick-title")).to_contain_text("A note to a neighbour")
    keyboard.press("ArrowDown")
    expect(person.part("pick-title")).to_contain_text("A rainy Sunday?")
    keyboard.press("ArrowDown")
    keyboard.press("ArrowDown")  # there is none below the last
    expect(person.part("pick-title")).to_contain_text("Why is the sky blue?")
    keyboard.press("ArrowUp")
    expect(person.part("pick-title")).to_contain_text("A rainy Sunday?")
    person.part("pick-exclude").focus()
    keyboard.press("Enter")
    expect(person.part("data-note")).to_contain_text("Left out")
    assert len(app.feedback.preferences()) == 2


def test_a_chat_is_deleted_with_its_lessons(asking, person):
    app = asking
    receipts = picked(app)
    leave(app.folder.rounds, lesson(app, [receipts[0].preference_id]), write_adapter)
    open_data(person, app)
    expect(person.part("status")).to_contain_text("v1")
    cards(person).last.check(force=True)
    person.part("pick-delete").click()
    expect(person.part("confirm-delete")).to_contain_text("v1 learned from it")
    person.part("delete-all").click()
    expect(person.part("data-note")).to_contain_text("The chat was deleted")
    expect(cards(person)).to_have_count(2)
    assert app.policies.current().id == 0
    assert len(app.service.shelf.list()) == 2


def test_pages_of_choices_go_there_and_back(asking, person):
    app = asking
    picked(app, [f"Question {number}" for number in range(33)])
    open_data(person, app)
    expect(cards(person)).to_have_count(30)
    expect(person.part("newer")).to_be_disabled()
    person.part("older").click()
    expect(cards(person)).to_have_count(3)
    expect(person.part("picks")).to_contain_text("Question 0")
    expect(person.part("older")).to_be_disabled()
    person.part("newer").click()
    expect(cards(person)).to_have_count(30)


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 740)])
def test_what_became_of_a_press_is_told_in_sight(asking, new_person, width, height):
    app = asking
    picked(app, [f"Question {number}" for number in range(30)])
    person = new_person(width, height)
    open_data(person, app)
    expect(cards(person)).to_have_count(30)
    cards(person).last.check(force=True)
    expect(person.part("pick-title")).to_contain_text("Question 0")
    expect(person.part("pick-title")).to_be_in_viewport()
    person.part("pick-exclude").click()
    expect(person.part("data-note")).to_contain_text("Left out")
    expect(person.part("data-note")).to_be_in_viewport(ratio=1)
    person.part("pick-delete").click()
    person.part("delete-chat").click()
    expect(person.part("data-note")).to_contain_text("The chat was deleted")
    expect(person.part("data-note")).to_be_in_viewport(ratio=1)
    person.part("data-filters").get_by_role("button").first.click()
    person.part("data-since").get_by_role("textbox").fill("yesterday")
    expect(person.part("data-note")).to_contain_text("yesterday")
    expect(person.part("data-note")).to_be_in_viewport(ratio=1)


def test_an_export_is_previewed_downloaded_and_taken_in_again(asking, person, serve, tmp_path):
    app = asking
    picked(app)
    open_data(person, app)
    expect(cards(person)).to_have_count(3)
    person.part("export").get_by_role("button").first.click()
    expect(person.part("export-said")).to_contain_text("3 rows")
    person.part("export-format").get_by_role("radio", name="Liked or not").check()
    expect(person.part("export-said")).to_contain_text("6 rows")
    person.part("export-format").get_by_role("radio", name="Preference pairs (TRL: DPO").check()
    expect(person.part("export-said")).to_contain_text("3 rows")
    with person.page.expect_download() as saved:
        person.page.get_by_role("link", name="Download twofold").click()
    file = tmp_path / "picks.jsonl"
    saved.value.save_as(file)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["prompt"][0]["content"] for row in rows] == list(QUESTIONS)

    foreign = {"prompt": "Say hi", "chosen": "Hi!", "rejected": "Good day to you."}
    with file.open("a") as more:
        more.write(json.dumps(foreign) + "\n{oh no\n")
    person.part("import").get_by_role("button").first.click()
    person.part("import-file").locator("input[type=file]").set_input_files(file)
    said = person.part("import-said")
    expect(said).to_contain_text("1 new choice, 3 here already, 1 line that cannot be read")
    expect(said).to_contain_text("line 5: not JSON")
    person.part("import-start").click()
    expect(person.part("import-progress")).to_contain_text("1 imported")
    assert len(app.feedback.preferences()) + len(app.feedback.held_out()) == 4
    assert len(app.service.shelf.list()) == 3
    expect(cards(person)).to_have_count(4)
    expect(person.part("picks-count")).to_have_text("4 choices")
    expect(person.part("export-said")).to_contain_text("Choose a format")
    person.part("export-format").get_by_role("radio", name="Liked or not").check()
    expect(person.part("export-said")).to_contain_text("8 rows")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_data_tab_fits_a_phone_and_is_empty_with_a_word(serve, new_person, scheme):
    app = serve(demo(ScriptedAsking.ALWAYS, words_per_s=0.0))
    person = new_person(360, 740, is_mobile=True, has_touch=True, color_scheme=scheme)
    open_data(person, app)
    expect(person.part("no-picks")).to_contain_text("No choices yet")
    assert_fits(person.page)
    picked(app, ["Repeat after me: " + "a_very_long_word_" * 20])
    person.open_tab("Chat")
    person.open_tab("Data")
    cards(person).first.check(force=True)
    expect(person.part("pick-title")).to_be_visible()
    assert_fits(person.page)
    for name in ("pick-exclude", "pick-forget", "pick-delete", "older"):
        assert person.part(name).bounding_box()["height"] >= 44
    assert person.errors == []
