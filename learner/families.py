"""Which prompts are near-copies of each other, and so belong on one side of any split."""

import re


def family_of(opening: str) -> str:
    """The first 70 letters of what opened the conversation: near-copies of a prompt share them."""
    return re.sub(r"\W+", " ", opening.lower()).strip()[:70]
