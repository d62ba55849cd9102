"""A teaching chat in a browser: both sides by one person, suggestions, the finished example."""

import json

import pytest
from playwright.sync_api import expect

from learner.engine.scripted import ScriptedAsking
from tests.e2e.conftest import demo
from tests.e2e.test_page import assert_fits

pytestmark = [
    pytest.mark.pages,
    pytest.mark.browser,
    # Gradio still sets an option that pandas 3 has deprecated.
    pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"),
]

SKY = "Why is the sky blue?"


@pytest.fixture
def site(serve):
    return serve(demo(ScriptedAsking.ALWAYS, words_per_s=0.0))


def begin(person, site):
    person.visit(site.address)
    person.settled()
    person.part("teaching").get_by_role("checkbox").check()
    expect(person.part("temporary")).to_be_hidden()
    person.say(SKY)
    expect(person.part("about-chat")).to_contain_text("A teaching chat")
    expect(person.part("teach-turn")).to_contain_text("You are the assistant")
    expect(person.part("send")).to_have_text("Add reply")
    expect(person.box).to_have_attribute("placeholder", "You are the assistant: write the reply")
    expect(person.part("teach-use")).to_be_visible()


def test_a_dialogue_of_both_sides_becomes_an_example(site, person):
    begin(person, site)
    suggested = person.part("suggestion-text").inner_text()
    person.press("2")
    expect(person.part("suggestion-text")).not_to_have_text(suggested)
    expect(person.part("teach-use")).to_be_visible()
    person.press("1")
    expect(person.box).not_to_have_value("")
    person.box.press("End")
    person.box.type(" That is all.")
    person.box.press("Enter")
    expect(person.replies).to_have_count(1)
    expect(person.replies.first).to_contain_text("That is all.")
    expect(person.part("teach-turn")).to_contain_text("You are the user")
    expect(person.part("send")).to_have_text("Add message")

    person.part("teach-finish").click()
    expect(person.part("teach-state")).to_contain_text("Saved as an example with 1 reply.")
    expect(person.part("teach-finish")).to_be_hidden()
    person.say("And at sunset?")
    expect(person.part("teach-turn")).to_contain_text("You are the assistant")
    person.say("Then red is what is left.")
    expect(person.replies).to_have_count(2)
    expect(person.part("teach-state")).to_contain_text("It has changed since")
    person.press("u")
    expect(person.replies).to_have_count(1)
    expect(person.part("teach-turn")).to_contain_text("You are the assistant")
    person.say("Then red remains.")
    expect(person.replies).to_have_count(2)
    person.part("teach-finish").click()
    expect(person.part("teach-state")).to_contain_text("with 2 replies")
    expect(person.part("conversations")).to_contain_text("✎ Why is the sky blue?")

    chat = site.service.conversation(person.key())
    example = site.service.view(chat.id).example
    assert [one.role.value for one in example.messages] == ["user", "assistant"] * 2
    assert example.messages[1].content.endswith("That is all.")
    assert example.messages[3].content == "Then red remains."
    person.reload()
    expect(person.part("teach-state")).to_contain_text("with 2 replies")
    person.part("teach-back").click()
    expect(person.part("teach-state")).to_be_hidden()
    assert site.service.view(chat.id).example is None
    site.feedback.verify_chain()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_teaching_chat_fits_a_phone(site, new_person, scheme):
    person = new_person(360, 740, is_mobile=True, has_touch=True, color_scheme=scheme)
    begin(person, site)
    assert_fits(person.page)
    person.part("teach-use").tap()
    expect(person.box).not_to_have_value("")
    person.part("send").tap()
    expect(person.replies).to_have_count(1)
    assert_fits(person.page)
    for name in ("teach-finish", "teach-undo"):
        assert person.part(name).bounding_box()["height"] >= 44
    assert person.errors == []


def test_dialogues_of_a_file_are_examples_with_a_chat_to_open(site, person, tmp_path):
    file = tmp_path / "lessons.jsonl"
    messages = [{"role": "user", "content": SKY}, {"role": "assistant", "content": "The air."}]
    file.write_text(json.dumps({"messages": messages}) + "\n")
    person.visit(site.address)
    person.settled()
    person.open_tab("Data")
    person.part("import").get_by_role("button").first.click()
    person.part("import-file").locator("input[type=file]").set_input_files(file)
    expect(person.part("import-said")).to_contain_text("1 new dialogue")
    person.part("import-start").click()
    expect(person.part("import-progress")).to_contain_text("1 imported")
    person.open_tab("Chat")
    person.open_tab("Data")
    expect(person.part("beside-picks")).to_contain_text("1 example dialogue (1 reply)")
    person.part("export").get_by_role("button").first.click()
    expect(person.part("export-said")).to_contain_text("no row of this format")
    person.part("export-format").get_by_role("radio", name="Example dialogues").check()
    expect(person.part("export-said")).to_contain_text("1 row")
    person.part("examples-box").get_by_role("button").first.click()
    person.part("examples").get_by_role("link", name=SKY).click()
    person.ready()
    expect(person.part("teach-state")).to_contain_text("Saved as an example with 1 reply")
    expect(person.replies.first).to_contain_text("The air.")
    person.part("teach-back").click()
    expect(person.part("teach-state")).to_be_hidden()
    assert site.service.dialogues.counts().dialogues == 0
