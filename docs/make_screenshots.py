"""Take the pictures in docs/images: desktop and phone, light and dark.

    python docs/make_screenshots.py                               the scripted demo
    python docs/make_screenshots.py --url http://127.0.0.1:7860   a twofold that runs

With ``--url`` the pictures show that server as it is: it is chatted with, asked until a pair
appears, and its lessons are the real ones. The demo has no learner, so its lessons are left out.
Needs the development dependencies and the system's Chromium.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, expect, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # tests/ is not installed

from learner.engine.scripted import ScriptedReplyMaker  # noqa: E402
from tests.e2e.page import Person, serving  # noqa: E402

IMAGES = ROOT / "docs" / "images"
QUESTIONS = (
    "Why is the sky blue?",
    "Give me three ideas for a rainy Sunday.",
    "Write a short thank-you note to a neighbour.",
)
PATIENCE_MS = 120_000
SCREENS = {"desktop": (1280, 800), "phone": (390, 844)}
SCHEMES = ("light", "dark")


@contextmanager
def demo() -> Iterator[str]:
    with (
        TemporaryDirectory() as folder,
        serving(Path(folder), ScriptedReplyMaker(words_per_s=40.0)) as app,
    ):
        yield app.address


def talk_until_asked(person: Person) -> None:
    """Say one thing after the other until a pair is shown that can be answered."""
    for question in QUESTIONS * 3:
        said = person.said.count()
        person.say(question)
        expect(person.said).to_have_count(said + 1, timeout=PATIENCE_MS)
        person.await_calm()
        if person.part("pair").is_visible():
            return
    raise SystemExit("No question came up: start the server with asking set to always.")


def take(browser: Browser, address: str, screen: str, scheme: str) -> None:
    width, height = SCREENS[screen]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        is_mobile=screen == "phone",
        has_touch=screen == "phone",
        reduced_motion="reduce",
    )
    person = Person(context.new_page(), patience_ms=PATIENCE_MS)

    def shoot(name: str) -> None:
        person.page.wait_for_timeout(700)  # fades and the sidebar's slide
        person.page.screenshot(path=IMAGES / f"{name}-{screen}-{scheme}.png")

    person.visit(address)
    shoot("welcome")
    talk_until_asked(person)
    shoot("pair")
    person.part("choose-1").click()
    person.part("saved-row").wait_for()
    shoot("chat")
    person.open_tab("Rank")
    person.part("rank-text").get_by_role("textbox").fill(QUESTIONS[0])
    person.part("rank-write").click()
    person.part("rank-save").wait_for()
    for place in (2, 1, 4):
        person.part(f"take-{place}").click()
    person.page.locator("#rank-desk").get_by_role("button", name="Tie the last two").click()
    person.page.locator("#rank-desk").scroll_into_view_if_needed()
    shoot("rank")
    person.part("rank-skip").click()
    person.part("rank-saved-row").wait_for()
    person.open_tab("Chat")
    if screen == "phone":
        person.page.locator("#sidebar:not(.open) > button").click()
    person.part("new-chat").click()
    expect(person.said).to_have_count(0)
    person.page.wait_for_timeout(700)  # until the empty chat is drawn, its switches with it
    person.part("teaching").get_by_role("checkbox").check()
    person.say(QUESTIONS[2])
    person.part("teach-use").wait_for()
    shoot("teach")
    person.open_tab("Learning")
    person.part("facts").get_by_text("Questions").wait_for()
    shoot("learning")
    person.open_tab("Data")
    person.part("picks").get_by_role("radio").first.check(force=True)
    person.part("pick-title").wait_for()
    shoot("data")
    person.open_tab("Models")
    person.part("version-title").wait_for()
    shoot("models")
    person.open_tab("Settings")
    person.part("ask-mode").wait_for()
    shoot("settings")
    context.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", help="address of a running twofold; without it the demo is used")
    address = parser.parse_args().url
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for screen in SCREENS:
            for scheme in SCHEMES:
                if address:
                    take(browser, address.rstrip("/"), screen, scheme)
                else:
                    with demo() as demo_address:
                        take(browser, demo_address, screen, scheme)
        browser.close()


if __name__ == "__main__":
    main()
