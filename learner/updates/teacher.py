"""Makes a round's lesson of what the log holds: which rule wants what is written here alone."""

import torch

from learner.config import OnlineConfig
from learner.reward.head import BayesianRewardHead
from learner.updates.lesson import Lesson, written_by_people
from learner.updates.pairs import human_pairs, reward_pairs
from storage.feedback import FeedbackReader
from storage.records import Preference

POOLS = 64
"""Newest prompts whose stored candidates the reward ensemble may label."""
PROMPTS = 8
"""Different prompts that a rule which samples gets: of the new picks, then the newest ones."""


class Teacher:
    def __init__(self, feedback: FeedbackReader, config: OnlineConfig, *, eos_id: int) -> None:
        self._feedback = feedback
        self._config = config
        self._eos_id = eos_id

    def lesson(self, picks: list[Preference], reward: BayesianRewardHead, seed: int) -> Lesson:
        """What may be learned from new ``picks`` and from what the ensemble thinks of old replies.

        Human pairs come once on a lineage of versions, with these picks; pairs labelled by the
        ensemble are drawn anew from the newest prompts.
        """
        dpo = self._config.dpo
        pairs = human_pairs(picks, dpo.label_smoothing)
        pools = self._feedback.pools(limit=POOLS)
        if len(self._feedback.preferences()) >= dpo.reward_pairs_after:
            generator = torch.Generator().manual_seed(seed)
            pairs += reward_pairs(pools, reward, dpo.reward_pairs, generator)
        prompts = dict.fromkeys(
            [pick.comparison.prompt for pick in picks] + [pool.prompt for pool in pools]
        )
        return Lesson(
            pairs=tuple(pairs),
            prompts=tuple(prompts)[:PROMPTS],
            demonstrations=written_by_people(picks, self._eos_id),
        )
