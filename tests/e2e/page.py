"""The page under test: a server over a data folder, and a person in front of it.

Both work with any ReplyMaker, so tests with a real model use them as they are and pass a longer
``patience_ms``. Everything is found by role, by what it says, or by our own ids.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import ConsoleMessage, Error, Locator, Page, Request, expect

from chat_app.config import ServiceConfig
from chat_app.progress import LearnerStatus, no_learner
from chat_app.service import ChatService
from chat_app.settings import Settings
from chat_app.tabs import Tabs, build_tabs
from chat_app.ui_server import PageServer
from learner.control import LearnerControl
from learner.model_folder import ModelFolder
from learner.protocols import ReplyMaker
from storage.conversations import ConversationLog
from storage.database import Store
from storage.feedback import FeedbackLog
from storage.folder import DataFolder
from storage.logs import Logs
from storage.policy_registry import PolicyRegistry
from storage.records import Choice
from tests.keys import teaching_key

PANES = ("reply-1", "reply-2")


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """A running server, and the objects behind it for looking past the page."""

    address: str
    folder: DataFolder
    store: Store
    service: ChatService
    replies: ReplyMaker
    tabs: Tabs
    conversations: ConversationLog
    feedback: FeedbackLog
    policies: PolicyRegistry

    def choices(self, key: str) -> list[Choice]:
        """What was answered, and not taken back, in the conversation of this key."""
        chat = self.service.conversation(key)
        answers = (*self.feedback.preferences(), *self.feedback.held_out())
        return [one.choice for one in answers if one.comparison.conversation_id == chat.id]


@contextmanager
def serving(
    root: Path,
    replies: ReplyMaker,
    *,
    port: int = 0,
    config: ServiceConfig | None = None,
    learner_status: Callable[[], LearnerStatus | None] = no_learner,
    model: ModelFolder | None = None,
) -> Iterator[App]:
    """Serve the page over the data folder ``root``; port 0 takes a free one."""
    config = config or ServiceConfig(model_name="a script", collect_every_s=0.1)
    folder = DataFolder(root)
    with Store(folder.database) as store:
        logs = Logs.over(store, folder.rounds, new_key=teaching_key)
        service = ChatService(logs, replies, config, learner_status)
        try:
            tabs = build_tabs(
                folder=folder,
                settings=Settings(data=root),
                store=store,
                logs=logs,
                replies=replies,
                service=service,
                control=LearnerControl(root),
                model=model,
            )
            with PageServer(service, tabs, candidates=config.candidates, port=port) as server:
                yield App(
                    address=server.address,
                    folder=folder,
                    store=store,
                    service=service,
                    replies=replies,
                    tabs=tabs,
                    conversations=logs.conversations,
                    feedback=logs.feedback,
                    policies=logs.policies,
                )
        finally:
            service.close()


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for something on the server's side that no page tells of."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def _too_early(message: ConsoleMessage) -> bool:
    """Whether Gradio ended an event whose number it had not been told yet: it sends none, and the
    server takes nothing without one. What is drawn is another's by then, which is what counts."""
    ending = message.location["url"].endswith(("/gradio_api/cancel", "/gradio_api/reset"))
    return ending and "422" in message.text


@dataclass
class Person:
    """Somebody at a browser. ``errors`` collects what the page complained about."""

    page: Page
    patience_ms: float = 30_000
    errors: list[str] = field(default_factory=list)
    foreign_requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(self.patience_ms)
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def visit(self, address: str) -> None:
        home = address.partition("/?")[0]

        def note(request: Request) -> None:
            if not request.url.startswith((f"{home}/", "data:", "blob:")):
                self.foreign_requests.append(request.url)

        self.page.on("request", note)
        self.page.goto(address)
        self.ready()

    def reload(self) -> None:
        known = len(self.errors)
        try:
            self.page.reload()
        except Error as error:  # the page may be reloading by itself, after a restart
            if "ERR_ABORTED" not in str(error):
                raise
            self.page.wait_for_load_state()
        del self.errors[known:]  # the page that is left complains of its torn streams
        self.ready()

    def leave(self) -> None:
        """Leave the page, so that it does not complain of a server that ends."""
        self.page.goto("about:blank")

    def ready(self) -> None:
        """Wait until the page has loaded and shows what the server told it."""
        expect(self.part("status")).to_contain_text("v", timeout=self.patience_ms)
        expect(self.part("seen").locator("textarea, input")).not_to_have_value("")
        expect(self.box).to_be_visible()

    def settled(self) -> None:
        """Wait until the page has drawn what it was opened with: nothing is drawn over any more."""
        drawn = self.part("seen").locator("textarea, input")
        expect(drawn).not_to_have_value("", timeout=self.patience_ms)

    def part(self, name: str) -> Locator:
        return self.page.locator(f"#{name}")

    @property
    def box(self) -> Locator:
        return self.part("message").get_by_role("textbox")

    @property
    def said(self) -> Locator:
        """The person's own messages in the transcript."""
        return self.part("transcript").get_by_test_id("user")

    @property
    def replies(self) -> Locator:
        return self.part("transcript").get_by_test_id("bot")

    def say(self, text: str) -> None:
        """Type a message and send it with Enter."""
        self.box.fill(text)
        self.box.press("Enter")

    def converse(self, text: str) -> None:
        """Say something and wait until nothing is written any more."""
        said, replies = self.said.count(), self.replies.count()
        self.say(text)
        expect(self.said).to_have_count(said + 1, timeout=self.patience_ms)
        self.await_reply(replies + 1)

    def await_reply(self, number: int) -> str:
        """Wait until the ``number``-th reply stands whole in the transcript; return its text."""
        expect(self.replies).to_have_count(number, timeout=self.patience_ms)
        self.await_calm()
        return self.replies.nth(number - 1).inner_text()

    def await_calm(self) -> None:
        """Wait until nothing is being written."""
        expect(self.part("send")).to_be_visible(timeout=self.patience_ms)

    def await_question(self) -> tuple[str, str]:
        """Wait for a pair that can be answered; return both texts."""
        expect(self.part("pair-title")).to_contain_text("do you prefer", timeout=self.patience_ms)
        expect(self.part("choose-1")).to_be_enabled()
        expect(self.part("choose-2")).to_be_enabled()
        first, second = (self.part(name).get_by_test_id("markdown") for name in PANES)
        return first.inner_text(), second.inner_text()

    def press(self, key: str) -> None:
        """Press a key outside of the message box."""
        self.box.blur()
        self.page.keyboard.press(key)

    def open_tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()

    def unfold_all(self) -> None:
        """Open every fold of the tab that is shown."""
        for fold in self.page.locator(".label-wrap:visible").all():
            if "open" not in (fold.get_attribute("class") or "").split():
                fold.click()

    def key(self) -> str:
        """The conversation's key in the address."""
        self.page.wait_for_url("**/?c=*")
        return self.page.url.partition("?c=")[2]

    def _note(self, message: ConsoleMessage) -> None:
        # A reload ends open streams, which the browser calls an error and is none.
        if message.type == "error" and "AbortError" not in message.text and not _too_early(message):
            self.errors.append(message.text)
