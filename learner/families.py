"""Which prompts are near-copies of each other, and so belong on one side of any split."""

import re
from collections.abc import Sequence

from storage.records import Message, Role


def family_of(opening: str) -> str:
    """The first 70 letters of what opened the conversation: near-copies of a prompt share them."""
    return re.sub(r"\W+", " ", opening.lower()).strip()[:70]


def family_of_prompt(prompt: Sequence[Message]) -> str:
    """Of the first thing the user said in it, or of its first message if they said nothing."""
    return family_of(next((m for m in prompt if m.role is Role.USER), prompt[0]).content)
