"""Hidden styles: told to the model alone, tried by a bandit, kept with the reply."""

import dataclasses

import numpy as np
import pytest
import torch

from learner.config import RewardConfig
from learner.engine.hf import HfEngine
from learner.engine.lean import LeanEngine
from learner.reward.head import BayesianRewardHead
from learner.style_bandit import StyleBandit
from learner.styles import STYLES, echoing
from storage.records import (
    BASE_VERSION,
    Completion,
    FinishReason,
    Message,
    Role,
    Sampling,
)
from tests.learner.conftest import needs_native, user

PROMPT = user("Why is the sky blue?")


def reply(text: str, style: str | None, seed: int, width: int = 8) -> Completion:
    feature = np.random.default_rng(seed).normal(size=width).astype(np.float16)
    return Completion(
        text=text,
        token_ids=tuple(range(len(text.split()))),
        logprobs=(-1.0,) * len(text.split()),
        finish_reason=FinishReason.STOP,
        policy_version=BASE_VERSION,
        seed=seed,
        sampling=Sampling(),
        feature=feature.tobytes(),
        style=style,
    )


def head_that_likes_short() -> BayesianRewardHead:
    head = BayesianRewardHead(RewardConfig(), seed=0)
    short, long_ = reply("Dust.", None, 1), reply("Because " + "light scatters " * 40, None, 2)
    style, hidden = head.features(PROMPT, [short, long_])
    n = 60
    head.fit_differences(
        style=(style[0] - style[1]).repeat(n, 1),
        hidden=(hidden[0] - hidden[1]).repeat(n, 1),
        position=torch.ones(n),
    )
    return head


def tried_all(bandit: StyleBandit) -> None:
    plain = [reply("Light scatters in the air " * 5, None, seed) for seed in (10, 11)]
    for place, name in enumerate(STYLES):
        text = "Dust." if name == "short" else "Light scatters in the air " * (5 + place)
        bandit.observe(PROMPT, [*plain, reply(text, name, 20 + place)])


def test_the_instruction_ends_the_last_message_and_nothing_else_changes():
    prompt = [Message(role=Role.SYSTEM, content="Be kind."), *PROMPT]
    told = STYLES["short"].told(prompt)
    assert told[:-1] == prompt[:-1]
    assert told[-1].role is Role.USER
    assert told[-1].content == "Why is the sky blue?\n\nAnswer in one short sentence."
    assert prompt[-1].content == "Why is the sky blue?"


def test_styles_never_tried_come_first():
    bandit = StyleBandit(head_that_likes_short())
    generator = torch.Generator().manual_seed(0)
    seen: list[str] = []
    for _ in range(len(STYLES) // 2):
        chosen = bandit.choose(2, generator)
        seen += [style.name for style in chosen]
        for style in chosen:
            plain = reply("Light scatters in the air.", None, 1)
            bandit.observe(PROMPT, [plain, reply("Light " * 9, style.name, 2)])
    assert sorted(seen) == sorted(STYLES)


def test_what_pleases_is_tried_most_often():
    bandit = StyleBandit(head_that_likes_short())
    tried_all(bandit)
    generator = torch.Generator().manual_seed(1)
    first = [bandit.choose(1, generator)[0].name for _ in range(50)]
    assert first.count("short") > 30
    assert bandit.choose(1, None)[0].name == "short"


def test_a_style_is_known_by_replies_that_an_early_choice_cut():
    bandit = StyleBandit(head_that_likes_short())
    text = "Light scatters in the air, and blue light most of all, since"
    plain, detailed, short = (
        dataclasses.replace(reply(text, style, seed), finish_reason=FinishReason.ABORTED)
        for style, seed in ((None, 1), ("detailed", 2), ("cheerful", 3))
    )
    short = dataclasses.replace(short, text="Dust.", finish_reason=FinishReason.STOP, style="short")
    silent = dataclasses.replace(detailed, text=" ", style="formal")
    bandit.observe(PROMPT, [plain, detailed, short, silent])
    worth = bandit.worth(None)
    assert set(worth) == {"detailed", "short"}
    assert worth["short"] > worth["detailed"]


def test_no_styles_are_no_styles():
    assert StyleBandit(head_that_likes_short()).choose(0, None) == []


@pytest.fixture(params=["transformers", pytest.param("native", marks=needs_native)])
def engine(request, backbone, engine_config):
    kind = {"transformers": HfEngine, "native": LeanEngine}[request.param]
    return kind(backbone, engine_config)


@pytest.mark.parametrize("styled", [1, 2])
def test_told_rows_speak_as_if_told_and_plain_ones_as_ever(engine, styled):
    """The rows of a batch with styles are those of the prompts written out."""
    sampling = Sampling(max_new_tokens=12)
    styles = [STYLES["short"], STYLES["list"]][:styled]
    together = run(engine.start(PROMPT, 4, sampling, 7, styles))
    plain = run(engine.start(PROMPT, 4, sampling, 7))
    assert [c.style for c in together] == [None] * (4 - styled) + [s.name for s in styles]
    for row in range(4 - styled):
        assert together[row].token_ids == plain[row].token_ids
    for i, style in enumerate(styles, start=4 - styled):
        [alone] = run(engine.start(style.told(PROMPT), 1, sampling, 7 + i))
        assert together[i].token_ids == alone.token_ids
        assert alone.style is None


def test_each_of_several_prompts_has_its_styles(engine):
    sampling = Sampling(max_new_tokens=6)
    prompts = [user("One"), user("Another, longer one")]
    styles = [STYLES["short"]]
    both = run(engine.start_many(prompts, 2, sampling, [3, 30], styles))
    apart = [
        *run(engine.start(prompts[0], 2, sampling, 3, styles)),
        *run(engine.start(prompts[1], 2, sampling, 30, styles)),
    ]
    assert [(c.style, c.token_ids) for c in both] == [(c.style, c.token_ids) for c in apart]


def run(batch):
    while batch.running:
        batch.step()
    return batch.completions()


@pytest.mark.parametrize(
    ("style", "text", "echoes"),
    [
        ("cheerful", "A great way to start! Use lots of exclamation marks!", True),
        ("cheerful", "What a wonderful morning! Start with a walk!", False),
        ("list", "- tea\n- toast\n- a list of things", False),
        ("list", "Here is a list of bullet points:\n- tea", True),
        ("unsure", "I am not sure, but it may be the light.", False),  # what it is told to say
        ("formal", "My pleasure, Sir, as a courteous BUTLER would say.", True),
        (None, "Use lots of exclamation marks!", False),  # a person may be told so
    ],
)
def test_a_reply_that_repeats_its_hidden_instruction_is_told(style, text, echoes):
    assert echoing([reply("Some reply", None, 1), reply(text, style, 2)]) == [1] * echoes
