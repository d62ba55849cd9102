"""The loop with vLLM writing the replies: a message, a pick, a lesson, and the version that speaks.

The service, SQLite, the learner's process and vLLM are real; only the page is left out.
"""

import time
from functools import partial

import pytest

from chat_app.config import ServiceConfig
from chat_app.progress import read_progress
from chat_app.service import ChatService
from learner.build import LearnerBuild, build_replies
from learner.config import (
    AskConfig,
    AskMode,
    Decoder,
    DpoConfig,
    EngineConfig,
    GateConfig,
    OnlineConfig,
    RewardConfig,
)
from learner.engine.vllm import VllmEngine
from learner.worker import LearnerProcess
from storage.records import BASE_VERSION, Choice, Sampling
from tests.chat_app.conftest import logs_of
from tests.storage.builders import World

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.model,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("default"),
]

LESSON_S = 900
"""The learner takes what others leave of the processor."""
ENGINE = EngineConfig(decoder=Decoder.VLLM, device="cpu", sampling=Sampling(max_new_tokens=24))
ONLINE = OnlineConfig(
    min_preferences=1,
    dpo=DpoConfig(reward_pairs=0),
    gate=GateConfig(prompts=2, max_new_tokens=16, min_length_ratio=0.1, max_length_ratio=10.0),
)


def test_a_pick_becomes_a_version_that_vllm_speaks(tmp_path, default_model):
    pytest.importorskip("vllm", reason="vLLM is not installed here: make test-vllm")
    world = World.open(tmp_path / "data")
    replies = build_replies(
        default_model,
        engine=ENGINE,
        ask=AskConfig(mode=AskMode.ALWAYS, commit_after_tokens=8),
        reward=RewardConfig(),
    )
    assert isinstance(replies.engine, VllmEngine)
    config = ServiceConfig(model_name=default_model.name, min_preferences=1, collect_every_s=0.2)
    progress = partial(read_progress, world.folder.progress)
    service = ChatService(logs_of(world), replies, config, progress)
    build = LearnerBuild(data=world.folder.root, model=default_model, engine=ENGINE, online=ONLINE)
    learner = LearnerProcess(build, world.folder.progress)
    learner.start()
    try:
        chat = service.new_conversation()
        service.say(chat.id, "Hello, my name is Ada.")
        service.drain()
        question = service.view(chat.id).question
        assert question is not None
        shown = (question.first.completion, question.second.completion)
        assert {c.policy_version for c in shown} == {BASE_VERSION}
        assert all(c.feature and c.reward_mean is not None for c in shown)
        service.choose(question.token, Choice.FIRST, decision_ms=900)

        deadline = time.monotonic() + LESSON_S
        while world.policies.current().id == BASE_VERSION:
            assert time.monotonic() < deadline, "no version came of the pick"
            time.sleep(0.5)
        service.say(chat.id, "What is my name?")
        service.drain()
        later = service.view(chat.id).question
        assert later is not None
        versions = {c.completion.policy_version for c in (later.first, later.second)}
        assert versions == {world.policies.current().id}

        service.roll_back(BASE_VERSION)
        service.choose(later.token, Choice.SECOND, decision_ms=900)
        service.say(chat.id, "Thank you.")
        service.drain()
        last = service.view(chat.id).question
        assert last is not None and last.first.completion.policy_version == BASE_VERSION
    finally:
        learner.stop()
        service.close()
        replies.engine.core.close()
        world.store.close()
