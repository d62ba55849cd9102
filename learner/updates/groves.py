"""Replies in rows: those of one prompt together, several short prompts to a row.

A row is what is run at once (``learner/engine/trees.py``). A prompt is run once in its row, however
many replies it has.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from learner.engine.trees import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One reply as token ids, behind its prompt."""

    name: int
    prompt_ids: tuple[int, ...]
    reply_ids: tuple[int, ...]


@dataclass(slots=True)
class Grove:
    """Trees that run as one row."""

    trees: list[Tree] = field(default_factory=list[Tree])
    names: list[int] = field(default_factory=list[int])
    """Whose reply is which, in the order of the row."""
    tokens: int = 0

    def __contains__(self, name: int) -> bool:
        return name in self.names


def groves(replies: Sequence[Reply], row_tokens: int) -> list[Grove]:
    """All replies, each once, in rows of ``row_tokens`` where they fit."""
    by_prompt: dict[tuple[int, ...], dict[int, tuple[int, ...]]] = {}
    for reply in replies:
        by_prompt.setdefault(reply.prompt_ids, {})[reply.name] = reply.reply_ids
    made: list[Grove] = []
    for prompt_ids, some in by_prompt.items():
        tree = Tree(prompt_ids, tuple(some.values()))
        if not made or made[-1].tokens + len(tree) > row_tokens:
            made.append(Grove())
        made[-1].trees.append(tree)
        made[-1].names += some
        made[-1].tokens += len(tree)
    return made
