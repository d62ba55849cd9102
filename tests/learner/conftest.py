"""A tiny real model, its engine, and short builders of records."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from learner.config import EngineConfig
from learner.engine.backbone import Backbone
from learner.engine.hf import HfEngine
from learner.engine.native.build import NativeUnavailableError, load_library
from storage.records import BASE_VERSION, Message, PolicyVersion, Role, Sampling
from tests.tiny import write_tiny_model


def _why_not_native() -> str | None:
    try:
        load_library()
    except NativeUnavailableError as error:
        return str(error)
    return None


needs_native = pytest.mark.skipif(
    os.environ.get("TWOFOLD_REQUIRE_BROWSER") != "1" and _why_not_native() is not None,
    reason=f"the native decoder can't be built here: {_why_not_native()}",
)
"""Where everything is required, as in CI, the tests run and fail instead."""

SAMPLING = Sampling(temperature=1.0, max_new_tokens=24)


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can grow beyond a few pages."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def engine_config():
    return EngineConfig(sampling=SAMPLING, dtype="float32", device="cpu", max_prompt_tokens=256)


@pytest.fixture
def backbone(tiny_folder, engine_config):
    return Backbone(tiny_folder.path, engine_config)


@pytest.fixture
def engine(backbone, engine_config):
    return HfEngine(backbone, engine_config)


@pytest.fixture
def base():
    return PolicyVersion(
        id=BASE_VERSION, parent=None, adapter_path=None, created_at=datetime.now(UTC)
    )


def user(*texts: str) -> tuple[Message, ...]:
    """A conversation that a person opens and both continue in turn."""
    roles = (Role.USER, Role.ASSISTANT)
    return tuple(Message(role=roles[i % 2], content=text) for i, text in enumerate(texts))
