"""From chat to chat: the way back, the list by keyboard, where a chat is opened; odd keyboards."""

import pytest
from playwright.sync_api import expect

from learner.engine.scripted import ScriptedAsking
from tests.e2e.conftest import demo
from tests.e2e.page import until

pytestmark = [
    pytest.mark.pages,
    pytest.mark.browser,
    # Gradio still sets an option that pandas 3 has deprecated.
    pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"),
]

TYPED = """(init) => (document.activeElement ?? document.body).dispatchEvent(
  new KeyboardEvent("keydown", { bubbles: true, cancelable: true, ...init }))"""
"""A key as another keyboard sends it."""


@pytest.fixture
def chatting(serve):
    return serve(demo(ScriptedAsking.NEVER, words_per_s=0.0))


def new_chat(person, text):
    person.part("new-chat").click()
    expect(person.said).to_have_count(0)
    person.converse(text)
    return person.key()


def test_the_way_back_leads_through_the_chats(chatting, person):
    person.visit(chatting.address)
    person.converse("Count to 3")
    first = person.key()
    begun = person.page.evaluate("history.length")
    second = new_chat(person, "Count to 4")
    chats = person.part("conversations")
    chats.get_by_text("Count to 3").click()
    expect(person.said).to_have_text("Count to 3")
    assert person.page.evaluate("history.length") == begun + 2  # a chat that begins adds none
    person.page.go_back()
    expect(person.said).to_have_text("Count to 4")
    expect(person.page).to_have_url(f"{chatting.address}/?c={second}")
    person.page.go_back()
    expect(person.said).to_have_text("Count to 3")
    expect(chats.get_by_role("radio", name="Count to 3")).to_be_checked()
    expect(person.page).to_have_url(f"{chatting.address}/?c={first}")
    person.page.go_forward()
    expect(person.said).to_have_text("Count to 4")
    assert person.page.evaluate("history.length") == begun + 2


def test_the_way_back_opens_no_temporary_chat(chatting, new_person):
    person = new_person()
    person.visit(chatting.address)
    person.converse("Count to 3")
    person.part("new-chat").click()
    expect(person.said).to_have_count(0)
    person.part("temporary").get_by_role("checkbox").check()
    person.converse("Count to 4")
    key = person.part("conversation-key").locator("textarea, input").input_value()
    assert chatting.conversations.by_key(key) is not None
    person.page.go_back()
    expect(person.said).to_have_text("Count to 3")
    until(lambda: chatting.conversations.by_key(key) is None)
    person.page.go_forward()
    expect(person.said).to_have_count(0)
    expect(person.part("temporary")).to_be_visible()


def test_a_long_chat_opens_at_its_end(chatting, person):
    person.visit(chatting.address)
    person.converse("Count to 900")
    person.box.fill("")
    new_chat(person, "Count to 901")
    person.page.evaluate("window.scrollTo(0, 0)")
    person.page.wait_for_timeout(200)
    person.part("conversations").get_by_text("Count to 900").click()
    expect(person.said).to_have_text("Count to 900")
    end = """() => document.documentElement.scrollHeight - window.innerHeight - window.scrollY < 80
      && window.scrollY > 0"""
    person.page.wait_for_function(end, timeout=5_000)


def test_the_list_of_chats_is_one_stop_and_enter_opens(chatting, person):
    person.visit(chatting.address)
    person.converse("Count to 3")
    new_chat(person, "Count to 4")
    new_chat(person, "Count to 5")
    chats = person.part("conversations")
    shown = chats.get_by_role("radio", name="Count to 5")
    keys = person.page.keyboard
    person.part("search").get_by_role("textbox").focus()
    keys.press("Tab")
    expect(shown).to_be_focused()
    keys.press("ArrowDown")
    keys.press("ArrowDown")
    expect(chats.get_by_role("radio", name="Count to 3")).to_be_focused()
    expect(person.said).to_have_text("Count to 5")
    keys.press("Enter")
    expect(person.said).to_have_text("Count to 3")
    keys.press("Tab")
    expect(person.part("open-keys")).to_be_focused()
    keys.press("Shift+Tab")
    expect(chats.get_by_role("radio", name="Count to 3")).to_be_focused()


def test_rankings_are_one_stop_and_enter_opens(chatting, person):
    person.visit(chatting.address)
    person.open_tab("Rank")
    for text in ("Count to 3", "Count to 4"):
        person.part("rank-text").get_by_role("textbox").fill(text)
        person.part("rank-write").click()
        expect(person.part("rank-save")).to_be_visible()
        for key in ("1", "r"):
            person.page.keyboard.press("Escape")
            person.page.keyboard.press(key)
        person.part("rank-save").click()
        expect(person.part("rank-saved-row")).to_be_visible()
    person.part("rankings-box").get_by_role("button", name="Your rankings").click()
    listed = person.part("rankings").get_by_role("radio")
    expect(listed).to_have_count(2)
    stops = person.part("rankings").locator("input:not([tabindex='-1'])")
    expect(stops).to_have_count(1)
    listed.first.focus()
    person.page.keyboard.press("ArrowDown")
    expect(listed.last).to_be_focused()
    expect(listed.last).not_to_be_checked()
    person.page.keyboard.press("Enter")
    expect(listed.last).to_be_checked()
    expect(person.part("rank-prompt")).to_contain_text("Count to 3")


def test_a_sign_that_needs_shift_is_the_same_key(app, person):
    person.visit(app.address)
    slash = {"key": "/", "code": "Digit7", "ctrlKey": True, "shiftKey": True}  # German
    person.page.evaluate(TYPED, slash)
    dialog = person.page.get_by_role("dialog", name="Keys")
    expect(dialog).to_be_visible()
    person.page.evaluate(TYPED, slash)
    expect(dialog).to_be_hidden()


def test_alt_and_a_digit_choose_on_a_mac(serve, person):
    app = serve(demo(ScriptedAsking.ALWAYS, words_per_s=0.0))
    person.visit(app.address)
    person.say("Why is the sky blue?")
    person.await_question()
    person.box.focus()
    person.page.evaluate(TYPED, {"key": "™", "code": "Digit2", "altKey": True})
    expect(person.part("saved")).to_have_text("Saved: Reply 2 is better.")
