"""Replies of Dolly's rows as they are in circulation, mended; never what a person wrote here."""

import re
import unicodedata

_MARK = r"(?:[-*+\u2022\u25e6\u25aa\u2013\u2014]|\(?\w{1,2}[.)])\s"
"""What a list item begins with."""

_MENDED_BREAK = re.compile(rf"(?<=[.!?])\n(?!\s|$|\d|[#>|`]|{_MARK})")
"""Behind a sentence, unless a blank or an indented line follows, a list item, a heading, a quote, a
table, code or a number: those breaks were meant."""

_TORN_FROM = 350
"""Characters; the rows in circulation were cut at about as many."""

_SHORT_LINE = 80
"""Characters of a line that need not end in punctuation where those before it do not."""

_GOES_ON = ",;&@/+=<\u060c\u061b\u3001\uff0c\uff1b"
"""Signs behind which more was to come."""

_OPENS_OR_CLOSES = "\u201c\u2018\u00ab"
"""What opens in one place and closes in another."""


def cleaned(text: str) -> str | None:
    """A reply without two defects of the Dolly rows in circulation, None where it was torn off.

    A line break follows almost every sentence there, and numbers of a list are torn from their
    items; long replies that end in mid-sentence were cut at a length limit, and would teach the
    model to stop there.
    """
    if re.search(r"(?:^|\s)1\.\n", text):
        text = re.sub(r"(?:^|\s)(\d{1,2})\.\n(?=\S)", r"\n\1. ", text)
    text = _MENDED_BREAK.sub(" ", text).strip()
    if not text or (len(text) >= _TORN_FROM and not _is_over(text)):
        return None
    return text


def _is_over(text: str) -> bool:
    """Whether it ends as a sentence does, or as a list or a verse, whose lines end in nothing."""
    *before, last = [line.rstrip() for line in text.split("\n") if line.strip()]
    bare = not any(map(_ends, before[-2:])) and len(last) <= _SHORT_LINE
    return _ends(text) or (len(before) > 1 and bare)


def _ends(text: str) -> bool:
    """By its last character: closing or other punctuation, or a sign, as an emoji is."""
    body = [c for c in text[-8:] if unicodedata.category(c)[0] not in "MC"]  # these stand on others
    if not body or body[-1] in _GOES_ON:
        return False
    kind = unicodedata.category(body[-1])
    return kind in {"Po", "Pe", "Pf"} or kind[0] == "S" or body[-1] in _OPENS_OR_CLOSES
