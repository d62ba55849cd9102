"""The language of the page: English as it stands in the code, others by a table of sentences.

``tr`` looks a sentence up by its English words, as gettext does; ``N_`` marks one that stands in a
constant and is looked up where it is used. The tables are ``languages/*.json``; a test holds them
against the code. The language is that of the whole server: one person's page on their own computer.
"""

import json
import locale
import re
import string
from collections.abc import Hashable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TypeVar

TABLES = Path(__file__).with_name("languages")
ENGLISH = "en"
AUTO = "auto"

_spoken = ENGLISH
K = TypeVar("K", bound=Hashable)


def languages() -> tuple[str, ...]:
    """The languages that can be spoken, English first."""
    return (ENGLISH, *sorted(file.stem for file in TABLES.glob("*.json")))


def speak(language: str) -> None:
    """Speak ``language`` from now on; ``AUTO`` takes that of the system, English if unknown.

    Call it before the page is built. Raises ValueError for a language without a table.
    """
    global _spoken  # noqa: PLW0603 - of the process, like the locale
    if language == AUTO:
        system = (locale.getlocale()[0] or "").partition("_")[0].lower()
        language = system if system in languages() else ENGLISH
    if language not in languages():
        raise ValueError(f"{language} is not spoken here; known are {', '.join(languages())}")
    _spoken = language


def spoken() -> str:
    """The language that is spoken now, as an ISO 639 code."""
    return _spoken


def N_(sentence: str) -> str:  # noqa: N802 - gettext's name for it
    """A sentence that is looked up later."""
    return sentence


def tr(sentence: str, /, **values: object) -> str:
    """``sentence`` in the language of the page, with ``values`` in their places."""
    if _spoken == ENGLISH:
        return sentence.format(**values) if values else sentence
    found = table(_spoken).get(sentence, sentence)
    return _numbers.format(found, **values) if values else found


def tr_n(one: str, many: str, n: int, /, **values: object) -> str:
    """``one`` or ``many``, as ``n`` wants it; ``{n}`` is the number."""
    return tr(one if n == 1 else many, n=n, **values)


class _DecimalComma(string.Formatter):
    """Numbers as most of Europe writes them, German first: 1.234 and 58,3."""

    def format_field(self, value: object, spec: str) -> str:
        shown = super().format_field(value, spec)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return shown.translate(_COMMA_FOR_POINT)
        return shown


_COMMA_FOR_POINT = str.maketrans(",.", ".,")
_numbers = _DecimalComma()


class Words(Mapping[K, str]):
    """A table of sentences marked with ``N_``, each in the language of the page when it is read."""

    def __init__(self, english: Mapping[K, str]) -> None:
        self._english = dict(english)

    def __getitem__(self, key: K) -> str:
        return tr(self._english[key])

    def __iter__(self) -> Iterator[K]:
        return iter(self._english)

    def __len__(self) -> int:
        return len(self._english)


def upper_first(words: str) -> str:
    """The same with a capital letter in front; the others stay, as German nouns want it."""
    return words[:1].upper() + words[1:]


def tr_told(sentence: str) -> str:
    """A sentence that comes from below, already with its values: found by its shape."""
    if _spoken == ENGLISH:
        return sentence
    known = table(_spoken)
    if sentence in known:
        return known[sentence]
    for shape, template in _shapes(_spoken):
        if found := shape.fullmatch(sentence):
            return template.format(**found.groupdict())
    return sentence


@cache
def table(language: str) -> dict[str, str]:
    """English sentence to that of ``language``."""
    return json.loads((TABLES / f"{language}.json").read_text(encoding="utf-8"))


@cache
def _shapes(language: str) -> list[tuple[re.Pattern[str], str]]:
    """The sentences with places for values, as patterns; the longest first."""
    shapes = []
    for english, other in sorted(table(language).items(), key=lambda item: -len(item[0])):
        places = re.split(r"\{(\w+)\}", english)
        if len(places) > 1 and max(map(len, places[::2])) > 8:
            pattern, named = "", set[str]()
            for at, part in enumerate(places):
                if at % 2 == 0:
                    pattern += re.escape(part)
                else:
                    pattern += f"(?P={part})" if part in named else f"(?P<{part}>.+)"
                    named.add(part)
            shapes.append((re.compile(pattern, re.DOTALL), other))
    return shapes
