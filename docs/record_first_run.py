"""Record a first run with the real model: from the start to the first pick to "learned".

    python docs/record_first_run.py

Starts ``twofold serve`` over an empty data folder, does what a newcomer does (click an example,
pick, say something else, pick), takes a picture of each step into docs/images/first-run-N.png, and
prints when each came, in seconds since the start. Needs the development dependencies and the
system's Chromium.
"""

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import expect, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # tests/ is not installed

from tests.e2e.page import Person  # noqa: E402

IMAGES = ROOT / "docs" / "images"
MESSAGES = (
    "Give me three ideas for a rainy Sunday.",
    "Write a short thank-you note to a neighbour.",
    "Name a good book.",
    "How do I boil an egg?",
    "Tell me a joke.",
    "What is tea?",
)
TELLING_WORDS = 4
PICKS = 4
"""They start the first lesson."""
PATIENCE_MS = 200_000


def main() -> None:
    began = time.monotonic()
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        command = [sys.executable, str(ROOT / "app.py"), "serve", "--no-open", "--port", "7869"]
        server = subprocess.Popen(  # noqa: S603 - our own program
            [*command, "--data", folder], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        try:
            address = next(
                found[0]
                for line in server.stdout or ()
                if (found := re.search(r"http://127[.]0[.]0[.]1:\d+", line))
            )
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            record(Person(page, patience_ms=PATIENCE_MS), address, began)
            browser.close()
        finally:
            server.terminate()
            server.wait()


def record(person: Person, address: str, began: float) -> None:
    pictures = 0

    def shoot(what: str) -> None:
        nonlocal pictures
        pictures += 1
        sys.stdout.write(f"{time.monotonic() - began:6.1f} s  {what}\n")
        sys.stdout.flush()
        person.page.wait_for_timeout(400)
        person.page.screenshot(path=IMAGES / f"first-run-{pictures}.png")

    person.visit(address)
    shoot("the page, before a word")
    person.part("transcript").get_by_text("Why is the sky blue?").click()
    person.part("pair").wait_for()
    shoot("two replies, being written; one can be chosen")
    picks = answer(person)
    shoot("the first pick, saved")
    for message in MESSAGES:
        if picks == PICKS:
            break
        said = person.said.count()
        person.say(message)
        expect(person.said).to_have_count(said + 1, timeout=PATIENCE_MS)
        person.await_calm()
        if person.part("pair").is_visible():
            picks += answer(person)
    shoot(f"pick {picks}, which starts a lesson")
    told = re.compile("Learned in version|not kept yet")  # the gate may say no
    expect(person.part("receipt")).to_contain_text(told, timeout=PATIENCE_MS)
    shoot(person.part("receipt").inner_text())
    person.say("Why is the sea salty?")
    person.part("stop").wait_for()
    person.await_calm()
    shoot("the next reply, or the next question")


def answer(person: Person) -> int:
    """Pick the shorter reply of those that say something, else the longer; 1, for counting."""
    replies = person.await_question()
    telling = [reply for reply in replies if len(reply.split()) >= TELLING_WORDS]
    wanted = min(telling, key=len) if telling else max(replies, key=len)
    person.press("1" if wanted == replies[0] else "2")
    expect(person.part("saved")).to_contain_text("Saved")
    return 1


if __name__ == "__main__":
    main()
