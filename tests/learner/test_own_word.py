"""A person's own word moves rewards the way it says, once, and no disagreement."""

import json
from pathlib import Path

import pytest
import torch

from learner.config import RewardConfig
from learner.reward.head import BayesianRewardHead
from learner.reward.lean import LeaningHead
from learner.reward.lean_file import MAX_LEAN, read_lean, write_lean
from storage.records import Message, Role
from tests.learner.test_reward_head import brevity_picks
from tests.storage.builders import completion

PROMPT = (Message(role=Role.USER, content="why?"),)


def replies():
    texts = ("Because.", "Because air scatters blue light in every direction, all over the sky.")
    return [completion(text) for text in texts]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "taste.json"


def test_who_leans_to_shorter_replies_gets_them_and_is_asked_as_before(file: Path) -> None:
    plain = BayesianRewardHead(RewardConfig(hidden_components=0), seed=0)
    head = LeaningHead(RewardConfig(hidden_components=0), seed=0, lean=lambda: read_lean(file))
    head.fit([])
    before = head.score(PROMPT, replies())
    assert torch.equal(before, plain.score(PROMPT, replies()))
    write_lean(file, {"longer": -1.0})
    assert torch.equal(head.score(PROMPT, replies()), before)  # until the next fit
    head.fit([])
    after = head.score(PROMPT, replies())
    moved = (after - before)[:, 0] - (after - before)[:, 1]
    assert (moved > 0).all() and torch.allclose(moved, moved[0].expand_as(moved), atol=1e-5)
    assert head.lean["longer"] == -1.0


def test_a_word_that_choices_bear_out_is_not_counted_twice(file: Path) -> None:
    """Added to what choices teach, it would drown whatever else the person likes."""
    plain = BayesianRewardHead(RewardConfig(hidden_components=0), seed=0)
    head = LeaningHead(RewardConfig(hidden_components=0), seed=0, lean=lambda: read_lean(file))
    picks = brevity_picks(80)
    plain.fit(picks)
    learned = plain.style_weights["longer"]
    assert learned < -1.0
    write_lean(file, {"longer": -2.0})
    head.fit(picks)
    assert abs(head.style_weights["longer"]) < 0.5  # it was said before
    write_lean(file, {"longer": 2.0})
    head.fit(picks)  # a word that choices contradict is outweighed
    assert head.style_weights["longer"] + head.lean["longer"] < -0.3
    write_lean(file, {})
    head.fit(picks)
    assert head.style_weights == plain.style_weights


def test_what_is_in_the_file_is_not_trusted(file: Path) -> None:
    assert read_lean(file) == {}
    for text in ("{oh no", "[1]", json.dumps({"longer": "much", "louder": 1, "refuses": 0})):
        file.write_text(text)
        assert read_lean(file) == {}
    file.write_text('{"longer": 99, "more hedging": NaN, "refuses": -0.5}')
    assert read_lean(file) == {"longer": MAX_LEAN, "refuses": -0.5}
