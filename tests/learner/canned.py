"""A reply maker whose candidates are given: turns without a language model."""

from dataclasses import replace

import torch

from learner.asking import AskingReplyMaker
from learner.config import AskConfig, RewardConfig
from learner.engine.local import ServingEngine
from learner.protocols import DecodingBatch
from learner.reward.head import BayesianRewardHead
from storage.records import Sampling
from tests.learner.test_reward_head import H, brevity_picks, completion

RIVAL = "A rival says so."
"""What a reply says that is drawn alone."""

PARIS = (
    "Paris is the capital of France, and a fine city to spend a week in.",
    "It is Paris.",
    "The capital of that country lies on the Seine, and its name is Paris!",
)


class Said(DecodingBatch):
    """Replies that are whole at once."""

    dropped_messages = 0
    running = False

    def __init__(self, texts, seed, version):
        words = [len(text.split()) for text in texts]
        self.said = [
            replace(completion(n, seed=i), text=text, seed=seed + i, policy_version=version)
            for i, (n, text) in enumerate(zip(words, texts, strict=True))
        ]

    def text(self, row):
        return self.said[row].text

    def lengths(self):
        return [len(one.token_ids) for one in self.said]

    def done(self, row):
        return True

    def drop(self, rows):
        pass

    def completions(self):
        return self.said


class Canned(ServingEngine):
    """Says the same to everybody, and a text of its own where one reply is drawn alone."""

    backbone = None
    policy_version = 0
    context_tokens = 512

    def __init__(self, *texts):
        self.texts = texts

    def load(self, version):
        self.version = version.id

    def start(self, prompt, n, sampling, seed, styles=()):
        texts = self.texts if n > 1 else [RIVAL]
        return Said(texts, seed, self.version)

    def start_many(self, prompts, n, sampling, seeds, styles=()):
        return Said(self.texts[:n] * len(prompts), seeds[0], self.version)


class Numbers:
    """Features that follow from the tokens alone, and are those of nothing for no tokens."""

    def extract(self, prompt, completions):
        rows = [
            torch.randn(H, generator=torch.Generator().manual_seed(len(c))) for c in completions
        ]
        return torch.stack([r * bool(c) for r, c in zip(rows, completions, strict=True)])


def brief(*texts, picks=16, **ask):
    """A reply maker that was taught to be brief, and whose candidates are these."""
    reward = BayesianRewardHead(RewardConfig(), seed=0)
    reward.fit(brevity_picks(picks))
    ask = {"candidates": len(texts), "styled": 0, "random_share": 0.0} | ask
    return AskingReplyMaker(
        engine=Canned(*texts),
        features=Numbers(),
        reward=reward,
        ask=AskConfig(**ask),
        sampling=Sampling(max_new_tokens=128),
    )
