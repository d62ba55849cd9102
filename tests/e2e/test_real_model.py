"""The whole loop as a person meets it: real browser, real model, real SQLite, real learner."""

import time
from collections.abc import Iterator
from threading import Event

import pytest
from playwright.sync_api import Browser, expect

from chat_app.config import ServiceConfig
from learner.build import LearnerBuild, build_replies
from learner.config import (
    AskConfig,
    AskMode,
    DpoConfig,
    EngineConfig,
    GateConfig,
    OnlineConfig,
    RewardConfig,
)
from learner.worker import LearnerProcess
from storage.records import Choice, Comparison, Completion, Message, PolicyVersionId, Role, Sampling
from tests.e2e.page import App, Person, serving

pytestmark = [
    pytest.mark.browser,
    pytest.mark.model,
    pytest.mark.timeout(600),
    # Gradio still sets an option that pandas 3 has deprecated.
    pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning"),
]

PATIENCE_MS = 120_000
LESSON_S = 400
"""The learner takes what others leave of the processor: beside a busy machine that is little."""
ENGINE = EngineConfig(sampling=Sampling(max_new_tokens=24))
# One pick makes a lesson here, and a small one: the test is about the loop, not about the taste.
ONLINE = OnlineConfig(
    min_preferences=1,
    dpo=DpoConfig(reward_pairs=0),
    gate=GateConfig(prompts=2, max_new_tokens=16, min_length_ratio=0.1, max_length_ratio=10.0),
)


@pytest.fixture
def app(tmp_path, default_model) -> Iterator[App]:
    replies = build_replies(
        default_model,
        engine=ENGINE,
        ask=AskConfig(mode=AskMode.ALWAYS, commit_after_tokens=8),
        reward=RewardConfig(),
    )
    config = ServiceConfig(model_name=default_model.name, min_preferences=1, collect_every_s=0.2)
    with serving(tmp_path / "data", replies, config=config) as app:
        build = LearnerBuild(
            data=app.folder.root, model=default_model, engine=ENGINE, online=ONLINE
        )
        learner = LearnerProcess(build, app.folder.progress)
        learner.start()
        try:
            yield app
        finally:
            learner.stop()


def written(app: App) -> list[tuple[str, tuple[int, ...]]]:
    """What the live version draws for one prompt under one seed, without a word of the judges.

    The whole prompt is encoded, whatever was said before.
    """
    found: list[Completion] = []

    def write() -> None:
        live = app.policies.current()
        # On some processors the order of sums depends on how many tokens are left to encode.
        app.replies.engine._memory.forget(live.id)
        prompt = [Message(role=Role.USER, content="Tell me about the sea.")]
        plan = app.replies.compare(prompt, (live, live), 11, lambda _: None, Event())
        found.extend(plan.shown)

    app.service.on_model(write)
    app.service.drain()
    return [(one.text, one.token_ids) for one in found]


def newest(app: App) -> Comparison:
    return app.feedback.preferences()[-1].comparison


def test_a_pick_becomes_a_version_that_writes_the_later_reply(app: App, browser: Browser):
    person = Person(browser.new_page(), patience_ms=PATIENCE_MS)
    person.visit(app.address)

    before = written(app)
    person.say("Hello, my name is Ada.")
    person.key()  # the address names the chat from here on
    person.reload()  # while it is being written
    first, second = person.await_question()
    assert first != second
    person.reload()  # with the question open
    assert person.await_question() == (first, second)
    person.part("choose-1").click()
    assert person.await_reply(1) == first
    [preference] = app.feedback.preferences()
    assert preference.choice is Choice.FIRST
    assert preference.chosen is not None
    assert preference.chosen.completion.policy_version == 0

    deadline = time.monotonic() + LESSON_S
    while app.policies.current().id == 0:
        assert time.monotonic() < deadline, "no version came of the pick"
        time.sleep(0.2)
    expect(person.part("status")).to_contain_text("v1", timeout=10_000)
    [round_] = app.policies.rounds_log()
    assert round_.preference_ids == (preference.id,)

    person.say("What is my name?")
    person.await_question()
    person.press("2")
    person.await_reply(2)
    expect(person.part("mark")).to_contain_text("version 1")
    comparison = newest(app)
    versions = {c.completion.policy_version for c in (comparison.first, comparison.second)}
    assert min(versions) >= 1

    person.say("Thank you.")
    person.await_question()
    person.press("1")
    person.await_reply(3)
    roles = [message.role for message in newest(app).prompt]
    assert roles == [Role.USER, Role.ASSISTANT, Role.USER, Role.ASSISTANT, Role.USER]
    assert newest(app).prompt[0].content == "Hello, my name is Ada."
    assert newest(app).prompt[1].content == preference.chosen.completion.text
    app.service.roll_back(PolicyVersionId(0))
    expect(person.part("status")).to_contain_text("v0", timeout=10_000)
    assert written(app) == before  # byte for byte
    assert person.errors == []
    person.page.close()
