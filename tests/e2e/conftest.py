"""Chromium of the system, one per session.

Without a browser these tests are skipped with a word, and where TWOFOLD_REQUIRE_BROWSER=1 says that
there must be one they fail.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright

from learner.engine.scripted import ScriptedAsking, ScriptedReplyMaker
from learner.protocols import ReplyMaker
from tests.e2e.page import App, Person, serving

# Two cores may be busy with other tests; what does not come in this time does not come.
expect.set_options(timeout=30_000)

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        message = "no Chromium here: install the system's chromium package for the browser tests"
        if os.environ.get("TWOFOLD_REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


Serve = Callable[..., App]


@pytest.fixture
def serve(browser: Browser, tmp_path: Path) -> Iterator[Serve]:
    """Start a server over this test's data folder; it ends after the pages are closed."""
    with ExitStack() as stack:

        def start(replies: ReplyMaker, **options: object) -> App:
            return stack.enter_context(serving(tmp_path / "data", replies, **options))

        yield start


@pytest.fixture(scope="session")
def app(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The demo, ten times as fast, which asks about every other message of a conversation.

    One for all tests that are content with a conversation of their own. It starts after the
    browser: Gradio leaves an event loop behind where Playwright has not brought one.
    """
    with serving(tmp_path_factory.mktemp("demo") / "data", demo()) as app:
        yield app


@pytest.fixture(scope="session")
def desktop(app: App, browser: Browser) -> Iterator[BrowserContext]:
    """A screen whose browser keeps the scripts of the page, which makes a visit twice as fast."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    yield context
    context.close()


@pytest.fixture
def person(desktop: BrowserContext, serve: Serve) -> Iterator[Person]:
    """A person whose page must not have complained in the end."""
    person = Person(desktop.new_page())
    yield person
    person.page.close()
    assert person.errors == []
    assert person.foreign_requests == []


@pytest.fixture
def new_person(browser: Browser, serve: Serve) -> Iterator[Callable[..., Person]]:
    """Further people, with screens of their own, gone before the server is."""
    contexts = []

    def arrive(width: int = 1280, height: int = 800, **options: object) -> Person:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        return Person(context.new_page())

    yield arrive
    for context in contexts:
        context.close()


def demo(
    asking: ScriptedAsking = ScriptedAsking.ALTERNATING, words_per_s: float = 120.0
) -> ScriptedReplyMaker:
    return ScriptedReplyMaker(asking, words_per_s=words_per_s)
