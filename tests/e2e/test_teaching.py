"""Everything a person can say about a reply, in a real browser against the scripted model."""

import re

import pytest
from playwright.sync_api import expect

from learner.engine.scripted import ScriptedAsking
from storage.records import AskReason, Choice, FinishReason, Label, Thumb
from tests.chat_app.makers import HeldReplyMaker
from tests.e2e.conftest import demo
from tests.e2e.page import until
from tests.e2e.test_page import assert_fits, lesson
from tests.storage.builders import leave, write_adapter

pytestmark = [
    pytest.mark.pages,
    pytest.mark.browser,
    # Gradio still sets an option that pandas 3 has deprecated.
    pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"),
]


def test_a_reply_is_chosen_while_both_are_written_and_the_other_one_stops(serve, person):
    app = serve(replies := HeldReplyMaker(ScriptedAsking.ALWAYS))
    person.visit(app.address)
    person.say("Count to 200")
    for number in (1, 2):
        expect(person.part(f"reply-{number}")).to_contain_text("1")
        expect(person.part(f"choose-{number}")).to_be_enabled()
    for later in ("choose-tie", "choose-both-bad", "write"):
        expect(person.part(later)).to_be_disabled()
    person.part("choose-2").click()
    replies.allow(5)
    expect(person.part("pair")).to_be_hidden()
    expect(person.part("stop")).to_be_visible()  # the chosen one runs on
    expect(person.part("saved-row")).to_be_hidden()
    replies.go.set()
    reply = person.await_reply(1)
    assert len(reply.split()) == 200
    expect(person.part("saved-row")).to_be_visible()
    app.service.drain()
    counts = app.feedback.counts()
    assert (counts.asked, counts.replies) == (1, 1)
    [pick] = app.feedback.preferences()
    assert pick.choice is Choice.SECOND and pick.decision_ms > 0
    assert pick.chosen.completion.text == reply
    assert pick.rejected.completion.finish_reason is FinishReason.ABORTED
    assert 0 < len(pick.rejected.completion.text.split()) < 200


def test_a_key_chooses_early_too_and_another_skips(serve, person):
    app = serve(replies := HeldReplyMaker(ScriptedAsking.ALWAYS))
    person.visit(app.address)
    person.say("Count to 200")
    expect(person.part("reply-1")).to_contain_text("1")
    person.press("1")
    replies.allow(5)
    expect(person.part("pair")).to_be_hidden()
    replies.go.set()
    person.await_reply(1)
    replies.go.clear()
    person.say("Count to 100")
    expect(person.part("reply-1")).to_contain_text("1")
    person.press("s")
    replies.allow(5)
    expect(person.part("pair")).to_be_hidden()
    replies.go.set()
    person.await_reply(2)
    app.service.drain()
    assert [one.choice for one in app.feedback.preferences()] == [Choice.FIRST]
    assert app.feedback.counts().asked == 1


def test_a_better_reply_is_written_and_goes_on(app, person):
    person.visit(app.address)
    person.say("Why is the sky blue?")
    person.await_question()
    person.press("e")
    box = person.part("better-text").get_by_role("textbox")
    expect(box).to_be_focused()
    assert (
        box.input_value().split()
        == app.feedback.open_question(
            app.service.conversation(person.key()).id
        ).first.completion.text.split()
    )
    person.part("start-from").get_by_label("Empty").check()
    expect(box).to_have_value("")
    box.fill("Air scatters blue light.")
    expect(person.part("better-diff")).to_contain_text("Air scatters blue light.")
    box.press_sequentially(" 1")  # keys are letters in a text box
    expect(person.part("pair")).to_be_visible()
    person.part("save-better").click()
    assert person.await_reply(1) == "Air scatters blue light. 1"
    expect(person.part("saved")).to_have_text("Saved: you wrote a better one.")
    expect(person.part("mark")).to_have_text("written by you")
    app.service.drain()
    chat = app.service.conversation(person.key())
    made = [p for p in app.feedback.preferences() if p.comparison.conversation_id == chat.id]
    assert [p.comparison.question.reason for p in made if p.chosen] == [AskReason.WRITTEN] * 2


def test_thumbs_stay_after_a_reload_and_the_same_one_again_clears(serve, person):
    app = serve(demo(ScriptedAsking.NEVER))
    person.visit(app.address)
    person.say("Count to 3")
    person.await_reply(1)
    bar = person.part("transcript")
    bar.get_by_role("button", name="Like", exact=True).click()
    expect(bar.get_by_role("button", name="Liked")).to_be_visible()
    person.key()
    person.reload()
    expect(bar.get_by_role("button", name="Liked")).to_be_visible()
    expect(bar.get_by_role("button", name="Liked")).to_have_attribute("aria-pressed", "true")
    reply = app.service.view(app.service.conversation(person.key()).id).turns[-1]
    assert app.service.view(reply.conversation_id).thumbs == {reply.id: Thumb.UP}
    bar.get_by_role("button", name="Liked").click()
    expect(bar.get_by_role("button", name="Like", exact=True)).to_be_visible()
    person.reload()
    expect(bar.get_by_role("button", name="Like", exact=True)).to_be_visible()
    assert app.service.view(reply.conversation_id).thumbs == {}


def test_reasons_are_kept_and_shown_again(app, person):
    person.visit(app.address)
    person.say("Why is the sky blue?")
    person.await_question()
    person.press("2")
    more = person.part("why-better")
    more.get_by_role("button", name="Say how much better").click()
    more.get_by_label("Clearly better").check()
    more.get_by_label("Right length").check()
    more.get_by_label("Wrong facts").check()
    more.get_by_label("Anything else").fill("reads well")
    person.part("save-reasons").click()
    person.key()
    until(lambda: app.service.view(app.service.conversation(person.key()).id).note.comment)
    person.reload()
    more.get_by_role("button", name="Say how much better").click()
    expect(more.get_by_label("Clearly better")).to_be_checked()
    expect(more.get_by_label("Right length")).to_be_checked()
    expect(more.get_by_label("Wrong facts")).to_be_checked()
    expect(more.get_by_label("Too long")).not_to_be_checked()
    expect(more.get_by_label("Anything else")).to_have_value("reads well")


def begin_reasons(person, comment):
    """Unfold the reasons of the last choice and fill some in; returns the fold."""
    more = person.part("why-better")
    more.get_by_role("button", name="Say how much better").click()
    more.get_by_label("Too long").check()
    more.get_by_label("Anything else").fill(comment)
    return more


def test_reasons_of_one_choice_are_not_those_of_the_next(serve, person):
    app = serve(replies := HeldReplyMaker(ScriptedAsking.ALWAYS))
    replies.go.set()
    person.visit(app.address)
    person.say("Count to 5")
    person.await_question()
    person.press("1")
    more = begin_reasons(person, "of the first")
    person.part("save-reasons").click()
    until(lambda: app.service.view(app.service.conversation(person.key()).id).note.comment)
    replies.go.clear()
    person.say("Count to 200")
    expect(person.part("reply-1")).to_contain_text("1")
    person.press("2")
    replies.go.set()
    person.await_reply(2)
    expect(person.part("saved-row")).to_be_visible()
    if not more.get_by_label("Anything else").is_visible():
        more.get_by_role("button", name="Say how much better").click()
    expect(more.get_by_label("Anything else")).to_have_value("")
    expect(more.get_by_label("Too long")).not_to_be_checked()


def test_a_thumb_a_name_and_a_switch_leave_reasons_that_are_not_saved_yet(app, person):
    person.visit(app.address)
    person.say("Why is the sky blue?")
    person.await_question()
    person.press("2")
    more = begin_reasons(person, "half a thought")
    person.part("transcript").get_by_role("button", name="Like", exact=True).click()
    expect(person.part("transcript").get_by_role("button", name="Liked")).to_be_visible()
    person.page.get_by_label("Learn from this chat").uncheck()
    expect(person.part("receipt")).to_contain_text("not learned from")
    person.part("rename").click()
    person.part("chat-name").get_by_role("textbox").fill("Colours")
    person.part("chat-name").get_by_role("textbox").press("Enter")
    expect(person.part("conversations")).to_contain_text("Colours")
    expect(person.part("rename-row")).to_be_hidden()
    expect(more.get_by_label("Too long")).to_be_checked()
    expect(more.get_by_label("Anything else")).to_have_value("half a thought")


def test_labels_of_a_reply_stay_after_a_reload_and_the_same_box_takes_back(serve, person):
    app = serve(demo(ScriptedAsking.NEVER))
    person.visit(app.address)
    person.converse("Count to 3")
    fold = person.part("labels")
    fold.get_by_role("button", name="Mark what is wrong").press("Enter")
    unsafe = fold.get_by_label("Unsafe")
    unsafe.focus()
    person.page.keyboard.press("Space")
    fold.get_by_label("Wrong facts").check()
    expect(fold.get_by_role("button", name="Marked: Unsafe, Wrong facts")).to_be_visible()
    person.key()
    chat = app.service.conversation(person.key()).id
    first = app.service.view(chat).turns[-1]
    assert app.service.view(chat).labels == {first.id: (Label.UNSAFE, Label.WRONG_FACTS)}
    person.reload()
    fold.get_by_role("button", name="Marked: Unsafe, Wrong facts").click()
    expect(unsafe).to_be_checked()
    expect(fold.get_by_label("Private data")).not_to_be_checked()
    unsafe.uncheck()
    expect(fold.get_by_role("button", name="Marked: Wrong facts")).to_be_visible()
    person.converse("Count to 4")  # the next reply is another one; the first can still be marked
    expect(fold.get_by_role("button", name="Mark what is wrong")).to_be_visible()
    expect(fold.get_by_label("Wrong facts")).not_to_be_checked()
    person.part("labels-which").get_by_role("combobox").click()
    person.page.get_by_role("option", name="1. ").click()
    expect(fold.get_by_label("Wrong facts")).to_be_checked()
    fold.get_by_label("Wrong facts").uncheck()
    fold.get_by_label("Off topic").check()
    until(lambda: app.service.view(chat).labels == {first.id: (Label.OFF_TOPIC,)})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_labels_fit_a_phone(serve, new_person, scheme):
    app = serve(demo(ScriptedAsking.NEVER))
    person = new_person(360, 740, is_mobile=True, has_touch=True, color_scheme=scheme)
    person.visit(app.address)
    person.converse("Count to 3")
    fold = person.part("labels")
    button = fold.get_by_role("button", name="Mark what is wrong")
    assert button.bounding_box()["height"] >= 44
    button.tap()
    boxes = person.part("labels-marks").locator("label:has(input)")
    expect(boxes).to_have_count(len(Label))
    assert min(box.bounding_box()["height"] for box in boxes.all()) >= 44
    boxes.first.tap()
    expect(fold.get_by_role("button", name="Marked: Unsafe")).to_be_visible()
    assert_fits(person.page)


def test_an_answer_can_be_changed_and_the_other_reply_goes_on(app, person):
    person.visit(app.address)
    person.say("Why is the sky blue?")
    first, second = person.await_question()
    person.press("1")
    assert person.await_reply(1) == first
    person.part("change").click()
    expect(person.part("pair-title")).to_contain_text("prefer now")
    person.part("keep-answer").click()
    expect(person.part("pair")).to_be_hidden()
    person.part("change").click()
    expect(person.part("pair-title")).to_contain_text("prefer now")
    person.press("2")
    expect(person.replies).to_have_text(second)
    expect(person.part("saved")).to_have_text("Saved: Reply 2 is better.")
    assert app.choices(person.key()) == [Choice.SECOND]


def test_the_receipt_follows_the_lesson_by_itself(serve, person):
    app = serve(demo(ScriptedAsking.ALWAYS))
    person.visit(app.address)
    person.say("Why is the sky blue?")
    person.await_question()
    person.press("1")
    expect(person.part("receipt")).to_contain_text("It is in the queue")
    [pick] = app.feedback.preferences()
    leave(app.folder.rounds, lesson(app, [pick.id]), write_adapter)
    expect(person.part("receipt")).to_have_text("Learned in version 1, live.")
    expect(person.part("status")).to_contain_text("v1")
    app.service.roll_back(0)
    expect(person.part("receipt")).to_contain_text("not live now")


def test_a_message_edited_in_the_transcript_is_a_branch(serve, person):
    app = serve(demo(ScriptedAsking.NEVER))
    person.visit(app.address)
    person.say("Is <b> bold?")
    person.await_reply(1)
    person.say("Count to 4")
    person.await_reply(2)
    edit_in_place(person, 0, "Is <b> bold?", "Count to 5")
    expect(person.said).to_have_text(["Count to 5"])
    person.await_reply(1)
    expect(person.part("branch-place")).to_have_text("Branch 2 of 2")
    person.page.get_by_role("button", name="Previous branch").click()
    expect(person.said).to_have_text(["Is <b> bold?", "Count to 4"])
    person.page.get_by_role("button", name="Next branch").click()
    expect(person.said).to_have_text(["Count to 5"])


def test_a_reply_edited_in_the_transcript_is_the_better_one(serve, person):
    app = serve(demo(ScriptedAsking.NEVER))
    person.visit(app.address)
    person.say("Count to 3")
    text = person.await_reply(1)
    edit_in_place(person, 1, text, "1, 2 and 3.")
    expect(person.replies).to_have_text("1, 2 and 3.")
    expect(person.part("saved")).to_have_text("Saved: you made this reply better.")
    expect(person.part("reply-place")).to_have_text("Reply 2 of 2")
    app.service.drain()
    [pair] = app.feedback.preferences()
    assert (pair.chosen.completion.text, pair.rejected.completion.text) == ("1, 2 and 3.", text)


def test_retries_are_paged_by_button_and_arrow(serve, person):
    app = serve(demo(ScriptedAsking.NEVER))
    person.visit(app.address)
    person.say("Why is the sky blue?")
    one = person.await_reply(1)
    person.part("transcript").get_by_role("button", name="Retry").click()
    expect(person.part("reply-place")).to_have_text("Reply 2 of 2")
    two = person.await_reply(1)
    person.press("ArrowLeft")
    expect(person.replies).to_have_text(one)
    expect(person.part("reply-before")).to_be_disabled()
    person.page.get_by_role("button", name="Next reply").click()
    expect(person.replies).to_have_text(two)
    person.box.fill("ab")
    person.box.press("ArrowLeft")  # moves in the text and nowhere else
    expect(person.replies).to_have_text(two)


def edit_in_place(person, place, before, after):
    """Press the pencil of the message at ``place``, as a person would."""
    pencils = person.part("transcript").get_by_role("button", name="Edit")
    pencils.nth(place).click()
    box = person.part("transcript").get_by_role("textbox")
    expect(box).to_have_value(before)
    box.fill(after)
    person.part("transcript").get_by_role("button", name="Submit").click()


def test_a_stopped_reply_goes_on_where_it_was(serve, person):
    app = serve(replies := HeldReplyMaker())
    person.visit(app.address)
    person.say("Count to 120")
    expect(person.replies).to_contain_text(re.compile(r"\d+\W+\d+\W+\d+"))
    person.press("Escape")
    person.await_calm()
    expect(person.part("problem")).to_contain_text("stopped before its end")
    person.part("continue").click()
    expect(person.part("stop")).to_be_visible()
    replies.go.set()
    assert len(person.await_reply(1).split()) == 120
    expect(person.part("problem-row")).to_be_hidden()
    expect(person.part("reply-place")).to_have_text("Reply 2 of 2")
