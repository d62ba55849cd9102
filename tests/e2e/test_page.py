"""The page itself: what is written on it never runs, it fits a phone, it tells what it learns."""

import time

import httpx
import pytest
from playwright.sync_api import expect

from chat_app.errors import ChatError
from chat_app.ui_server import PageServer
from learner.engine.scripted import ScriptedAsking
from storage.records import RoundReport, RoundStatus
from tests.e2e.conftest import demo
from tests.e2e.page import serving

pytestmark = [
    pytest.mark.browser,
    # Gradio still sets an option that pandas 3 has deprecated.
    pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"),
]

PAYLOADS = (
    "<script>window.ran = 1</script>",
    "<img src=x onerror='window.ran = 1'>",
    "<svg onload='window.ran = 1'></svg>",
    "<svg><animate onbegin='window.ran = 1' attributeName=x dur=1s></svg>",
    "<iframe srcdoc='<script>parent.ran = 1</script>'></iframe>",
    "<details open ontoggle='window.ran = 1'>x</details>",
    "<a href='javascript:window.ran = 1'>click</a>",
    "[click](javascript:window.ran=1)",
    "[click](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "![x](http://127.0.0.2:1/leak.png)",
    "<style>body { display: none }</style>",
    "<link rel=stylesheet href='http://127.0.0.2:1/leak.css'>",
    "<math><mtext><img src=x onerror='window.ran = 1'></mtext></math>",
    "`<img src=x onerror='window.ran = 1'>`",
    "```html\n<script>window.ran = 1</script>\n```",
    "    <script>window.ran = 1</script>",
    "- an item\n\n    <img src=x onerror='window.ran = 1'>\n\nno item",
    "    <img src=x onerror='window.ran = 1'>\n<svg onload='window.ran = 1'></svg>",
    "\t<iframe srcdoc='<script>parent.ran = 1</script>'></iframe>",
    "&lt;img src=x onerror='window.ran = 1'&gt;",
    "</div></span><script>window.ran = 1</script>",
)


def test_markup_and_script_are_shown_and_never_run(serve, new_person):
    app = serve(demo(ScriptedAsking.ALTERNATING, words_per_s=0.0))
    person = new_person()
    person.visit(app.address)
    text = "Repeat after me: " + "\n\n".join(PAYLOADS)
    person.part("message").get_by_role("textbox").fill(text)
    person.part("send").click()
    person.await_question()  # as a person's message, and in the two panes of a pair
    assert_harmless(person)
    person.press("1")
    person.await_reply(1)
    person.say(text)
    person.await_reply(2)  # and in a reply of its own
    assert_harmless(person)
    person.reload()
    assert_harmless(person)
    # An image of another host is asked for by the text; the page's own policy refuses it.
    assert all("leak" in url for url in person.foreign_requests)
    assert all("Content Security Policy" in error for error in person.errors)


def assert_harmless(person):
    assert person.page.evaluate("window.ran") is None
    for part in ("transcript", "pair"):
        frame = person.part(part)
        # Gradio's own icons carry a <style>; what is written comes as .prose.
        unsafe = "script, iframe, link, .prose style, [onerror], [onload], [ontoggle]"
        assert frame.locator(unsafe).count() == 0
        for link in frame.get_by_role("link").all():
            assert not (link.get_attribute("href") or "").startswith(("javascript:", "data:"))
    expect(person.said.first).to_contain_text("<script>window.ran = 1</script>")
    expect(person.box).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.pages)])
def test_a_phone_has_each_button_under_its_reply_and_no_sideways_scroll(app, new_person, scheme):
    person = new_person(390, 844, is_mobile=True, has_touch=True, color_scheme=scheme)
    person.visit(app.address)
    person.say("Repeat after me: " + "a_very_long_word_" * 20)
    person.await_question()
    assert_fits(person.page)
    boxes = [
        person.part(name).bounding_box() for name in ("reply-1", "choose-1", "reply-2", "choose-2")
    ]
    tops = [box["y"] for box in boxes]
    assert tops == sorted(tops)
    for name in ("choose-1", "choose-2", "choose-tie", "choose-both-bad", "choose-skip", "send"):
        assert person.part(name).bounding_box()["height"] >= 44
    person.part("choose-1").tap()
    expect(person.part("undo")).to_be_visible()
    assert person.part("undo").bounding_box()["height"] >= 44
    person.open_tab("Learning")
    expect(person.part("facts")).to_contain_text("Choices")
    assert_fits(person.page)
    assert person.errors == []


@pytest.mark.pages
def test_a_line_of_code_scrolls_in_its_box_on_a_phone(serve, new_person):
    app = serve(demo(ScriptedAsking.ALWAYS))
    person = new_person(360, 740, is_mobile=True, has_touch=True)
    person.visit(app.address)
    person.say("Repeat after me: ```\n" + "one_call(after, another) " * 12 + "\n```")
    person.await_question()
    assert_fits(person.page)
    for number in (1, 2):
        box = person.part(f"choose-{number}").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 360
    assert person.part("pair").locator("code").first.is_visible()


def test_no_button_empties_the_chat_whatever_the_browser_speaks(app, new_person):
    person = new_person(locale="de-DE")
    person.visit(app.address)
    person.say("Why is the sky blue?")
    expect(person.said).to_have_count(1)
    names = {"name": "Chat leeren", "exact": True}
    clear = person.part("transcript").get_by_role("button", include_hidden=True, **names)
    expect(clear).to_have_count(1)
    expect(clear).to_be_hidden()
    expect(person.part("transcript").get_by_role("button", name="Bearbeiten").first).to_be_visible()


def test_a_pair_taller_than_the_window_is_read_from_its_title_on(serve, new_person):
    app = serve(demo(ScriptedAsking.ALWAYS, words_per_s=200.0))
    person = new_person(360, 640, is_mobile=True, has_touch=True)
    person.visit(app.address)
    person.say("Count to 300")
    person.await_question()
    expect(person.part("pair-title")).to_be_in_viewport()
    person.page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
    expect(person.part("choose-2")).to_be_in_viewport()
    person.part("choose-2").tap()
    expect(person.part("undo")).to_be_in_viewport()


def assert_fits(page):
    widths = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert widths[0] <= widths[1]


def test_parts_have_names_that_a_screen_reader_can_say(app, person):
    person.visit(app.address)
    person.say("Why is the sky blue?")
    person.await_question()
    page = person.page
    for number in (1, 2):
        group = page.get_by_role("group", name=f"Reply {number}")
        expect(group.get_by_role("button", name=f"Reply {number} is better")).to_be_visible()
    for name in ("About the same", "Both are bad", "Skip", "Send", "New chat"):
        expect(page.get_by_role("button", name=name).first).to_be_visible()
    expect(page.get_by_role("textbox", name="Message")).to_be_visible()
    expect(page.get_by_role("radio", name="Why is the sky blue?").first).to_be_checked()
    expect(page.get_by_role("heading", name="twofold", level=1)).to_be_visible()
    expect(page.get_by_role("log")).to_be_visible()


def lesson(app, picks):
    return RoundReport(
        number=1,
        parent=app.policies.current().id,
        status=RoundStatus.ACCEPTED,
        preference_ids=tuple(picks),
        attempted_through=max(picks),
        update_rule="online_dpo",
        seed=0,
        reason="within all bounds",
        metrics={"kl_per_token": 0.03, "mean_length_tokens": 41.0},
        seconds=12.0,
    )


def test_a_taken_port_is_a_sentence(app):
    port = int(app.address.rpartition(":")[2])
    with pytest.raises(ChatError, match=f"Port {port} is taken"):
        PageServer(app.service, app.tabs, candidates=4, port=port)


def test_strangers_are_refused_and_frames_are_forbidden(app):
    def ask(**headers):
        return httpx.get(app.address, headers=headers)

    answer = ask()
    assert answer.status_code == 200
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert ask(host="evil.example").status_code == 403
    assert ask(origin="http://evil.example").status_code == 403


def test_a_server_ends_quietly_while_pages_are_open(new_person, tmp_path, capfd):
    with serving(tmp_path / "data", demo(ScriptedAsking.NEVER, words_per_s=20.0)) as app:
        person = new_person()
        person.visit(app.address)
        person.say("Count to 500")
        expect(person.part("stop")).to_be_visible()
        began = time.monotonic()
    assert time.monotonic() - began < 30
    assert "ERROR" not in capfd.readouterr().err
