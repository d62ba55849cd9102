"""How the page looks where it was once wrong: what can be pressed, read and told apart.

Phones, dark screens, browsers of another language, text from right to left.
"""

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

PHONE = {"width": 390, "height": 844, "is_mobile": True, "has_touch": True}
COVERED = """(button) => {
  button.scrollIntoView({ block: "center" });
  const { left, top, width, height } = button.getBoundingClientRect();
  return [0.1, 0.5, 0.9].filter((share) => {
    const found = document.elementFromPoint(left + share * width, top + height / 2);
    return !button.contains(found);
  });
}"""
"""Where along its middle line a button is not what a finger would hit."""
RATIO = """(shown) => {
  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const over = (colours) => {
    paint.clearRect(0, 0, 1, 1);
    for (const colour of colours) {
      paint.fillStyle = colour;
      paint.fillRect(0, 0, 1, 1);
    }
    const [red, green, blue] = [...paint.getImageData(0, 0, 1, 1).data].map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const [element, of, pseudo] = shown;
  const under = [];
  const from = of === "color" ? element : element.parentElement;
  for (let one = from; one; one = one.parentElement) {
    under.unshift(getComputedStyle(one).backgroundColor);
  }
  const light = over(["white", ...under]);
  const mine = over(["white", ...under, getComputedStyle(element, pseudo)[of]]);
  return (Math.max(light, mine) + 0.05) / (Math.min(light, mine) + 0.05);
}"""
"""The contrast of a colour of an element, or of a part of it, with what is behind."""


def contrast(locator, of="color", pseudo=None):
    return locator.evaluate(f"(element, rest) => ({RATIO})([element, ...rest])", [of, pseudo])


@pytest.fixture
def quick(serve):
    return serve(demo(ScriptedAsking.NEVER, words_per_s=0.0))


def paged_chat(app):
    """A chat whose last message has three replies, in the second of two branches; its address."""
    chat = app.service.new_conversation()
    first = app.service.say(chat.id, "Why is the sky blue?")
    app.service.drain()
    app.service.say_instead(chat.id, first.id, "Count to 3")
    app.service.drain()
    for _ in range(2):
        app.service.retry(chat.id)
        app.service.drain()
    return f"{app.address}/?c={chat.key}"


@pytest.mark.parametrize("width", [1280, 390])
def test_buttons_of_the_pagers_stand_beside_each_other(quick, new_person, width):
    person = new_person(width, 844)
    person.visit(paged_chat(quick))
    expect(person.part("reply-place")).to_have_text("Reply 3 of 3")
    expect(person.part("branch-place")).to_have_text("Branch 2 of 2")
    for name in ("reply-before", "reply-after", "branch-before", "branch-after", "rank-more"):
        button = person.part(name)
        assert button.evaluate(COVERED) == [], name
        assert button.bounding_box()["width"] >= 44
    assert_fits(person.page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_finger_can_press_what_stands_under_a_message_and_write_in_its_place(
    quick, new_person, scheme
):
    person = new_person(**PHONE, color_scheme=scheme)
    person.visit(quick.address)
    person.converse("hi")
    small = "#transcript button"
    for button in person.page.locator(small).locator("visible=true").all():
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= 44, button.get_attribute("aria-label")
        assert button.evaluate(COVERED) == [], button.get_attribute("aria-label")
    for place, name in ((0, "user"), (1, "bot")):
        person.part("transcript").get_by_role("button", name="Edit").nth(place).tap()
        area = person.part("transcript").get_by_role("textbox")
        expect(area).to_be_visible()
        box, room = area.bounding_box(), person.part("transcript").bounding_box()
        assert box["width"] >= 300 and box["height"] >= 96, name
        assert box["x"] >= room["x"] and box["x"] + box["width"] <= room["x"] + room["width"], name
        assert_fits(person.page)
        person.part("transcript").get_by_role("button", name="Cancel").tap()
        expect(area).to_be_hidden()
    assert person.errors == []


ARABIC = "مرحبا، كيف حالك؟ هذا نص طويل (2026)!"
HEBREW = "שלום, מה שלומך?"
SIDES = """(element) => {
  const range = document.createRange();
  range.selectNodeContents(element);
  const text = [...range.getClientRects()].at(-1);
  const room = element.getBoundingClientRect();
  return [text.left - room.left, room.right - text.right];
}"""
"""How far the last line of a text is from the left and from the right of its place."""


@pytest.mark.parametrize("text", [ARABIC, HEBREW])
def test_text_from_right_to_left_begins_at_the_right(serve, person, text):
    app = serve(demo(ScriptedAsking.ALWAYS, words_per_s=0.0))
    person.visit(app.address)
    person.say(f"Repeat after me: {text}")
    person.await_question()
    pane = person.page.locator("#pair .reply p").filter(has_text=text).first
    left, right = pane.evaluate(SIDES)
    assert right < left
    person.press("1")
    person.await_reply(1)
    person.say(text)
    person.await_question()
    person.box.fill(text)
    paragraph, reply = person.said.last.locator("p"), person.replies.last.locator("p").first
    name = person.page.locator("#conversations span").first
    for shown in (paragraph, reply, person.box, name):
        assert shown.evaluate(RUNS) == ["plaintext", "start"]


RUNS = """(element) => {
  const { unicodeBidi, textAlign } = getComputedStyle(element);
  return [unicodeBidi, textAlign];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_cards_and_circles_stand_out(quick, new_person, scheme):
    person = new_person(color_scheme=scheme)
    person.visit(quick.address)
    told = person.page.evaluate("getComputedStyle(document.documentElement).colorScheme")
    assert (told == "dark") == (scheme == "dark")
    chip = person.part("status").locator(".chip")
    assert contrast(chip, "backgroundColor") > 1.05
    person.open_tab("Rank")
    circle = person.part("rank-count").locator("input[type=radio]:not(:checked)").first
    assert contrast(circle, "borderTopColor") >= 3
    person.open_tab("Settings")
    person.unfold_all()
    box = person.part("keep-versions").get_by_role("checkbox")
    assert contrast(box, "borderTopColor") >= 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_a_box_is_for_can_be_read_before_anything_is_in_it(quick, new_person, scheme):
    person = new_person(color_scheme=scheme)
    person.visit(quick.address)
    for name in ("message", "search"):
        box = person.part(name).get_by_role("textbox")
        assert contrast(box, "color", "::placeholder") >= 4.5, name
    person.open_tab("Rank")
    box = person.part("rank-text").get_by_role("textbox")
    assert contrast(box, "color", "::placeholder") >= 4.5
