"""Messages of about forty tokens, different for every round and turn. Standard library only."""

import random

WORDS = [
    "river",
    "stone",
    "quiet",
    "market",
    "answer",
    "window",
    "garden",
    "paper",
    "winter",
    "careful",
    "engine",
    "little",
    "summer",
    "between",
    "question",
    "morning",
    "mountain",
    "simple",
    "bridge",
    "letter",
    "coffee",
    "yellow",
    "reason",
    "travel",
    "music",
]


def user_text(number: int, turn: int) -> str:
    rng = random.Random(1000 * number + turn)  # noqa: S311 - filler
    return f"Round {number}: " + " ".join(rng.choices(WORDS, k=34)) + "?"
