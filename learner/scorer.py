"""What the ensemble thinks of replies, and replies with what the log keeps of that."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from learner.protocols import FeatureExtractor
from learner.reward.featured import featured
from learner.reward.head import BayesianRewardHead
from storage.records import AskReason, Completion, Message, Question


class Scorer:
    """The frozen features and the ensemble that reads them."""

    def __init__(self, features: FeatureExtractor, reward: BayesianRewardHead) -> None:
        self.features = features
        self.reward = reward

    def score(
        self, prompt: Sequence[Message], completions: Sequence[Completion]
    ) -> Float[Tensor, "E N"]:
        """Every member's reward of each completion, features extracted anew; drafts may be cut."""
        return self.reward.score(prompt, self.featured(prompt, completions))

    def scored(
        self, prompt: Sequence[Message], completions: Sequence[Completion]
    ) -> list[Completion]:
        """The policy's completions with their features, and mean and standard deviation of their
        rewards over the members, as they were when the person looked."""
        rated = self.read(prompt, completions)
        for completion in completions:
            self.reward.lengths.observe(completion)
        return rated

    def read(
        self, prompt: Sequence[Message], completions: Sequence[Completion]
    ) -> list[Completion]:
        """The same of replies that the policy did not write: how long they are says nothing of how
        long its own become."""
        finished = self.featured(prompt, completions)
        rewards = self.reward.score(prompt, finished)
        mean, std = rewards.mean(dim=0).tolist(), rewards.std(dim=0, correction=0).tolist()
        return [
            replace(c, reward_mean=m, reward_std=s)
            for c, m, s in zip(finished, mean, std, strict=True)
        ]

    def featured(
        self, prompt: Sequence[Message], completions: Sequence[Completion]
    ) -> list[Completion]:
        """The same completions with their features."""
        return featured(self.features, prompt, completions)

    def question(
        self,
        prompt: Sequence[Message],
        shown: Sequence[Completion],
        reason: AskReason,
        propensity: float,
    ) -> Question:
        """About two replies with features, whatever the ensemble thinks of them."""
        rewards = self.reward.score(prompt, shown)
        p = torch.sigmoid(rewards[:, 0] - rewards[:, 1])
        return Question(
            reason=reason,
            propensity=propensity,
            disagreement=float(p.std(correction=0)),
            first_better_prob=float(p.mean()),
        )
