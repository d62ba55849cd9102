"""What a sampled reply is worth: only against the other replies to its prompt."""

from dataclasses import replace

import pytest
import torch

from learner.update_config import LoraSpec, RolloutConfig, UpdateConfig
from learner.updates.rollouts import RewardScale, Rollout, sample_rollouts
from storage.records import Completion, FinishReason, PolicyVersionId, Sampling
from tests.learner.conftest import user

CONFIG = RolloutConfig()
PROMPTS = (user("Say a"), user("Say b"))


def rollout(prompt, rewards, text="hello there", ids=(1, 2, 3)) -> Rollout:
    completion = Completion(
        text=text,
        token_ids=ids,
        logprobs=(-1.0,) * len(ids),
        finish_reason=FinishReason.STOP,
        policy_version=PolicyVersionId(0),
        seed=0,
        sampling=Sampling(),
    )
    return Rollout(
        prompt=prompt,
        prompt_ids=(1,),
        completion=completion,
        reply_ids=ids,
        rewards=torch.tensor(rewards),
    )


def worth(rollouts, config=CONFIG):
    return RewardScale.of(rollouts, config)(rollouts, config)


@pytest.fixture
def batch():
    members = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    return [
        rollout(prompt, members[i, n].tolist())
        for i, prompt in enumerate(PROMPTS)
        for n in range(4)
    ]


def test_what_a_member_gives_all_replies_to_a_prompt_is_neither_worth_nor_doubt(batch):
    """A Bradley-Terry reward is only known up to a constant a prompt."""
    offset = {PROMPTS[0]: torch.tensor([0.0, 9.0, -4.0]), PROMPTS[1]: torch.tensor([5.0, 0.0, 1.0])}
    moved = [replace(one, rewards=one.rewards + offset[one.prompt]) for one in batch]
    torch.testing.assert_close(worth(moved), worth(batch))
    cautious = worth(batch)
    bold = worth(batch, replace(CONFIG, pessimism=0.0))
    assert (cautious < bold).all()
    assert float(bold.mean()) == pytest.approx(0.0, abs=1e-6)
    assert float(bold.std(correction=0)) == pytest.approx(1.0, abs=1e-5)


def test_one_reply_a_prompt_is_set_against_the_first_replies_to_all(batch):
    alone = [replace(one, prompt=user(f"Question {i}?")) for i, one in enumerate(batch)]
    rewards = torch.stack([one.rewards for one in alone], dim=1)
    rewards = rewards - rewards.mean(dim=1, keepdim=True)
    expected = rewards.mean(dim=0) - rewards.std(dim=0, correction=0)
    spread = rewards.mean(dim=0).std(correction=0)
    torch.testing.assert_close(worth(alone), expected / spread)


@pytest.mark.parametrize(
    "empty", [{"text": " \n", "ids": (1, 2)}, {"text": "ha " * 30, "ids": (7,) * 30}]
)
def test_a_reply_without_a_word_or_that_loops_is_worth_least_and_moves_no_other(batch, empty):
    """Whatever the ensemble guesses of it: here, that it is by far the best."""
    guessed = rollout(PROMPTS[0], [50.0, 40.0, 60.0], **empty)
    scores = worth([*batch, guessed])
    assert float(scores[-1]) == -CONFIG.reward_clip
    torch.testing.assert_close(scores[:-1], worth(batch))
    assert float(worth([guessed, guessed])[0]) == -CONFIG.reward_clip  # a batch of such


class Seen:
    def __init__(self) -> None:
        self.replies: list[Completion] = []

    def score(self, prompt, completions):
        self.replies += completions
        return torch.zeros(2, len(completions))


@pytest.mark.parametrize(("limit", "judged_so"), [(None, 5), (5, 5), (40, 40)])
def test_a_reply_that_the_rollout_cuts_is_judged_as_a_draft(engine, base, limit, judged_so):
    engine.backbone.open_training(base, LoraSpec(rank=2, alpha=2), 0)
    free = Sampling(temperature=1.0, top_k=1000, top_p=1.0, max_new_tokens=5)
    config = RolloutConfig(samples=8, sampling=free, reply_limit=limit)
    reward = Seen()
    made = sample_rollouts(engine, reward, PROMPTS, config, seed=0)
    cut = [r.completion.finish_reason is FinishReason.LENGTH for r in made]
    assert any(cut)
    for was_cut, judged in zip(cut, reward.replies, strict=True):
        draft = was_cut and limit == 40
        assert (judged.finish_reason is FinishReason.ABORTED) is draft
        assert judged.sampling.max_new_tokens == (judged_so if was_cut else 5)


def test_in_the_live_loop_replies_are_judged_at_the_length_of_the_chat():
    live = UpdateConfig()
    assert live.ppo.rollout.reply_limit == live.group.rollout.reply_limit == 128
    assert live.ppo.gae_lambda == 1.0
    with pytest.raises(ValueError, match="reply_limit"):
        RolloutConfig(reply_limit=0)
