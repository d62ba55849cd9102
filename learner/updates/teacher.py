"""Makes a round's lesson of what the log holds: which rule wants what is written here alone."""

from collections.abc import Sequence

import torch

from learner.config import OnlineConfig
from learner.reward.head import BayesianRewardHead
from learner.reward.signals import Signal, orders_of, thumbs_of
from learner.update_config import UpdateRuleName
from learner.updates.lesson import Lesson, Prompt, Verdict, written_by_people
from learner.updates.pairs import human_pairs, reward_pairs
from storage.feedback import FeedbackReader
from storage.opinions import OpinionReader
from storage.rankings import RankingReader
from storage.records import Choice, Preference, Thumb

POOLS = 64
"""Newest prompts whose stored candidates the reward ensemble may label."""
PROMPTS = 8
"""Different prompts that a rule which samples gets: of the new picks, then the newest ones."""
THUMBS = 16
"""Newest thumbs that a rule of single verdicts gets."""
NO_PAIR = (
    "nothing to learn from yet: each choice was made before the other reply was whole, or "
    "contradicts the others; these choices come back with the next ones"
)
TOO_FEW = (
    "nothing to learn from yet: after so few choices new replies cannot be told apart; "
    "these choices come back with the next ones"
)


class Teacher:
    def __init__(
        self,
        feedback: FeedbackReader,
        opinions: OpinionReader,
        rankings: RankingReader,
        config: OnlineConfig,
        *,
        end_ids: Sequence[int],
    ) -> None:
        self._feedback = feedback
        self._opinions = opinions
        self._rankings = rankings
        self._config = config
        self._end_ids = end_ids

    def signals(self) -> list[Signal]:
        """What was said beside picks, for the reward ensemble: thumbs and rankings."""
        return [*thumbs_of(self._opinions.rated()), *orders_of(self._rankings.rankings())]

    def lesson(self, picks: list[Preference], reward: BayesianRewardHead, seed: int) -> Lesson:
        """What may be learned from new ``picks`` and from what the ensemble thinks of old replies.

        Human pairs come once on a lineage of versions, with these picks; pairs labelled by the
        ensemble are drawn anew from the newest prompts, and the newest thumbs come each time.
        """
        dpo, rule = self._config.dpo, self._config.update.rule
        pairs = human_pairs(picks, reward, dpo.label_smoothing)
        pools = self._feedback.pools(limit=POOLS)
        said = [p for p in self._feedback.preferences() if p.choice is not Choice.SKIP]
        if len(said) >= dpo.reward_pairs_after:
            generator = torch.Generator().manual_seed(seed)
            depth = 2 if rule is UpdateRuleName.NPG else 1
            pairs += reward_pairs(pools, reward, dpo.reward_pairs, generator, depth=depth)
        prompts: dict[Prompt, None] = {}
        if len(said) >= dpo.reward_pairs_after:  # those are for the ensemble to score, too
            new = [pick.comparison.prompt for pick in picks]
            prompts = dict.fromkeys([*new, *(pool.prompt for pool in pools)])
        verdicts = [
            Verdict(prompt=one.prompt, completion=one.completion, desirable=one.thumb is Thumb.UP)
            for one in self._opinions.rated()[-THUMBS:]
        ]
        return Lesson(
            pairs=tuple(pairs),
            verdicts=tuple(verdicts),
            prompts=tuple(prompts)[:PROMPTS],
            demonstrations=written_by_people(picks, self._end_ids),
        )

    def nothing_in(self, lesson: Lesson) -> str | None:
        """Why the rule finds nothing in ``lesson``, None if it finds something."""
        match self._config.update.rule:
            case UpdateRuleName.DPO | UpdateRuleName.NPG:
                return None if lesson.pairs else NO_PAIR
            case UpdateRuleName.KTO:  # half a chance says nothing of either reply
                said = lesson.verdicts or any(pair.chosen_prob > 0.5 for pair in lesson.pairs)
                return None if said else NO_PAIR
            case _:
                return None if lesson.prompts else TOO_FEW
