"""What a reply says while it is written can be lost between Gradio's queue and the page."""

import gradio as gr
import httpx
import pytest
from playwright.sync_api import Route, expect

from chat_app.revisions import with_key
from chat_app.ui_pair import PairPanel
from learner.engine.scripted import ScriptedAsking
from learner.protocols import Draft, Stage
from tests.e2e.conftest import demo

pytestmark = [
    pytest.mark.browser,
    # Gradio still sets an option that pandas 3 has deprecated.
    pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"),
]

CLOSED = 'data: {"msg": "close_stream", "event_id": null}\n\n'
"""What Gradio's server says when, to its knowledge, nothing is outstanding."""


def closed(route: Route) -> None:
    route.fulfill(content_type="text/event-stream", body=CLOSED)


def test_a_pair_whose_stream_is_lost_can_be_answered(app, person):
    person.visit(app.address)
    person.page.route("**/queue/data*", closed)
    person.say("Why is the sky blue?")
    person.await_question()
    person.press("2")
    expect(person.part("saved")).to_have_text("Saved: Reply 2 is better.")
    person.await_calm()


def test_a_reply_whose_stream_is_lost_is_followed_anew(serve, new_person):
    app = serve(demo(ScriptedAsking.NEVER, words_per_s=1.5))
    person = new_person()
    person.visit(app.address)
    person.page.route("**/queue/data*", closed, times=1)
    person.say("Why is the sky blue?")
    expect(person.replies).to_have_count(1)
    expect(person.part("stop")).to_be_visible()  # so this is a part of it
    said = person.replies.first.inner_text()
    expect(person.replies.first).not_to_have_text(said)
    expect(person.part("stop")).to_be_visible()
    person.press("Escape")
    person.await_calm()


@pytest.mark.pages
def test_answers_to_rank_whose_stream_is_lost_are_followed_anew(serve, new_person):
    app = serve(demo(words_per_s=8.0))
    person = new_person()
    person.visit(app.address)
    person.open_tab("Rank")
    expect(person.part("rank-write")).to_be_visible()
    person.page.wait_for_timeout(1_500)  # the tab looks by itself whether answers are written
    person.page.route("**/queue/data*", closed, times=1)
    person.part("rank-text").get_by_role("textbox").fill("Why is the sky blue?")
    person.part("rank-write").click()
    expect(person.part("rank-save")).to_be_visible()


@pytest.mark.pages
def test_a_page_with_the_mark_of_the_page_before_is_put_right(serve, new_person):
    """Answers can cross: that of the empty page, when it draws last, leaves its own mark."""
    app = serve(demo(words_per_s=8.0))
    person = new_person()
    person.visit(app.address)
    person.page.route("**/queue/data*", closed)
    person.say("Why is the sky blue?")
    expect(person.said).to_have_count(1)
    person.part("seen").locator("textarea, input").evaluate(
        "(box, mark) => { box.value = mark; box.dispatchEvent(new Event('input')) }",
        with_key(app.service.revisions.mark(None), ""),
    )
    person.await_question()


def test_what_follows_a_reply_goes_through_the_queue_and_nothing_else_does(app):
    """Gradio drops what a generator without a queue yields; and its queue can lose an answer."""
    config = httpx.get(f"{app.address}/config").json()
    events = [
        one
        for one in config["dependencies"]
        if one["backend_fn"] and one["targets"] != [[None, "unload"]]  # no browser asks for that
    ]
    assert len(events) > 50
    queued = {one["api_name"] for one in events if one["queue"]}
    assert queued == {one["api_name"] for one in events if one["types"]["generator"]}
    assert queued


def test_no_key_of_an_older_pair_is_left_beside_the_replies_that_are_written(app):
    """News leave alone a pair whose answer is being changed; then a reply is begun elsewhere."""
    with gr.Blocks():
        pair = PairPanel()
    update = pair.draw_draft(Draft(stage=Stage.STREAMING, texts=("One", "")), begun=False)
    assert (update[pair.token], update[pair.changing]) == ("", "")
    assert set(update) <= set(pair.moving)
