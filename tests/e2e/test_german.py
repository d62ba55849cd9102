"""The page in German: the way to a first choice, every tab, a ranking, a teaching chat."""

import re

import pytest
from playwright.sync_api import expect

from chat_app.language import speak, table
from learner.engine.scripted import ScriptedAsking
from storage.records import Choice
from tests.e2e.conftest import demo
from tests.e2e.test_page import assert_fits

pytestmark = [
    pytest.mark.pages,
    pytest.mark.browser,
    # Gradio still sets an option that pandas 3 has deprecated.
    pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"),
]

WIDTHS = (1280, 360)


@pytest.fixture
def german():
    speak("de")
    yield
    speak("en")


CUT_OFF = """() => [...document.querySelectorAll("button:is(.primary, .secondary, .stop)")]
  .filter((button) => button.offsetParent && button.scrollWidth > button.clientWidth + 1)
  .map((button) => button.innerText)"""
NAMES = """() => [...document.querySelectorAll("[aria-label], [placeholder], [title]")]
  .filter((part) => part.offsetParent)
  .flatMap((part) => ["aria-label", "placeholder", "title"].map((name) => part.getAttribute(name)))
  .filter(Boolean).join(" ")"""


def english_on(page):
    """What stands on the page in English, or is its name, and has a German word."""
    read = page.locator("body").inner_text() + " " + page.evaluate(NAMES)
    shown = " ".join(read.split())
    return [
        english
        for english, other in table("de").items()
        if english != other
        and (part := longest(english)) in shown
        and len(part) > 12
        and part not in " ".join(other.split())
    ]


def assert_words_fit(page):
    """German words are longer: no page scrolls sideways for them, and no button cuts them off."""
    assert_fits(page)
    assert page.evaluate(CUT_OFF) == []


def longest(sentence):
    """Its longest part without values, as it is shown: without the signs of Markdown."""
    return max((" ".join(part.strip("#*\n ").split()) for part in VALUES.split(sentence)), key=len)


VALUES = re.compile(r"\{.*?\}|[*`\n]+")


@pytest.mark.parametrize("width", WIDTHS)
def test_every_tab_speaks_german(german, serve, new_person, width):
    app = serve(demo(ScriptedAsking.ALWAYS, words_per_s=0.0))
    person = new_person(width, 800)
    person.visit(app.address)
    expect(person.part("transcript")).to_contain_text("Am Anfang weiß ich wenig über dich")
    assert person.page.evaluate("document.documentElement.lang") == "de"
    person.say("   ")
    expect(person.part("note")).to_contain_text("diese ist leer")
    person.say("Tell me of the sky.")
    expect(person.part("pair-title")).to_contain_text("Welche Antwort gefällt dir besser?")
    expect(person.part("voice")).to_have_text("Zwei Antworten sind fertig. Drück 1 oder 2.")
    expect(person.page.get_by_role("group", name="Antwort 2")).to_be_visible()
    expect(person.part("why")).to_contain_text("Meine Prüfer sind über diese beiden um")
    assert english_on(person.page) == []
    person.press("1")
    expect(person.part("saved")).to_have_text("Gespeichert: Antwort 1 ist besser.")
    expect(person.part("receipt")).to_contain_text("das Lernen ist aus")
    assert app.choices(person.key()) == [Choice.FIRST]
    expect(person.part("send")).to_have_text("Senden")
    person.page.get_by_role("button", name="Retry").click()
    expect(person.part("pair-title")).to_contain_text("Welche Antwort gefällt dir besser?")
    person.press("2")
    expect(person.part("reply-place")).to_have_text("Antwort 2 von 2")
    for name in ("Lernen", "Reihen", "Daten", "Modelle", "Einstellungen"):
        person.open_tab(name)
        expect(person.page.get_by_role("tab", name=name)).to_have_attribute("aria-selected", "true")
        person.unfold_all()
        assert english_on(person.page) == []
        assert_words_fit(person.page)
    assert person.errors == []


@pytest.mark.parametrize("width", WIDTHS)
def test_a_ranking_speaks_german(german, serve, new_person, width):
    app = serve(demo(ScriptedAsking.NEVER, words_per_s=0.0))
    person = new_person(width, 800)
    person.visit(app.address)
    person.open_tab("Reihen")
    person.part("rank-write").click()
    expect(person.part("rank-failed")).to_contain_text("diese ist leer")
    person.unfold_all()
    expect(person.part("no-rankings")).to_contain_text("Noch keine Reihungen")
    assert english_on(person.page) == []
    person.part("rank-text").get_by_role("textbox").fill("Warum ist der Himmel blau?")
    person.part("rank-write").click()
    left = person.page.locator("#rank-desk .left")
    expect(left).to_have_text("Die beste zuerst: 1, 2, 3, 4.")
    expect(person.part("take-1")).to_have_text("Nächstbeste [1]")
    expect(person.part("answer-1").get_by_role("heading")).to_have_text("Antwort 1")
    person.unfold_all()
    assert english_on(person.page) == []
    person.part("take-3").click()
    expect(left).to_have_text("Übrig: 1, 2, 4.")
    name = person.page.locator("#rank-desk .answer-name")
    expect(name).to_contain_text("Antwort 3")
    expect(name).to_have_attribute("aria-label", "Antwort 3; Pfeil auf und ab verschieben sie")
    person.part("rank-save").click()
    expect(person.part("rank-note")).to_contain_text(
        "Die Antworten 1 und 2 und 4 stehen noch nicht"
    )
    person.page.get_by_role("radio", name="Ehrlichkeit").click()
    expect(person.page.locator("#rank-desk .following")).to_contain_text("eigene Reihenfolge")
    person.part("take-1").click()
    person.page.get_by_role("button", name="Den Rest gleich").click()
    expect(left).to_have_text("Alle sind eingereiht.")
    person.page.get_by_role("radio", name="Insgesamt").click()
    person.page.get_by_role("button", name="Den Rest gleich").click()
    assert english_on(person.page) == []
    assert "Answer" not in person.page.locator("body").inner_text()
    person.part("rank-save").click()
    expect(person.part("rank-saved")).to_contain_text("Gespeichert: 3, dann 1 und 2 und 4.")
    expect(person.part("rank-counts")).to_contain_text("1 Reihung von 4 Antworten: 6 Paare")
    expect(person.part("rankings")).to_contain_text("eigene Reihenfolge bei Ehrlichkeit")
    person.part("rankings").get_by_role("radio").first.check(force=True)
    person.part("forget-ranking").click()
    expect(person.part("confirm-forget-ranking")).to_contain_text("keine Version entstanden")
    assert english_on(person.page) == []
    person.part("forget-ranking-no").click()
    person.part("rank-save").click()
    expect(person.part("rank-saved-row")).to_be_visible()
    person.part("rank-undo").click()
    expect(person.part("rank-about")).to_contain_text("Du hast deine Reihenfolge zurückgenommen")
    assert english_on(person.page) == []
    assert_words_fit(person.page)
    assert person.errors == []


@pytest.mark.parametrize("width", WIDTHS)
def test_a_teaching_chat_speaks_german(german, serve, new_person, width):
    app = serve(demo(ScriptedAsking.ALWAYS, words_per_s=0.0))
    person = new_person(width, 800)
    person.visit(app.address)
    person.part("teaching").get_by_role("checkbox").check()
    person.say("Warum ist der Himmel blau?")
    expect(person.part("about-chat")).to_contain_text("Ein Lehr-Chat")
    expect(person.part("teach-turn")).to_contain_text("Du bist der Assistent")
    expect(person.box).to_have_attribute(
        "placeholder", "Du bist der Assistent: Schreib die Antwort"
    )
    expect(person.part("send")).to_have_text("Antwort anfügen")
    expect(person.part("teach-use")).to_have_text("Nehmen und ändern [1]")
    assert english_on(person.page) == []
    person.press("1")
    expect(person.box).not_to_have_value("")
    person.say("Die Luft streut das blaue Licht.")
    expect(person.replies).to_have_count(1)
    expect(person.part("teach-turn")).to_contain_text("Du bist die fragende Person")
    expect(person.part("send")).to_have_text("Nachricht anfügen")
    expect(person.part("teach-finish")).to_have_text("Beispiel abschließen")
    assert english_on(person.page) == []
    person.part("teach-finish").click()
    expect(person.part("teach-state")).to_contain_text("Als Beispiel mit 1 Antwort gespeichert.")
    person.say("Und am Abend?")
    expect(person.part("teach-turn")).to_contain_text("Du bist der Assistent")
    person.say("Dann bleibt das rote übrig.")
    expect(person.part("teach-state")).to_contain_text("Es hat sich seitdem geändert")
    expect(person.part("teach-finish")).to_have_text("Neu abschließen")
    assert english_on(person.page) == []
    assert_words_fit(person.page)
    if width < 768:
        person.page.locator("#sidebar:not(.open) > button").click()
    person.part("new-chat").click()
    expect(person.part("send")).to_have_text("Senden")
    person.open_tab("Daten")
    expect(person.part("beside-picks")).to_contain_text("1 Beispieldialog (1 Antwort)")
    person.unfold_all()
    expect(person.part("examples")).to_contain_text("1 Antwort")
    assert english_on(person.page) == []
    assert person.errors == []
