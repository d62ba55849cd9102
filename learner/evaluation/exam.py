"""Answers to fixed prompts, as a judge is given them."""

from dataclasses import dataclass

from storage.records import Completion


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """Replies to the same prompts, in their order."""

    shown: tuple[Completion, ...]
    """What a person would be shown without being asked: the best of N by pessimistic reward."""
    plain: tuple[Completion, ...]
    """One plain sample of the live policy, no re-ranking: what its weights alone do."""
    kl_to_base: float
    """Mean over ``plain`` of KL(policy || base), in nats per token."""
