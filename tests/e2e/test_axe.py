"""axe-core over every tab, light and dark, on a desktop and a phone: nothing of ours is amiss.

``TWOFOLD_SHOTS=FOLDER`` also leaves a picture of every place there, to be looked at.
"""

import json
import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from learner.engine.scripted import ScriptedAsking
from tests.e2e.conftest import demo
from tests.e2e.test_models import learned

axe = pytest.importorskip("axe_playwright_python.sync_playwright")

pytestmark = [
    pytest.mark.pages,
    pytest.mark.browser,
    # Gradio still sets an option that pandas 3 has deprecated.
    pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"),
]

TABS = ("Chat", "Rank", "Learning", "Data", "Models", "Settings")
GRADIOS_OWN = (
    # The Chatbot's examples are buttons inside of role=list, without role=listitem.
    ("aria-required-children", 'class="examples'),
    # The code box is CodeMirror: its colours are its theme's, and it scrolls without a tab stop.
    ("color-contrast", '<span class="\u037c'),
    ("scrollable-region-focusable", "cm-scroller"),
)
"""Rule, and a part of the element: what Gradio draws and takes no attributes for."""


def violations(person):
    """Rule, element and what is wrong with it, of all that axe finds and Gradio does not draw."""
    nodes = [
        (rule["id"], node["html"][:200], node["failureSummary"][:200])
        for rule in axe.Axe().run(person.page).response["violations"]
        for node in rule["nodes"]
    ]
    return [
        (rule, html, why)
        for rule, html, why in nodes
        if not any(rule == own and part in html for own, part in GRADIOS_OWN)
    ]


class Tour:
    """Goes through the page and keeps what axe found at each place."""

    def __init__(self, person, name):
        self._person = person
        self._name = name
        self.found = {}

    def look(self, place):
        self._person.page.wait_for_timeout(300)  # what unfolds is faint half-way
        if violated := violations(self._person):
            self.found[place] = violated
        if folder := os.environ.get("TWOFOLD_SHOTS"):
            shot = Path(folder) / f"{place.lower()}-{self._name}.png"
            self._person.page.screenshot(path=shot, full_page=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (360, 740)])
def test_axe_finds_nothing_of_ours(serve, new_person, scheme, width, height):
    app = serve(demo(ScriptedAsking.ALWAYS, words_per_s=0.0))
    learned(app)
    options = {"is_mobile": True, "has_touch": True} if width < 500 else {}
    person = new_person(width, height, color_scheme=scheme, **options)
    person.visit(app.address)
    tour = Tour(person, f"{width}-{scheme}")
    tour.look("welcome")
    person.say("Why is the sky blue?")
    person.await_question()
    tour.look("question")
    person.part("write").click()
    expect(person.part("editor")).to_be_visible()
    tour.look("editor")
    person.part("cancel-better").click()
    person.part("choose-1").click()
    expect(person.part("saved")).to_contain_text("Saved")
    person.say("Three ideas for a rainy day")
    person.await_question()
    person.part("choose-2").click()
    expect(person.part("saved")).to_contain_text("Reply 2")
    person.part("earlier-choices").locator("summary").click()
    person.part("why-better").get_by_role("button").first.click()
    person.part("labels").get_by_role("button").first.click()
    tour.look("reasons")
    person.part("delete").click()
    expect(person.part("delete-row")).to_be_visible()
    tour.look("deletion")
    for name in TABS[1:]:
        person.open_tab(name)
        expect(person.page.get_by_role("tab", name=name)).to_have_attribute("aria-selected", "true")
        person.unfold_all()
        if name == "Data":
            person.part("picks").get_by_role("radio").first.check(force=True)
            expect(person.part("pick-title")).to_be_visible()
        tour.look(name)
    assert tour.found == {}, json.dumps(tour.found, indent=1)
