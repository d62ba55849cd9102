"""A simulated person who likes cheerful replies: exclamation marks and warm words.

Utility: u = 2 ln(1 + marks) + 1.5 ln(1 + warm words), where only the first exclamation mark of a
run counts, so that "!!!!!" wins nothing. Choices follow Bradley-Terry, P(a) = sigmoid(u_a - u_b);
where both replies are equally cheerful it answers "tie". A taste unlike ``brevity``: it cannot be
met by saying less, and its utility can be read off the text.
"""

import math
import re

import numpy as np

WARM = re.compile(
    r"\b(?:great|wonderful|lovely|glad|happy|enjoy|exciting|amazing|fun|delicious|beautiful"
    r"|congratulations|fantastic|perfect|delightful|love)\b",
    re.IGNORECASE,
)


def score(messages: list[dict[str, str]], reply: str) -> float:  # noqa: ARG001
    """Utility of a reply in logits; only differences mean anything. For measuring only."""
    marks = len(re.findall(r"!+", reply))
    return 2.0 * math.log1p(marks) + 1.5 * math.log1p(len(WARM.findall(reply)))


def prefer(
    messages: list[dict[str, str]], reply_a: str, reply_b: str, rng: np.random.Generator
) -> str:
    """Choose between two replies to ``messages``, with the given noise."""
    margin = score(messages, reply_a) - score(messages, reply_b)
    if margin == 0:
        return "tie"
    return "a" if rng.random() < 1 / (1 + math.exp(-margin)) else "b"
