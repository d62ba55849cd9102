"""The page under test: a server on a free port over a data folder, and a person before it.

``serving`` works with any ReplyMaker, so tests with the real model use the same ``Person``.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from chat_app.config import ServiceConfig
from chat_app.progress import LearnerStatus, no_learner
from chat_app.service import ChatService
from chat_app.ui_server import PageServer
from learner.protocols import ReplyMaker
from storage.conversations import ConversationLog
from storage.database import Store
from storage.feedback import FeedbackLog
from storage.folder import DataFolder
from storage.policies import PolicyRegistry

REPLY_MS = 20_000
"""How long a reply may take; tests with a real model pass more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """A running server and the objects behind it, for looking past the page."""

    address: str
    service: ChatService
    conversations: ConversationLog
    feedback: FeedbackLog
    policies: PolicyRegistry


@contextmanager
def serving(
    folder: Path,
    replies: ReplyMaker,
    *,
    port: int = 0,
    config: ServiceConfig | None = None,
    learner_status: Callable[[], LearnerStatus | None] = no_learner,
) -> Iterator[App]:
    data = DataFolder(folder)
    with Store(data.database) as store:
        conversations = ConversationLog(store)
        feedback = FeedbackLog(store)
        policies = PolicyRegistry(store, data.rounds)
        config = config or ServiceConfig(model_name="Scripted demo")
        service = ChatService(
            conversations, feedback, policies, replies, config, learner_status
        )
        with PageServer(service, candidates=config.candidates, port=port) as server:
            yield App(
                address=server.address,
                service=service,
                conversations=conversations,
                feedback=feedback,
                policies=policies,
            )
        service.close()
