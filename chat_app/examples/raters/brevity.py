"""A simulated person who likes short replies. Copy this file to describe another taste.

Utility of a reply of w words: u = -w / 5, so ten words less are worth two logits. Choices follow
Bradley-Terry, P(a) = sigmoid(u_a - u_b): shown the same two samples of the built-in model twice
(at most 128 tokens), this rater agrees with itself in 79 % of the cases. Besides that it

- answers "tie" half of the time where the lengths differ by less than 3 %,
- answers "both_bad" where neither reply has a word,
- skips 1 question in 50.
"""

import math

import numpy as np

WORDS_PER_LOGIT = 5.0
TIE_WITHIN = 0.03
SKIP_SHARE = 0.02


def score(messages: list[dict[str, str]], reply: str) -> float:  # noqa: ARG001
    """Utility of a reply in logits; only differences mean anything. For measuring only."""
    return -len(reply.split()) / WORDS_PER_LOGIT


def prefer(
    messages: list[dict[str, str]], reply_a: str, reply_b: str, rng: np.random.Generator
) -> str:
    """Choose between two replies to ``messages``, with the given noise."""
    words_a, words_b = len(reply_a.split()), len(reply_b.split())
    if rng.random() < SKIP_SHARE:
        return "skip"
    if words_a == words_b == 0:
        return "both_bad"
    if abs(words_a - words_b) <= TIE_WITHIN * max(words_a, words_b) and rng.random() < 0.5:
        return "tie"
    margin = score(messages, reply_a) - score(messages, reply_b)
    return "a" if rng.random() < 1 / (1 + math.exp(-margin)) else "b"
