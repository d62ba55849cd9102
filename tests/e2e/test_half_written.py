"""What is half-written is kept: the message, and a better reply to a question."""

import pytest
from playwright.sync_api import expect

from learner.engine.scripted import ScriptedAsking
from tests.e2e.conftest import demo

pytestmark = [
    pytest.mark.pages,
    pytest.mark.browser,
    # Gradio still sets an option that pandas 3 has deprecated.
    pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"),
]


def better_box(person):
    return person.part("better-text").get_by_role("textbox")


def ask(person, app):
    """Open the editor of a question; return the texts of both replies."""
    person.visit(app.address)
    person.say("Why is the sky blue?")
    person.await_question()
    person.press("e")
    expect(better_box(person)).to_be_focused()
    question = app.feedback.open_question(app.service.conversation(person.key()).id)
    return question.first.completion.text, question.second.completion.text


@pytest.fixture
def asking(serve):
    return serve(demo(ScriptedAsking.ALWAYS, words_per_s=0.0))


def test_a_half_written_message_is_there_after_a_reload(app, person):
    person.visit(app.address)
    person.box.fill("half a thought")
    person.reload()
    expect(person.box).to_have_value("half a thought")
    person.box.fill("")
    person.reload()
    person.page.wait_for_timeout(300)
    expect(person.box).to_have_value("")


def test_escape_leaves_a_better_reply_before_it_closes_it(asking, person):
    ask(person, asking)
    box = better_box(person)
    box.fill("Air scatters blue light.")
    person.page.keyboard.press("Escape")
    expect(box).not_to_be_focused()
    expect(box).to_have_value("Air scatters blue light.")
    person.part("start-from").get_by_label("Reply 2").focus()
    person.page.keyboard.press("Escape")
    expect(box).to_be_visible()
    person.page.keyboard.press("Escape")
    expect(box).to_be_hidden()
    expect(person.part("pair")).to_be_visible()


def test_a_better_reply_is_not_written_over_by_another_start(asking, person):
    first, second = ask(person, asking)
    box, start = better_box(person), person.part("start-from")
    start.get_by_label("Reply 2").check()  # nothing was typed yet
    expect(box).to_have_value(second)
    box.fill("Air scatters blue light.")
    start.get_by_label("Reply 1").click()
    expect(person.part("note")).to_contain_text("Your text is kept")
    expect(box).to_have_value("Air scatters blue light.")
    expect(start.get_by_label("Reply 2")).to_be_checked()
    box.fill("")
    start.get_by_label("Reply 1").check()
    expect(box).to_have_value(first)
    expect(person.part("note")).to_be_hidden()


def test_a_better_reply_outlives_a_thumb_on_an_earlier_one(asking, person):
    person.visit(asking.address)
    person.say("Why is the sky blue?")
    person.await_question()
    person.press("1")
    person.await_reply(1)
    person.say("And at night?")
    person.await_question()
    person.part("write").click()
    box = better_box(person)
    box.fill("It is dark then.")
    bar = person.part("transcript")
    with person.page.expect_response(lambda answer: answer.request.method == "POST"):
        bar.get_by_role("button", name="Like", exact=True).click()
    expect(bar.get_by_role("button", name="Liked")).to_be_visible()
    person.page.wait_for_timeout(500)  # until what was answered is drawn
    expect(box).to_be_visible()
    expect(box).to_have_value("It is dark then.")


def test_a_better_reply_is_there_when_the_person_comes_back(asking, person):
    first, _ = ask(person, asking)
    better_box(person).fill("Air scatters blue light.")
    person.key()
    person.part("new-chat").click()
    expect(person.part("pair")).to_be_hidden()
    expect(person.box).to_be_focused()
    person.part("conversations").get_by_text("Why is the sky blue?").click()
    expect(better_box(person)).to_have_value("Air scatters blue light.")
    person.reload()
    expect(better_box(person)).to_have_value("Air scatters blue light.")
    person.part("cancel-better").click()
    expect(better_box(person)).to_be_hidden()
    person.press("e")  # cancelled, so it begins anew
    expect(better_box(person)).to_have_value(first)
    better_box(person).fill("Blue light is scattered.")
    person.part("save-better").click()
    assert person.await_reply(1) == "Blue light is scattered."
    person.reload()
    expect(person.part("pair")).to_be_hidden()


def test_a_better_reply_outlives_the_answer_of_another_page(asking, person, new_person):
    ask(person, asking)
    better_box(person).fill("Air scatters blue light.")
    other = new_person()
    other.visit(f"{asking.address}/?c={person.key()}")
    other.await_question()
    other.press("1")
    expect(person.part("pair")).to_be_hidden()
    expect(person.part("note")).to_contain_text("answered on another page")
    person.part("transcript").get_by_role("button", name="Edit").nth(1).click()
    editor = person.part("transcript").get_by_role("textbox")
    expect(editor).to_have_value("Air scatters blue light.")
    person.part("transcript").get_by_role("button", name="Submit").click()
    expect(person.replies).to_have_text("Air scatters blue light.")
    expect(person.part("saved")).to_have_text("Saved: you made this reply better.")
    assert other.errors == []
