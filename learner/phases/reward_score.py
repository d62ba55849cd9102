"""How much better the reward ensemble finds a version's replies than the parent's.

Rewards mean something within one prompt only, so the score is a win rate: the mean over prompts and
members of sigmoid(reward of the new reply - reward of the parent's), both drawn with the same seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from learner.features import frozen_features
from learner.phases.place import Place
from learner.phases.said import Said
from learner.reward.featured import featured
from learner.reward.head import BayesianRewardHead
from storage.records import Completion, Message, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardScoreConfig:
    picks: int = 20
    """Answers in the data folder below which the ensemble is not asked: it knows too little."""
    prompts: int = 16
    """Held-out prompts replied to for each measurement."""
    max_new_tokens: int = 64
    loss_slack: float = 0.05
    """Nats by which the held-out loss may be above its lowest where the score chooses."""

    def __post_init__(self) -> None:
        if min(self.picks, self.prompts, self.max_new_tokens) < 1:
            raise ValueError("picks, prompts and max_new_tokens must be positive")


class RewardScore:
    """Measures whatever version the engine speaks, against the parent's replies."""

    def __init__(
        self,
        place: Place,
        head: BayesianRewardHead,
        prompts: Sequence[tuple[Message, ...]],
        config: RewardScoreConfig,
        *,
        seed: int,
        sha256: str,
    ) -> None:
        self._engine = place.engine
        self._features = frozen_features(place.engine)
        self._head = head
        self._prompts = list(prompts)
        self._sampling = Sampling(max_new_tokens=config.max_new_tokens)
        self._seed = seed
        self.sha256 = sha256
        """Of the answers that the ensemble was fitted to."""
        place.engine.load(place.parent)
        self._before = self._replies()

    @classmethod
    def of_picks(
        cls,
        place: Place,
        config: RewardScoreConfig,
        prompts: Sequence[tuple[Message, ...]],
        *,
        seed: int,
    ) -> "RewardScore | None":
        """By the ensemble that the chat would have; None where there are too few answers."""
        said = Said.read(place)
        if said.picks < config.picks or not prompts:
            return None
        head = said.ensemble(place, seed=seed)
        return cls(place, head, prompts[: config.prompts], config, seed=seed, sha256=said.sha256)

    def measure(self) -> dict[str, float]:
        """The score, and the mean length of the replies in tokens."""
        replies = self._replies()
        wins = [
            torch.sigmoid(rewards[:, 0] - rewards[:, 1]).mean()
            for rewards in (
                self._head.score(prompt, pair)
                for prompt, *pair in zip(self._prompts, replies, self._before, strict=True)
            )
        ]
        return {
            "reward_score": float(torch.stack(wins).mean()),
            "reply_tokens": sum(len(one.token_ids) for one in replies) / len(replies),
        }

    def _replies(self) -> list[Completion]:
        seeds = [self._seed + i for i in range(len(self._prompts))]
        batch = self._engine.start_many(self._prompts, 1, self._sampling, seeds)
        while batch.running:
            batch.step()
        return [
            self._featured(prompt, one)
            for prompt, one in zip(self._prompts, batch.completions(), strict=True)
        ]

    def _featured(self, prompt: tuple[Message, ...], one: Completion) -> Completion:
        return featured(self._features, prompt, [one])[0]
