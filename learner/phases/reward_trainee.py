"""What a reward phase trains, behind one seam, in three kinds.

head      Bayesian heads on frozen features: nothing but a reading of each reply; for laptops
adapter   an adapter over the base, with scores on the last token's state
model     a model of its own, all weights, as transformers' sequence classification
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from learner.reward.ranked import RankedReplies
from storage.slates import Criterion


@runtime_checkable
class RewardTrainee(Protocol):
    def step(self, number: int, items: Sequence[RankedReplies]) -> dict[str, float]: ...
    def ready(self) -> None:
        """Before scoring: take up what was learned since."""
        ...

    def rewards(self, item: RankedReplies) -> Float[Tensor, "E C N"]: ...
    def flip_rate(self, criterion: Criterion) -> float: ...
    def tensors(self) -> dict[str, Tensor]: ...
    def values(self) -> dict[str, Any]: ...
    def restore(
        self,
        tensors: Mapping[str, Tensor],
        values: Mapping[str, Any],
        learned: Sequence[RankedReplies],
    ) -> None:
        """Take up what ``tensors`` and ``values`` gave after ``learned``."""
        ...

    def save(self, folder: Path) -> None: ...
    def close(self) -> None: ...
