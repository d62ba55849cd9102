"""A real store in a folder of its own, and services over it that end with the test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from chat_app.config import ServiceConfig
from chat_app.progress import no_learner
from chat_app.service import ChatService
from learner.protocols import ReplyMaker
from storage.logs import Logs
from tests.storage.builders import World

CONFIG = ServiceConfig(model_name="a script", collect_every_s=0)


def logs_of(world: World) -> Logs:
    return replace(
        Logs.over(world.store, world.folder.rounds),
        conversations=world.log,
        feedback=world.feedback,
        policies=world.policies,
    )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    opened = World.open(tmp_path / "data")
    yield opened
    opened.store.close()


@pytest.fixture
def serve(world: World) -> Iterator[Callable[..., ChatService]]:
    """Start a service with a reply maker; a second one stands for a restart."""
    with ExitStack() as stack:

        def start(replies: ReplyMaker, config: ServiceConfig = CONFIG) -> ChatService:
            service = ChatService(logs_of(world), replies, config, no_learner)
            stack.callback(service.close)
            return service

        yield start
