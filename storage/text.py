"""Text before it meets SQLite and the tokenizer: what a person typed, made harmless."""

import re
import unicodedata

TITLE_CHARACTERS = 60

# C0 controls but newline and tab, and DEL. A NUL ends a string for some of SQLite's functions.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
_SURROGATES = re.compile("[\ud800-\udfff]")


def clean_text(text: str) -> str:
    """Return ``text`` in NFC, with line ends as ``\\n``, without controls and lone surrogates.

    A lone surrogate, which no encoder accepts, becomes U+FFFD. Idempotent.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return unicodedata.normalize("NFC", _CONTROLS.sub("", storable_text(text)))


def storable_text(text: str) -> str:
    """Return ``text`` with lone surrogates replaced and nothing else changed.

    For replies: they are kept as they were shown, and their token ids are what is learned from.
    """
    return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)


def title_of(text: str) -> str:
    """Return the title of a conversation that begins with ``text``: its start, on one line."""
    words = " ".join(text.split())
    if len(words) <= TITLE_CHARACTERS:
        return words
    return words[: TITLE_CHARACTERS - 1].rstrip() + "…"
