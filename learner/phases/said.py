"""What a person said of replies in a data folder, and the live reward ensemble that follows."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from learner.config import RewardConfig
from learner.phases.place import Place
from learner.reward.lean import LeaningHead
from learner.reward.lean_file import Lean, read_lean
from learner.reward.signals import Ordered, Thumb, orders_of, thumbs_of
from learner.reward.taste import load_taste
from storage.feedback import FeedbackReader
from storage.opinions import OpinionReader
from storage.rankings import RankingReader
from storage.records import Choice, Preference


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """All that the ensemble of the chat is fitted to."""

    preferences: Sequence[Preference]
    orders: Sequence[Ordered]
    thumbs: Sequence[Thumb]
    lean: Lean
    """The person's own word, in logits by style feature."""

    @classmethod
    def read(cls, place: Place) -> "Said":
        return cls(
            preferences=FeedbackReader(place.store).preferences(),
            orders=orders_of(RankingReader(place.store).rankings()),
            thumbs=thumbs_of(OpinionReader(place.store).rated()),
            lean=read_lean(place.folder.taste),
        )

    @property
    def picks(self) -> int:
        """Answers that say something of two replies."""
        return sum(pick.choice is not Choice.SKIP for pick in self.preferences)

    @property
    def sha256(self) -> str:
        known: list[object] = [(p.id, p.choice.value) for p in self.preferences]
        known += [(o.at, o.ranks) for o in self.orders] + [(t.at, t.up) for t in self.thumbs]
        known += sorted(self.lean.items())
        return hashlib.sha256(repr(known).encode()).hexdigest()

    def ensemble(self, place: Place, *, seed: int) -> LeaningHead:
        """The reward ensemble that the chat would have now."""
        head = LeaningHead(
            RewardConfig(),
            seed=seed,
            taste=load_taste(place.model.sha256),
            lean=lambda: self.lean,
        )
        head.fit(self.preferences, [*self.thumbs, *self.orders])
        return head
