"""What a round learns from: pairs, judged single replies, prompts and demonstrations.

A lesson holds all of it; each update rule takes what it needs and leaves the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from learner.updates.pairs import TrainingPair
from storage.records import Author, Completion, Message, Preference

Prompt = tuple[Message, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A reply that somebody judged by itself."""

    prompt: Prompt
    completion: Completion
    desirable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """What the assistant ought to say: its tokens, with those that end a reply if it ends."""

    prompt: Prompt
    reply_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    pairs: tuple[TrainingPair, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    """To sample replies to, for the rules that do."""
    demonstrations: tuple[Demonstration, ...] = ()


def written_by_people(
    preferences: Sequence[Preference], end_ids: Sequence[int]
) -> tuple[Demonstration, ...]:
    """Replies that a person wrote or rewrote, which were picked over what the policy said."""
    return tuple(
        Demonstration(
            prompt=p.comparison.prompt, reply_ids=(*p.chosen.completion.token_ids, *end_ids)
        )
        for p in preferences
        if p.chosen is not None
        and p.chosen.author is Author.PERSON
        and p.chosen.completion.token_ids
    )
