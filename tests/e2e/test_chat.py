"""A person chats, picks, reloads and comes back, in a real browser against the scripted model."""

import re
import time

import pytest
from playwright.sync_api import expect

from storage.records import Choice, TurnState
from tests.chat_app.makers import HeldReplyMaker
from tests.e2e.conftest import demo
from tests.e2e.page import serving

pytestmark = [
    pytest.mark.browser,
    # Gradio still sets an option that pandas 3 has deprecated.
    pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"),
]

SOME_NUMBERS = re.compile(r"\d+\W+\d+\W+\d+")


def test_three_turns_with_a_pick_by_key_and_one_by_button(app, person):
    person.visit(app.address)
    person.say("Why is the sky blue?")
    first, _ = person.await_question()
    expect(person.part("why")).to_contain_text("My judges disagree by ±")
    expect(person.part("pair")).not_to_contain_text("%")
    person.press("1")
    assert person.await_reply(1) == first
    expect(person.part("saved")).to_have_text("Saved: Reply 1 is better.")

    person.say("What did I say first?")
    assert "Why is the sky blue?" in person.await_reply(2)

    person.say("Give me three ideas for a rainy Sunday.")
    _, second = person.await_question()
    person.part("choose-2").click()
    assert person.await_reply(3) == second

    chat = app.service.conversation(person.key())
    assert [len(turn.message.content) > 0 for turn in app.conversations.path(chat.id)] == [True] * 6
    assert app.choices(person.key()) == [Choice.FIRST, Choice.SECOND]


def test_a_digit_in_the_message_box_is_a_digit(app, person):
    person.visit(app.address)
    person.say("Why is the sky blue?")
    person.await_question()
    person.box.press_sequentially("12")
    expect(person.box).to_have_value("12")
    expect(person.part("pair")).to_be_visible()
    person.box.press("Alt+2")
    expect(person.part("saved")).to_have_text("Saved: Reply 2 is better.")
    expect(person.box).to_have_value("12")


@pytest.mark.parametrize(
    ("key", "saved"),
    [
        ("0", "Saved: About the same."),
        pytest.param("9", "Saved: Both are bad.", marks=pytest.mark.pages),
        ("s", "Skipped."),
        pytest.param("2", "Saved: Reply 2 is better.", marks=pytest.mark.pages),
    ],
)
def test_every_answer_has_a_key(app, person, key, saved):
    person.visit(app.address)
    person.say("Why is the sky blue?")
    person.await_question()
    person.press(key)
    expect(person.part("saved")).to_have_text(saved)
    expect(person.replies).to_have_count(1)


def test_what_an_answer_does_is_one_click_away(app, person):
    person.visit(app.address)
    person.say("Why is the sky blue?")
    person.await_question()
    told = person.part("answers-help").get_by_text("It teaches nothing, neither way.")
    expect(told).to_be_hidden()
    person.page.get_by_role("button", name="What happens with my answer?").click()
    expect(told).to_be_visible()
    assert app.choices(person.key()) == []


def test_undo_takes_a_choice_back(app, person):
    person.visit(app.address)
    person.say("Why is the sky blue?")
    person.await_question()
    person.press("1")
    expect(person.part("undo")).to_be_visible()
    person.press("u")
    expect(person.part("saved")).to_contain_text("Taken back")
    expect(person.part("undo")).to_be_hidden()
    expect(person.replies).to_have_count(1)
    assert app.choices(person.key()) == []


def test_typing_on_skips_the_question(app, person):
    person.visit(app.address)
    person.say("Why is the sky blue?")
    first, _ = person.await_question()
    person.say("Count to 3")
    expect(person.part("pair")).to_be_hidden()
    person.await_reply(2)
    assert person.replies.first.inner_text() == first
    assert app.choices(person.key()) == [Choice.SKIP]


def test_a_reload_in_the_middle_of_a_reply_finds_it_going_on(serve, person):
    app = serve(replies := HeldReplyMaker())
    person.visit(app.address)
    person.say("Count to 120")
    expect(person.replies).to_contain_text(SOME_NUMBERS)
    person.reload()
    expect(person.part("stop")).to_be_visible()
    replies.go.set()
    reply = person.await_reply(1)
    assert len(reply.split()) == 120
    expect(person.said).to_have_count(1)


def test_a_reload_and_a_restart_bring_the_open_question_back(tmp_path, person):
    with serving(tmp_path / "data", demo()) as app:
        person.visit(app.address)
        person.say("Why is the sky blue?")
        pair = person.await_question()
        person.reload()
        assert person.await_question() == pair
        port = int(app.address.rpartition(":")[2])
    with serving(tmp_path / "data", demo(), port=port) as app:
        person.reload()
        assert person.await_question() == pair
        person.part("choose-2").click()
        assert person.await_reply(1) == pair[1]
        assert app.choices(person.key()) == [Choice.SECOND]
        person.leave()
    person.errors.clear()  # the browser says that the server was away, and it was


def test_stop_by_key_keeps_the_text_and_retry_writes_another(serve, person):
    app = serve(HeldReplyMaker())
    person.visit(app.address)
    person.say("Count to 500")
    expect(person.replies).to_contain_text(SOME_NUMBERS)
    person.press("Escape")
    person.await_calm()
    expect(person.part("problem")).to_contain_text("stopped before its end")
    expect(person.part("mark")).to_have_text("stopped here")
    chat = app.service.conversation(person.key())
    assert app.conversations.path(chat.id)[-1].state is TurnState.ABORTED
    person.part("retry").click()
    person.part("stop").click()
    person.await_calm()
    assert len(app.conversations.path(chat.id)) <= 2


def test_a_message_left_without_a_reply_can_be_retried(app, person):
    chat = app.conversations.start()
    app.conversations.say(chat.id, "Count to 3")  # the server died here
    person.visit(f"{app.address}/?c={chat.key}")
    expect(person.part("problem")).to_have_text("This reply was interrupted.")
    person.part("retry").click()
    person.await_question()


def test_two_pages_on_one_chat_end_with_one_answer(app, person, new_person):
    # This page hears nothing of the other one, as in the second before it would.
    calm = {"server": False, "list": False, "status": False, "chat": False}
    person.page.route("**/changes*", lambda route: route.fulfill(json=calm))
    person.visit(app.address)
    person.say("Why is the sky blue?")
    person.await_question()
    other = new_person()
    other.visit(f"{app.address}/?c={person.key()}")
    other.await_question()
    other.press("1")
    expect(other.part("saved")).to_have_text("Saved: Reply 1 is better.")
    person.press("2")
    expect(person.part("note")).to_contain_text("answered before (Reply 1 is better)")
    expect(person.part("pair")).to_be_hidden()
    assert app.choices(person.key()) == [Choice.FIRST]


def test_a_message_is_kept_while_another_page_gets_a_reply(serve, person, new_person):
    app = serve(HeldReplyMaker())
    person.visit(app.address)
    person.say("Count to 3")
    person.await_reply(1)
    other = new_person()
    other.visit(f"{app.address}/?c={person.key()}")
    other.say("Count to 60")
    expect(other.part("stop")).to_be_visible()
    person.say("me too")
    expect(person.part("note")).to_contain_text("still being written")
    expect(person.box).to_have_value("me too")
    expect(person.part("stop")).to_be_visible()  # and now this page follows it as well


def test_conversations_are_listed_and_opened(app, person):
    person.visit(app.address)
    person.say("Count to 3")
    person.await_question()
    first = person.key()
    person.part("new-chat").click()
    expect(person.said).to_have_count(0)
    expect(person.part("pair")).to_be_hidden()
    expect(person.page).to_have_url(f"{app.address}/")
    person.say("Count to 4")
    person.await_question()
    person.part("conversations").get_by_text("Count to 3").first.click()
    expect(person.said).to_have_text("Count to 3")
    expect(person.part("pair")).to_be_visible()
    expect(person.page).to_have_url(f"{app.address}/?c={first}")


def test_leaving_a_chat_leaves_its_reply_going_on_and_the_page_alone(serve, person):
    app = serve(replies := HeldReplyMaker())
    person.visit(app.address)
    person.say("Count to 100")
    expect(person.replies).to_contain_text(SOME_NUMBERS)
    person.part("new-chat").click()
    expect(person.replies).to_have_count(0)
    replies.go.set()
    app.service.drain()
    person.page.wait_for_timeout(300)
    expect(person.replies).to_have_count(0)
    person.part("conversations").get_by_text("Count to 100").click()
    assert len(person.await_reply(1).split()) == 100


def test_an_address_of_a_chat_that_is_not_here_says_so(app, person):
    person.visit(f"{app.address}/?c=nobody")
    expect(person.part("note")).to_contain_text("not on this computer")
    person.say("Count to 3")
    person.await_question()


def test_what_cannot_be_sent_is_explained_and_kept(app, person):
    before = app.conversations.list()
    person.visit(app.address)
    person.say("   ")
    expect(person.part("note")).to_contain_text("empty")
    person.say("x" * 100_000)
    expect(person.part("note")).to_contain_text("100,000 characters; at most 8,000 fit")
    expect(person.box).to_have_value("x" * 100_000)
    assert app.conversations.list() == before
    person.say("Count to 3")
    person.await_question()
    expect(person.part("note")).to_be_hidden()


def test_nothing_is_lost_that_is_sent_or_typed_while_a_message_is_on_its_way(
    app, person, monkeypatch
):
    check, known = app.service.check, len(app.conversations.list())

    def slowly(text):
        time.sleep(0.7)
        return check(text)

    monkeypatch.setattr(app.service, "check", slowly)
    person.visit(app.address)
    person.say("   ")
    person.say("Count to 3")  # the answer to the blanks is still to come
    person.box.press_sequentially("and then")
    person.await_question()
    expect(person.said).to_have_text("Count to 3")
    expect(person.box).to_have_value("and then")
    expect(person.part("note")).to_be_hidden()
    person.box.fill("Count to 4")
    person.box.press("Enter")
    person.box.press("Enter")
    expect(person.said).to_have_count(2)
    person.await_reply(2)
    expect(person.said).to_have_text(["Count to 3", "Count to 4"])
    expect(person.part("note")).to_be_hidden()
    assert len(app.conversations.list()) == known + 1


def test_an_example_starts_a_chat(app, person):
    person.visit(app.address)
    person.part("transcript").get_by_text("Why is the sky blue?").click()
    person.await_question()
    expect(person.said).to_have_text("Why is the sky blue?")
