"""A message edited or copied where it stands in the transcript."""

import pytest
from playwright.sync_api import expect

from learner.engine.scripted import ScriptedAsking
from tests.e2e.conftest import demo

pytestmark = [
    pytest.mark.browser,
    # Gradio still sets an option that pandas 3 has deprecated.
    pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"),
]

CODE = "a <b> c\n\n    <div>\n\n- one\n\n    <i> two"
"""A tag in a line, one in a code block, and one in an item of a list, which is no code."""


def pencil(person, place):
    """Press the pencil of the message at ``place``; return the editor."""
    person.part("transcript").get_by_role("button", name="Edit").nth(place).click()
    editor = person.part("transcript").get_by_role("textbox")
    expect(editor).to_be_visible()
    return editor


def submit(person):
    person.part("transcript").get_by_role("button", name="Submit").click()


def test_an_edit_stays_in_its_chat(serve, person):
    app = serve(demo(ScriptedAsking.NEVER, words_per_s=0.0))
    person.visit(app.address)
    person.converse("Count to 3")
    counted = person.replies.inner_text()
    person.part("new-chat").click()
    expect(person.said).to_have_count(0)
    person.converse("Count to 4")
    wrong = person.replies.inner_text()
    editor = pencil(person, 1)
    editor.fill("Four numbers.")
    chats = person.part("conversations")
    chats.get_by_text("Count to 3").click()
    expect(person.said).to_have_text("Count to 3")
    expect(editor).to_have_count(0)
    expect(person.replies).to_have_text(counted)
    chats.get_by_text("Count to 4").click()
    expect(person.said).to_have_text("Count to 4")
    expect(pencil(person, 1)).to_have_value("Four numbers.")  # what was typed is still there
    submit(person)
    expect(person.replies).to_have_text("Four numbers.")
    expect(person.part("saved")).to_have_text("Saved: you made this reply better.")
    app.service.drain()
    [pair] = app.feedback.preferences()
    assert (pair.chosen.completion.text, pair.rejected.completion.text) == ("Four numbers.", wrong)


@pytest.mark.pages
def test_an_edit_that_was_begun_in_another_chat_is_refused(serve, person):
    app = serve(demo(ScriptedAsking.NEVER, words_per_s=0.0))
    person.visit(app.address)
    person.converse("Count to 3")
    counted = person.replies.inner_text()
    person.page.evaluate(
        """() => { window.twofold.editBegun = (turns, key) =>
             [turns, key, JSON.stringify({ key: "another", turn: JSON.parse(turns)[1] })] }"""
    )
    pencil(person, 1).fill("Three numbers.")
    submit(person)
    expect(person.part("note")).to_contain_text("begun in another chat, and nothing was changed")
    expect(person.replies).to_have_text(counted)
    assert app.feedback.preferences() == []


@pytest.mark.pages
def test_an_edit_is_closed_where_another_reply_or_branch_is_paged_to(serve, person):
    app = serve(demo(ScriptedAsking.NEVER, words_per_s=0.0))
    person.visit(app.address)
    person.converse("Why is the sky blue?")
    person.part("transcript").get_by_role("button", name="Retry").click()
    expect(person.part("reply-place")).to_have_text("Reply 2 of 2")
    person.await_reply(1)
    editor = pencil(person, 1)
    editor.fill("Air scatters it.")
    person.part("reply-before").click()
    expect(person.part("reply-place")).to_have_text("Reply 1 of 2")
    expect(editor).to_have_count(0)
    person.part("reply-after").click()
    expect(person.part("reply-place")).to_have_text("Reply 2 of 2")
    expect(pencil(person, 1)).to_have_value("Air scatters it.")
    person.part("transcript").get_by_role("button", name="Cancel").click()
    pencil(person, 0).fill("Count to 5")
    submit(person)
    expect(person.part("branch-place")).to_have_text("Branch 2 of 2")
    person.await_calm()
    pencil(person, 0).fill("Count to 6")
    person.part("branch-before").click()
    expect(person.said).to_have_text("Why is the sky blue?")
    expect(editor).to_have_count(0)
    assert app.feedback.preferences() == []


@pytest.mark.pages
@pytest.mark.parametrize("secure", [True, False])
def test_what_is_copied_is_what_was_said(serve, new_person, secure):
    """Without a certificate, a page that is not on this computer has no ``navigator.clipboard``."""
    app = serve(demo(ScriptedAsking.NEVER, words_per_s=0.0))
    person = new_person(permissions=["clipboard-read", "clipboard-write"])
    if not secure:
        person.page.add_init_script("delete Navigator.prototype.clipboard")
    person.visit(app.address)
    person.converse(f"Repeat after me: {CODE}")
    expect(person.replies.locator("pre code")).to_have_text("<div>")
    expect(person.replies.locator("li")).to_contain_text("<i> two")
    person.part("transcript").get_by_role("button", name="Copy message").last.click()
    person.box.press("Control+v")
    expect(person.box).to_have_value(f"Here you are.\n\n{CODE}")
    assert pencil(person, 0).input_value() == f"Repeat after me: {CODE}"
    assert person.errors == []


@pytest.mark.pages
def test_thumbs_say_in_every_language_whether_they_are_pressed(serve, new_person):
    app = serve(demo(ScriptedAsking.NEVER, words_per_s=0.0))
    person = new_person(locale="de-DE")
    person.visit(app.address)
    person.converse("Count to 3")
    bar = person.part("transcript")
    up, down = (
        bar.get_by_role("button", name=name, exact=True)
        for name in ("Gefällt mir", "Gefällt mir nicht")
    )
    expect(up).to_have_attribute("aria-pressed", "false")
    expect(down).to_have_attribute("aria-pressed", "false")
    up.click()
    expect(bar.locator("[aria-pressed=true]")).to_have_count(1)
    expect(down).to_have_attribute("aria-pressed", "false")
    expect(bar.locator("[aria-pressed]")).to_have_count(2)
