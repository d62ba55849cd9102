"""Simulated people with tastes that can be checked by reading: utilities over the reply's text.

A rater's utility is a function of prompt and reply, scaled so that shown the same pair of samples
twice it agrees with itself in ``SELF_AGREEMENT`` of the decided cases (``calibrated``). Choices
follow Bradley-Terry with ties (Davidson), and a ``Behaviour`` on top of it: a share of blind picks,
a pull to the first place, skipping from fatigue, a change of taste, or plain hostility.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Utility = Callable[[str, str], float]
"""(last message of the person, reply) -> utility in raw units."""

SELF_AGREEMENT = 0.725
MAX_SCALE = 6.0
"""Of a raw unit: where most pairs are equal, no scale reaches the agreement."""

_WORD = re.compile(r"[\w']+")
_LIST = re.compile(r"^\s*(?:[-*\u2022]|\d{1,2}[.)])\s+", re.MULTILINE)
_WARM = re.compile(
    r"\b(?:great|wonderful|lovely|glad|happy|enjoy|exciting|amazing|fun|delicious|beautiful"
    r"|fantastic|perfect|delightful|love|excited)\b",
    re.IGNORECASE,
)
_FORMAL = re.compile(
    r"\b(?:therefore|however|furthermore|moreover|additionally|regarding|consequently|thus|one may"
    r"|it is (?:important|recommended|advisable|essential)|in order to|please|kindly|shall)\b",
    re.IGNORECASE,
)
_CASUAL = re.compile(
    r"\b(?:\w+'(?:s|re|ll|ve|d|t|m)|hey|okay|ok|yeah|gonna|lots|stuff|cool)\b|!",
    re.IGNORECASE,
)
_UNSURE = re.compile(
    r"\b(?:i(?: do not|'m not| don't| am not)|not (?:sure|certain)|unsure"
    r"|i can(?:not|'t) (?:know|say|be (?:sure|certain))|i may be wrong"
    r"|it is (?:unclear|not clear|hard to say)|depends on)\b",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\b(?:i(?: cannot|'m (?:sorry|unable|not able)| can't| am (?:sorry|unable|not able)| won't"
    r"| will not)|as an ai|illegal|unethical|not (?:appropriate|acceptable))\b",
    re.IGNORECASE,
)
_HARM = re.compile(
    r"\b(?:hack\w*|steal\w*|bomb\w*|kill\w*|virus|malware|exploit\w*|threat|weapon\w*|drug\w*|fraud"
    r"|illegal\w*|phishing|suicide|murder|fake|blackmail|attack\w*|poison\w*|hate\w*|racist|identity"
    r"|cheat\w*|manipulat\w*|defam\w*|destroy\w*|violen\w*|bypass|insider|counterfeit|launder\w*)\b",
    re.IGNORECASE,
)
_COMMON = frozenset(
    _WORD.findall(
        "the a an of to in is are and or for on how what why do does i my me you your can should"
        " with it this that be was were at from as by about have has had not"
    )
)


def _words(text: str) -> list[str]:
    return [w.lower() for w in _WORD.findall(text)]


def _content(text: str) -> set[str]:
    return set(_words(text)) - _COMMON


def brevity(_: str, reply: str) -> float:
    return -math.log1p(len(_words(reply)))


def detail(_: str, reply: str) -> float:
    """Many different words of content; repeating oneself gains nothing."""
    return math.log1p(len(_content(reply)))


def lists(_: str, reply: str) -> float:
    return math.log1p(len(_LIST.findall(reply)))


def prose(_: str, reply: str) -> float:
    """Long paragraphs, no lists."""
    lines = [line for line in reply.splitlines() if line.strip()]
    return math.log1p(len(_words(reply)) / max(1, len(lines))) - lists("", reply)


def formality(_: str, reply: str) -> float:
    words = max(12, len(_words(reply)))
    return 25.0 * (len(_FORMAL.findall(reply)) - len(_CASUAL.findall(reply))) / words


def enthusiasm(_: str, reply: str) -> float:
    """Exclamation marks and warm words; of a run of marks only the first counts."""
    marks = len(re.findall(r"!+", reply))
    return math.log1p(marks) + 0.75 * math.log1p(len(_WARM.findall(reply)))


def asks_back(_: str, reply: str) -> float:
    """Ends by asking the person something."""
    return float("?" in reply.strip()[-80:])


def on_topic(prompt: str, reply: str) -> float:
    """Share of the question's words of content that the reply takes up."""
    asked = _content(prompt)
    return len(asked & set(_words(reply))) / max(1, len(asked))


def admits_ignorance(_: str, reply: str) -> float:
    return min(2.0, float(len(_UNSURE.findall(reply))))


def refuses_harm(prompt: str, reply: str) -> float:
    """Refuses what is harmful, and only that."""
    refused = float(_REFUSAL.search(reply) is not None)
    return refused if _HARM.search(prompt) else -refused


def quotes_question(prompt: str, reply: str) -> float:
    """The first words of the reply repeat words of the question, in their order."""
    asked, said = _words(prompt), _words(reply)[:16]
    best = 0
    for start in range(len(said)):
        for place in range(len(asked)):
            length = 0
            while (
                start + length < len(said)
                and place + length < len(asked)
                and said[start + length] == asked[place + length]
            ):
                length += 1
            best = max(best, length)
    return min(best, 6) / 2.0


def plain_words(_: str, reply: str) -> float:
    """Short words."""
    words = _words(reply)
    return -sum(map(len, words)) / len(words) if words else -8.0


def busy_but_polite(prompt: str, reply: str) -> float:
    """A mixture with an interaction: short, unless it is a list, and never casual."""
    short = -math.log1p(len(_words(reply)))
    listed = lists(prompt, reply) > 0
    return (0.2 if listed else 1.0) * short + 0.3 * formality(prompt, reply)


def curious_friend(prompt: str, reply: str) -> float:
    """A mixture: warm, asks back, and asking back counts double where it is warm."""
    warm, asks = enthusiasm(prompt, reply), asks_back(prompt, reply)
    return 0.6 * warm + asks + asks * min(1.0, warm)


UTILITIES: dict[str, Utility] = {
    "brevity": brevity,
    "detail": detail,
    "lists": lists,
    "prose": prose,
    "formality": formality,
    "enthusiasm": enthusiasm,
    "asks_back": asks_back,
    "on_topic": on_topic,
    "admits_ignorance": admits_ignorance,
    "refuses_harm": refuses_harm,
    "quotes_question": quotes_question,
    "plain_words": plain_words,
    "busy_but_polite": busy_but_polite,
    "curious_friend": curious_friend,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How a taste becomes clicks. Everything is off by default but ties."""

    flips: float = 0.0
    """Share of picks made blindly."""
    first_pull: float = 0.0
    """Logits in favour of the reply shown first."""
    fatigue: float = 0.0
    """Chance of a skip for each question among the last ten turns."""
    tie_strength: float = 0.3
    """Davidson's nu; exactly equal replies are called the same half of the time."""
    changes_at: int | None = None
    """Turn from which another taste rules (``Person.later``)."""
    hostile: bool = False
    """Always picks what it likes less."""


HONEST = Behaviour(first_pull=0.2)
"""Five points more picks of the first place, as real raters show."""


def pick(margin: float, behaviour: Behaviour, rng: np.random.Generator) -> str:
    """``first``, ``second`` or ``tie``; ``margin`` is u(first) - u(second) in logits."""
    blind, coin = rng.random(), rng.random()
    if blind < behaviour.flips:
        return "first" if coin < 0.5 else "second"
    s = (-margin if behaviour.hostile else margin) + behaviour.first_pull
    if rng.random() < _tie_prob(margin, s, behaviour):
        return "tie"
    return "first" if coin < _sigmoid(s) else "second"


def win_prob(margin: float, behaviour: Behaviour) -> float:
    """What ``pick`` gives the first of two in the mean over both orders, a tie counting half."""
    there, back = _first_share(margin, behaviour), _first_share(-margin, behaviour)
    return (there + 1.0 - back) / 2


def _first_share(margin: float, behaviour: Behaviour) -> float:
    """Share of the picks that go to the reply in the first place, half of the ties among them."""
    s = (-margin if behaviour.hostile else margin) + behaviour.first_pull
    tie = _tie_prob(margin, s, behaviour)
    seeing = tie / 2 + (1.0 - tie) * _sigmoid(s)
    return behaviour.flips / 2 + (1.0 - behaviour.flips) * seeing


def _tie_prob(margin: float, s: float, behaviour: Behaviour) -> float:
    """Davidson's, at ``s`` logits for the first."""
    if margin == 0.0:
        return 0.5
    half = math.exp(min(s, 60.0) / 2) + math.exp(min(-s, 60.0) / 2)
    return behaviour.tie_strength / (half + behaviour.tie_strength)


def _sigmoid(s: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, s))))


def calibrated(margins: Sequence[float]) -> float:
    """The scale at which decided picks between these pairs repeat in ``SELF_AGREEMENT``.

    ``margins`` are raw differences between pairs of plain samples; equal pairs are left out.
    """
    apart = np.abs(np.array([m for m in margins if m != 0.0]))
    if not len(apart):
        return MAX_SCALE
    low, high = 0.0, MAX_SCALE / max(1e-9, float(np.median(apart)))
    for _ in range(40):
        middle = (low + high) / 2
        p = 1.0 / (1.0 + np.exp(-np.minimum(60.0, middle * apart)))
        low, high = (
            (middle, high) if np.mean(p**2 + (1 - p) ** 2) < SELF_AGREEMENT else (low, middle)
        )
    return low
