"""The Rank tab in a browser: write answers, order them by key, button and mouse, save, undo."""

from dataclasses import replace

import pytest
from playwright.sync_api import expect

from learner.engine.scripted import ScriptedAsking
from storage.records import PreferenceId
from storage.slates import Criterion, RankingState
from tests.e2e.conftest import demo
from tests.e2e.test_page import assert_fits, lesson
from tests.storage.builders import leave, write_adapter

pytestmark = [
    pytest.mark.pages,
    pytest.mark.browser,
    # Gradio still sets an option that pandas 3 has deprecated.
    pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"),
]

SKY = "Why is the sky blue?"


@pytest.fixture
def site(serve):
    return serve(demo(ScriptedAsking.NEVER, words_per_s=0.0))


def open_rank(person, app):
    person.visit(app.address)
    person.settled()
    person.open_tab("Rank")
    expect(person.part("rank-intro")).to_be_visible()


def ask(person, text=SKY, answers=4):
    """Have answers written and wait until they can be ranked."""
    person.part("rank-count").get_by_role("radio", name=str(answers), exact=True).check(force=True)
    person.part("rank-text").get_by_role("textbox").fill(text)
    person.part("rank-write").click()
    expect(person.part("rank-prompt")).to_contain_text(text)
    expect(person.page.locator(".answer:visible")).to_have_count(answers)
    expect(person.part("rank-save")).to_be_visible()
    expect(left(person)).to_contain_text("Best first")
    person.page.evaluate("document.activeElement.blur()")


def left(person):
    return person.page.locator("#rank-desk .left")


def order(person):
    """The order as it is shown: groups of answers, best first."""
    groups = person.page.locator("#rank-desk .order > li")
    return [
        [int(name[7:]) for name in group.locator(".answer-name strong").all_inner_texts()]
        for group in groups.all()
    ]


def expect_order(person, *groups):
    """Wait for an order."""
    expect(person.page.locator("#rank-desk .order > li")).to_have_count(len(groups))
    for at, group in enumerate(groups):
        shown = person.page.locator("#rank-desk .order > li").nth(at).locator("strong")
        expect(shown).to_have_text([f"Answer {place}" for place in group])


def newest(app):
    return app.service.ranking.list()[0]


def test_answers_are_ranked_by_keys_alone_and_taken_back(site, person):
    open_rank(person, site)
    keyboard = person.page.keyboard
    keyboard.press("n")
    keyboard.type(SKY)
    keyboard.press("Enter")
    expect(left(person)).to_contain_text("Best first")
    person.page.evaluate("document.activeElement.blur()")
    for key in "3142":
        keyboard.press(key)
    expect_order(person, [3], [1], [4], [2])
    expect(left(person)).to_have_text("All in order.")
    keyboard.press("Backspace")
    keyboard.press("Backspace")
    keyboard.press("=")
    keyboard.press("r")
    expect_order(person, [3, 1], [2, 4])
    keyboard.press("3")  # it is placed already: the focus goes there, and arrows move it
    keyboard.press("ArrowDown")
    expect_order(person, [1], [3], [2, 4])
    keyboard.press("ArrowDown")
    expect_order(person, [1], [2, 4, 3])
    keyboard.press("ArrowDown")
    expect_order(person, [1], [2, 4], [3])
    keyboard.press("ArrowUp")
    keyboard.press("ArrowUp")
    expect_order(person, [1], [3], [2, 4])

    keyboard.press("c")
    keyboard.press("c")
    keyboard.press("c")
    expect(person.page.locator("#rank-desk [aria-checked=true]")).to_have_text("Harmlessness")
    expect(person.page.locator("#rank-desk .following")).to_be_visible()
    expect_order(person, [1], [3], [2, 4])
    for key in "2r":
        keyboard.press(key)
    expect_order(person, [2], [1, 3, 4])
    person.page.get_by_role("tab", name="Rank").focus()  # where a click on it leaves the focus
    keyboard.press("Enter")
    expect(person.part("rank-saved")).to_contain_text("Saved: 1, then 3, then 2 and 4.")
    expect(person.part("rank-slate")).to_be_hidden()
    saved = newest(site)
    assert saved.orders.overall == (1, 3, 2, 3)
    assert dict(saved.orders.criteria) == {Criterion.HARMLESSNESS: (2, 1, 2, 2)}
    keyboard.press("u")
    expect(person.part("rank-saved-row")).to_be_hidden()
    expect(person.part("rank-about")).to_contain_text("You took your order back")
    expect_order(person, [1], [3], [2, 4])  # as it was, to be given anew
    assert newest(site).state is RankingState.WITHDRAWN
    keyboard.press("1")
    keyboard.press("ArrowDown")
    keyboard.press("ArrowUp")
    expect(person.page.locator("#rank-desk .answer-name").first).to_be_focused()
    keyboard.press("Enter")
    expect(person.part("rank-saved")).to_contain_text("Saved")
    assert newest(site).orders == saved.orders
    site.feedback.verify_chain()


def test_enter_takes_an_answer_until_all_are_in_order_and_then_saves(site, person):
    open_rank(person, site)
    ask(person, answers=3)
    keyboard = person.page.keyboard
    person.part("take-2").focus()
    keyboard.press("Enter")  # as on any button
    expect_order(person, [2])
    person.page.get_by_role("button", name="Tie the rest").focus()
    keyboard.press("Enter")
    expect_order(person, [2], [1, 3])
    person.page.get_by_role("radio", name="Honesty").click()
    person.part("take-3").click()
    person.part("take-1").click()
    expect_order(person, [3], [1])
    keyboard.press("Enter")  # this one is in the order already
    expect(person.page.locator("#rank-desk .answer-name").last).to_be_focused()
    expect(person.part("rank-note")).to_be_hidden()
    person.part("take-2").click()
    keyboard.press("Enter")
    expect(person.part("rank-saved")).to_contain_text("Saved: 2, then 1 and 3.")
    assert dict(newest(site).orders.criteria) == {Criterion.HONESTY: (2, 3, 1)}


def test_answers_are_ranked_by_button_and_mouse_and_changed_later(site, person):
    open_rank(person, site)
    ask(person, answers=3)
    person.part("rank-save").click()
    expect(person.part("rank-note")).to_contain_text("Answers 1 and 2 and 3 are not in the order")
    person.part("take-2").click()
    person.part("take-1").click()
    expect_order(person, [2], [1])
    person.page.get_by_role("button", name="Tie the last two").click()
    person.part("take-3").click()
    expect_order(person, [2, 1], [3])
    person.page.get_by_role("button", name="Answer 3 up").click()
    expect_order(person, [2, 1, 3])
    person.page.get_by_role("button", name="Answer 1 down").click()
    expect_order(person, [2, 3], [1])
    rows = person.page.locator("#rank-desk .answer-row")
    rows.nth(2).drag_to(rows.nth(0), target_position={"x": 60, "y": 3})
    expect_order(person, [1], [2, 3])
    person.page.get_by_role("radio", name="Honesty").click()
    person.page.get_by_role("button", name="Answer 1 down").click()
    expect_order(person, [2, 3, 1])
    person.page.get_by_role("button", name="Same as overall").click()
    expect_order(person, [1], [2, 3])
    person.part("rank-save").click()
    expect(person.part("rank-saved")).to_contain_text("Saved: 1, then 2 and 3. It makes 3 pairs")
    assert newest(site).orders.overall == (1, 2, 2) and not newest(site).orders.criteria

    person.part("rank-change").click()
    expect_order(person, [1], [2, 3])
    person.page.get_by_role("button", name="Take answer 1 out").click()
    person.part("take-1").click()
    person.part("rank-save").click()
    expect(person.part("rank-saved")).to_contain_text("Saved: 2 and 3, then 1.")
    person.part("rankings-box").get_by_role("button").first.click()
    expect(person.part("rank-counts")).to_contain_text("1 ranking of 3 answers: 3 pairs")
    card = person.part("rankings").get_by_role("radio")
    expect(card).to_have_count(1)
    card.first.check(force=True)
    expect_order(person, [2, 3], [1])
    person.part("forget-ranking").click()
    expect(person.part("confirm-forget-ranking")).to_contain_text("No version was made since")
    person.part("forget-ranking-yes").click()
    expect(person.part("rank-failed")).to_contain_text("Forgotten")
    assert site.service.ranking.counts().ranked == 1
    with site.store.write() as db:
        assert db.table("forgotten_slates").count == 1


def test_a_message_is_deleted_with_its_answers_and_what_was_learned(site, person):
    open_rank(person, site)
    ask(person, answers=2)
    person.part("delete-slate").click()
    confirm = person.part("confirm-delete-slate")
    expect(confirm).to_contain_text("No version has learned from it")
    expect(person.part("delete-slate-all")).to_be_hidden()
    person.part("delete-slate-no").click()
    expect(confirm).to_be_hidden()
    person.part("delete-slate").click()
    person.part("delete-slate-only").click()
    expect(person.part("rank-failed")).to_have_text("Message and answers were deleted.")
    expect(person.part("rank-slate")).to_be_hidden()

    ask(person, answers=2)
    person.page.keyboard.press("r")
    person.part("rank-save").click()
    expect(person.part("rank-saved")).to_contain_text("Saved")
    untaught = replace(lesson(site, [1]), preference_ids=(), attempted_through=PreferenceId(0))
    leave(site.folder.rounds, untaught, write_adapter)
    expect(person.part("status")).to_contain_text("v1")
    person.part("rank-change").click()
    person.part("delete-slate").click()
    expect(confirm).to_contain_text("v1 learned from it")
    person.part("delete-slate-all").click()
    expect(person.part("rank-failed")).to_contain_text("deleted, with what v1 learned")
    assert site.policies.current().id == 0
    assert site.service.ranking.list() == []


def test_a_reload_keeps_the_slate_and_the_order_begun(site, person):
    open_rank(person, site)
    ask(person)
    person.page.keyboard.press("2")
    person.page.keyboard.press("4")
    expect_order(person, [2], [4])
    person.reload()
    person.settled()
    person.open_tab("Rank")
    expect_order(person, [2], [4])
    person.part("rank-skip").click()
    expect(person.part("rank-saved")).to_contain_text("Skipped. It teaches nothing.")
    person.reload()
    person.settled()
    person.open_tab("Rank")
    expect(person.part("rank-slate")).to_be_hidden()


def test_answers_to_a_message_of_the_chat_are_ranked(site, person):
    person.visit(site.address)
    person.converse(SKY)
    person.part("rank-more").click()
    expect(person.part("rank-prompt")).to_contain_text(SKY)
    expect(person.page.locator(".answer:visible")).to_have_count(4)
    expect(left(person)).to_contain_text("Best first")
    expect(person.part("delete-slate")).to_be_hidden()  # it goes with its chat
    assert person.replies.first.inner_text()[:20] in person.part("rank-answers").inner_text()
    person.page.keyboard.press("r")
    expect_order(person, [1, 2, 3, 4])


def test_a_message_that_cannot_be_sent_says_why(site, person):
    open_rank(person, site)
    person.part("rank-write").click()
    expect(person.part("rank-failed")).to_contain_text("this one is empty")
    expect(person.part("no-rankings")).to_be_hidden()
    person.part("rankings-box").get_by_role("button").first.click()
    expect(person.part("no-rankings")).to_contain_text("No rankings yet")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_rank_tab_fits_a_phone(site, new_person, scheme):
    person = new_person(360, 740, is_mobile=True, has_touch=True, color_scheme=scheme)
    open_rank(person, site)
    assert_fits(person.page)
    ask(person, "Repeat after me: " + "a_very_long_word_" * 20, 3)
    person.part("take-2").tap()
    person.page.get_by_role("button", name="Tie the rest").tap()
    expect_order(person, [2], [1, 3])
    assert_fits(person.page)
    for name in ("rank-save", "rank-skip", "take-1", "rank-write", "delete-slate"):
        assert person.part(name).bounding_box()["height"] >= 44
    assert person.errors == []
