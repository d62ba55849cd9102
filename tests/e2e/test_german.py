"""The page in German: what a person meets on the way to a first choice, and every tab."""

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


@pytest.fixture
def german():
    speak("de")
    yield
    speak("en")


def english_on(page):
    """Sentences of the page that stand there in English and have a German word."""
    shown = " ".join(page.locator("body").inner_text().split())
    return [
        english
        for english, other in table("de").items()
        if len(english) > 12 and "{" not in english and english != other and english in shown
    ]


@pytest.mark.parametrize("width", [1280, 360])
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
    expect(person.part("why")).to_contain_text("meine Prüfer sind um")
    assert english_on(person.page) == []
    person.press("1")
    expect(person.part("saved")).to_have_text("Gespeichert: Antwort 1 ist besser.")
    expect(person.part("receipt")).to_contain_text("das Lernen ist aus")
    assert app.choices(person.key()) == [Choice.FIRST]
    for name in ("Lernen", "Daten", "Modelle", "Einstellungen"):
        person.open_tab(name)
        expect(person.page.get_by_role("tab", name=name)).to_have_attribute("aria-selected", "true")
        person.unfold_all()
        assert english_on(person.page) == []
        assert_fits(person.page)
    assert person.errors == []
