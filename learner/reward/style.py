"""The explicit style features: what a reply looks like, in numbers a person can read.

They need no model, cost microseconds and name what was learned ("shorter", "fewer lists"). Each
is divided by a typical difference between two replies to one prompt, so that weights compare.
"""

import math
import re
from collections.abc import Sequence
from itertools import pairwise

from storage.records import Message, Role

_WORD = re.compile(r"[\w']+")
_LIST_LINE = re.compile(r"^\s*(?:[-*\u2022]|\d{1,2}[.)])\s+", re.MULTILINE)
_REFUSAL = re.compile(
    r"\b(?:i can(?:no|')t|i(?: a|')m (?:sorry|unable|not able)|i won't|as an ai|cannot assist)",
    re.IGNORECASE,
)
_POLITE = re.compile(
    r"\b(?:please|thank|thanks|glad|happy to|of course|certainly|welcome|great question)\b",
    re.IGNORECASE,
)
_CONTRACTION = re.compile(r"\w(?:n't|'(?:s|re|ll|ve|d|m))\b", re.IGNORECASE)
"""English speech in writing; the plainest mark of an informal tone (Biber 1988, dimension 1)."""
_HEDGE = re.compile(
    r"\b(?:maybe|perhaps|might|may|could|not sure|i think|it depends|i don't know|possibly)\b",
    re.IGNORECASE,
)

STYLE_SCALES: dict[str, float] = {
    "longer": 0.5,
    "more list items": 1.0,
    "more paragraphs": 0.5,
    "more questions": 0.5,
    "more exclamation marks": 0.5,
    "more repetition": 0.1,
    "more words of the question": 0.15,
    "refuses": 0.3,
    "comes to an end": 0.4,
    "longer words": 0.4,
    "more polite phrases": 0.5,
    "more hedging": 0.5,
    "more contractions": 0.5,
}
"""Feature name -> typical difference between two replies to one prompt, in the feature's unit."""

STYLE_NAMES: tuple[str, ...] = tuple(STYLE_SCALES)


def style_features(
    prompt: Sequence[Message], text: str, *, growth: float = 1.0, finished: float = 1.0
) -> tuple[float, ...]:
    """The features of one reply, in the order of ``STYLE_NAMES``, already divided by their scales.

    Length is counted in words, as a reader does; of a reply that is still being written ``growth``
    is the expected final length over the present one, and ``finished`` the probability that it
    comes to an end by itself. Counts enter as log(1 + count): the tenth list item says less than
    the first.
    """
    words = [w.lower() for w in _WORD.findall(text)]
    bigrams = list(pairwise(words))
    asked = {
        w.lower() for m in prompt[-1:] if m.role is Role.USER for w in _WORD.findall(m.content)
    }
    raw = (
        math.log1p(growth * len(words)),
        math.log1p(len(_LIST_LINE.findall(text))),
        math.log1p(text.count("\n\n")),
        math.log1p(text.count("?")),
        math.log1p(text.count("!")),
        1.0 - len(set(bigrams)) / len(bigrams) if bigrams else 0.0,
        sum(w in asked for w in words) / len(words) if words else 0.0,
        float(_REFUSAL.search(text) is not None),
        finished,
        sum(map(len, words)) / len(words) if words else 0.0,
        math.log1p(len(_POLITE.findall(text))),
        math.log1p(len(_HEDGE.findall(text))),
        math.log1p(len(_CONTRACTION.findall(text.replace("\u2019", "'")))),
    )
    return tuple(x / scale for x, scale in zip(raw, STYLE_SCALES.values(), strict=True))
