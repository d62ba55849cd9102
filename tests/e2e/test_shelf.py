"""The list, the bar above a chat, two pages at once, keys and bad moments, in a real browser."""

import pytest
from playwright.sync_api import expect

from learner.engine.scripted import ScriptedAsking
from storage.records import Choice
from tests.chat_app.makers import HeldReplyMaker
from tests.e2e.conftest import demo
from tests.e2e.page import serving, until

pytestmark = [
    pytest.mark.pages,
    pytest.mark.browser,
    # Gradio still sets an option that pandas 3 has deprecated.
    pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"),
]


def test_chats_are_found_named_and_deleted_with_their_choices(serve, person):
    app = serve(demo(ScriptedAsking.ALWAYS))
    person.visit(app.address)
    person.say("Why is the sky blue?")
    person.await_question()
    person.press("1")
    person.await_reply(1)
    person.part("rename").click()
    name = person.part("chat-name").get_by_role("textbox")
    expect(name).to_be_focused()
    name.fill("Colours of the air")
    name.press("Enter")
    chats = person.part("conversations")
    expect(chats).to_contain_text("Colours of the air")
    person.part("new-chat").click()
    person.say("Three ideas for a rainy day")
    person.await_question()
    person.box.press("Control+k")
    search = person.part("search").get_by_role("textbox")
    expect(search).to_be_focused()
    search.fill("sky blue")
    expect(chats.get_by_role("radio")).to_have_count(1)
    search.fill("pelican")
    expect(person.part("no-chats")).to_have_text("No chat has all of these words.")
    search.fill("")
    expect(chats.get_by_role("radio")).to_have_count(2)
    chats.get_by_text("Colours of the air").click()
    expect(person.said).to_have_text("Why is the sky blue?")
    person.part("delete").click()
    expect(person.part("deletion")).to_contain_text("1 message and 1 choice go for good")
    expect(person.part("keep-chat")).to_be_focused()
    person.part("keep-chat").click()
    expect(person.part("delete-row")).to_be_hidden()
    person.part("delete").click()
    person.part("confirm-delete").click()
    expect(person.part("note")).to_contain_text("deleted")
    expect(person.said).to_have_count(0)
    expect(chats).not_to_contain_text("Colours of the air")
    assert app.feedback.preferences() == []


def test_a_temporary_chat_is_gone_when_it_is_left(serve, person):
    app = serve(demo(ScriptedAsking.ALWAYS))
    person.visit(app.address)
    person.part("temporary").get_by_role("checkbox").check()
    expect(person.part("learn")).to_be_hidden()
    person.say("Why is the sky blue?")
    person.await_reply(1)
    expect(person.part("about-chat")).to_contain_text("erased as soon as you leave it")
    assert "?c=" not in person.page.url
    assert app.service.shelf.list() == []
    [key] = [row["key"] for row in app.store.read().query("SELECT key FROM conversations")]
    assert app.conversations.by_key(key) is not None
    person.part("new-chat").click()
    expect(person.said).to_have_count(0)
    assert app.conversations.by_key(key) is None


def test_a_temporary_chat_is_gone_when_its_page_is(serve, new_person):
    app = serve(demo(ScriptedAsking.NEVER))
    person = new_person()
    person.visit(app.address)
    person.part("temporary").get_by_role("checkbox").check()
    person.say("Count to 3")
    person.await_reply(1)
    [key] = [row["key"] for row in app.store.read().query("SELECT key FROM conversations")]
    person.page.close()
    until(lambda: app.conversations.by_key(key) is None)


def test_a_chat_is_not_learned_from_where_the_person_says_so(serve, person):
    app = serve(demo(ScriptedAsking.ALWAYS))
    person.visit(app.address)
    person.part("learn").get_by_role("checkbox").uncheck()
    person.say("Why is the sky blue?")
    person.await_reply(1)  # without a question, whose answer would teach nothing
    expect(person.part("about-chat")).to_contain_text("will not be learned from")
    chat = app.service.conversation(person.key())
    assert not chat.learn
    person.part("learn").get_by_role("checkbox").check()
    expect(person.part("about-chat")).to_be_hidden()
    person.say("Three ideas for a rainy day")
    person.await_question()
    assert app.service.conversation(person.key()).learn


def test_instructions_hold_for_the_whole_chat(serve, person):
    app = serve(demo(ScriptedAsking.ALWAYS))
    person.visit(app.address)
    panel = person.part("instructions")
    panel.get_by_role("button", name="Instructions").click()
    panel.get_by_label("Short").check()
    text = person.part("instructions-text").get_by_role("textbox")
    expect(text).to_have_value(
        "Answer in one to three sentences. Leave out greetings and closing remarks."
    )
    text.fill("Be brief.")
    person.say("Why is the sky blue?")
    person.await_question()
    chat = app.service.conversation(person.key())
    assert app.service.view(chat.id).question.prompt[0].content == "Be brief."
    expect(person.said).to_have_count(1)
    expect(text).to_be_disabled()
    person.part("reuse-instructions").click()
    expect(text).to_be_enabled()
    expect(text).to_have_value("Be brief.")
    expect(person.said).to_have_count(0)


def test_two_pages_on_one_chat_see_each_other(serve, person, new_person):
    app = serve(demo(ScriptedAsking.ALTERNATING, words_per_s=60.0))
    person.visit(app.address)
    person.say("Why is the sky blue?")
    pair = person.await_question()
    other = new_person()
    other.visit(f"{app.address}/?c={person.key()}")
    assert other.await_question() == pair
    other.box.fill("half a thought")
    person.press("2")
    expect(other.part("pair")).to_be_hidden()
    expect(other.replies).to_have_text(pair[1])
    expect(other.box).to_have_value("half a thought")
    person.say("Count to 80")
    expect(other.part("stop")).to_be_visible()  # it follows while the reply is written
    expect(other.replies).to_have_count(2)
    other.await_calm()
    assert other.replies.last.inner_text() == person.await_reply(2)
    person.part("rename").click()
    person.part("chat-name").get_by_role("textbox").fill("Renamed")
    person.part("save-name").click()
    expect(other.part("conversations")).to_contain_text("Renamed")
    assert other.errors == []


def test_two_people_write_at_once_and_each_gets_their_own(serve, person, new_person):
    app = serve(replies := HeldReplyMaker())
    other = new_person()
    person.visit(app.address)
    other.visit(app.address)
    person.say("Count to 60")
    expect(person.part("stop")).to_be_visible()
    other.say("Repeat after me: mine alone")
    expect(other.part("stage")).to_contain_text("Waiting for another reply")
    replies.go.set()
    assert len(person.await_reply(1).split()) == 60
    assert "mine alone" in other.await_reply(1)
    expect(person.said).to_have_text(["Count to 60"])
    expect(other.said).to_have_text(["Repeat after me: mine alone"])
    assert person.key() != other.key()


def test_an_idle_page_asks_for_nothing_but_a_line_from_memory(serve, person, monkeypatch):
    app = serve(demo(ScriptedAsking.NEVER))
    person.visit(app.address)
    person.say("Count to 3")
    person.await_reply(1)
    person.page.wait_for_timeout(7000)  # until it listens no more for what may be left
    asked = []
    person.page.on("request", lambda request: asked.append(request.url))
    monkeypatch.setattr(app.store, "read", None)  # whoever asks the database fails
    person.page.wait_for_timeout(4000)
    monkeypatch.undo()
    assert 1 <= len(asked) <= 5 and all("/changes?" in url for url in asked)


def test_keys_are_listed_and_can_be_switched_off(app, person):
    person.visit(app.address)
    person.say("Why is the sky blue?")
    person.await_question()
    person.box.press("Control+/")
    dialog = person.page.get_by_role("dialog", name="Keys")
    expect(dialog).to_contain_text("both are bad")
    dialog.get_by_role("checkbox").uncheck()
    person.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    person.press("1")
    person.page.wait_for_timeout(300)
    expect(person.part("pair")).to_be_visible()
    person.part("open-keys").click()
    dialog.get_by_role("checkbox").check()
    dialog.get_by_role("button", name="Close").click()
    person.press("1")
    expect(person.part("saved")).to_have_text("Saved: Reply 1 is better.")


def test_a_whole_pick_by_keyboard_alone(app, person):
    person.visit(app.address)
    page = person.page
    expect(person.box).to_be_focused()
    page.keyboard.type("Why is the sky blue?")
    page.keyboard.press("Enter")
    person.await_question()
    expect(person.part("voice")).to_have_text("Two replies are ready. Press 1 or 2.")
    page.keyboard.press("Escape")  # leaves the box
    page.keyboard.press("2")
    expect(person.part("saved")).to_have_text("Saved: Reply 2 is better.")
    expect(person.part("voice")).to_have_text("")
    page.keyboard.press("u")
    expect(person.part("saved")).to_have_text("Taken back.")
    page.keyboard.press("Control+Shift+O")
    expect(person.said).to_have_count(0)
    expect(person.box).to_be_focused()


def test_the_question_gets_the_focus_of_one_who_does_nothing_else(serve, person):
    app = serve(demo(ScriptedAsking.ALWAYS, words_per_s=40.0))
    person.visit(app.address)
    person.say("Count to 20")
    person.box.blur()
    person.await_question()
    expect(person.page.get_by_role("heading", name="Which reply do you prefer?")).to_be_focused()
    person.part("new-chat").click()
    person.say("Count to 20")
    person.box.press_sequentially("and now")
    person.await_question()
    expect(person.box).to_be_focused()


def test_a_page_says_that_the_server_is_away_and_goes_on_when_it_is_back(tmp_path, person):
    with serving(tmp_path / "data", demo()) as app:
        person.visit(app.address)
        person.say("Why is the sky blue?")
        pair = person.await_question()
        port = int(app.address.rpartition(":")[2])
    banner = person.part("offline")
    expect(banner).to_contain_text("Your text is kept")
    expect(banner).to_be_visible()
    person.box.fill("half a thought")
    with serving(tmp_path / "data", demo(), port=port) as app:
        expect(banner).to_be_hidden()
        assert person.await_question() == pair
        expect(person.box).to_have_value("half a thought")
        person.press("1")
        expect(person.part("saved")).to_have_text("Saved: Reply 1 is better.")
        assert app.choices(person.key()) == [Choice.FIRST]
        person.leave()
    person.errors.clear()  # the browser says that the server was away, and it was
