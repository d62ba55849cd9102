"""What a replay of recorded choices is asked to do (``twofold reward-eval``)."""

from dataclasses import dataclass
from pathlib import Path

from learner.config import QueryRule


class RewardEvalError(Exception):
    """The replay cannot be done; the text is one sentence for who started it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardEvalOptions:
    pairs: Path
    """JSON lines, gzipped or not: ``prompt`` or ``messages``, ``chosen``, ``rejected``."""
    query: QueryRule
    labels: tuple[int, ...]
    """Label counts at which the ensemble is measured."""
    seeds: int
    """Splits and query orders; intervals are over these."""
    out: Path
    only_set: str | None = None
    """Take only rows whose ``set`` is this."""
    components: int | None = None
    """Principal components of the hidden states; 0 is style alone, None the default."""
    layer: int | None = None
    """Layer the hidden states are taken from, from 1; None is the default."""

    def __post_init__(self) -> None:
        if not self.labels or min(self.labels) < 1 or sorted(set(self.labels)) != [*self.labels]:
            raise ValueError(f"labels must be rising positive counts, got {self.labels}")
        if self.seeds < 2:
            raise ValueError(f"an interval over seeds needs at least 2, got {self.seeds}")
