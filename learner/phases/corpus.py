"""Plain text for pretraining: documents cut into sections, some of which are held out.

A section is a stretch of one document, cut at blank lines where it can be, else at other space.
Whether it is held out follows from its own text, so the split is stable and a repeated section
stays on one side. Sections that follow each other on one side are one text again: a model is told
that a document ends where it does, and nowhere else.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from learner.phases.protocol import PhaseError
from learner.phases.texts import documents

SECTION_CHARS = 8000


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Of a document, what stands on one side without a break."""

    text: str
    ends: bool
    """The document ends with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    training: list[Stretch]
    held_out: list[Stretch]
    sha256: str
    notes: list[str]
    """What was done about a split that left one side empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    text: str
    document: int
    place: int
    last: bool
    sealed: bytes
    """Digest of its text."""


def _section(text: str, document: int, place: int, *, last: bool) -> _Section:
    sealed = hashlib.sha256(text.strip().encode()).digest()
    return _Section(text=text, document=document, place=place, last=last, sealed=sealed)


def read_corpus(files: Sequence[Path], *, field: str, held_out_share: float) -> Corpus:
    """Read text files, folders of them, and JSON lines, whose ``field`` is a text.

    With a share to hold out there is something on either side. Raises PhaseError where there is
    nothing to read, or nothing that can be split.
    """
    if not files:
        raise PhaseError("Name text to train on: --files FILE_OR_FOLDER.")
    texts = (text for path in files for text in documents(path, field))
    sections = [one for number, text in enumerate(texts) for one in _sections(text, number)]
    if not sections:
        raise PhaseError(f"There is no text in {', '.join(map(str, files))}.")
    notes: list[str] = []
    measuring: set[bytes] = set()
    if held_out_share:
        if len({one.sealed for one in sections}) == 1:
            sections, measuring = _in_two(sections[0], held_out_share)
            notes.append("so little text that its one section is split in two, to measure on")
        else:
            measuring, note = _measuring({one.sealed for one in sections}, held_out_share)
            notes += [note] if note else []
    digest = hashlib.sha256()
    for one in sections:
        digest.update(one.sealed + (b"." if one.last else b","))
    return Corpus(
        training=_joined(one for one in sections if one.sealed not in measuring),
        held_out=_joined(one for one in sections if one.sealed in measuring),
        sha256=digest.hexdigest(),
        notes=notes,
    )


def _measuring(sealed: set[bytes], held_out_share: float) -> tuple[set[bytes], str]:
    """Which sections are held out: by chance of their texts, but never none nor all of them."""
    order = sorted(sealed, key=lambda one: (_share(one), one))
    found = {one for one in order if _share(one) < held_out_share}
    share = f"held_out_share ({held_out_share})"
    if not found:
        return {order[0]}, f"one of {len(order)} sections is held out: by {share} it would be none"
    if len(found) == len(order):
        said = f"one of {len(order)} sections trains: by {share} all would be held out"
        return found - {order[-1]}, said
    return found, ""


def _in_two(section: _Section, held_out_share: float) -> tuple[list[_Section], set[bytes]]:
    """The beginning trains and the end measures."""
    text = section.text.strip()
    cut = _cut(text, 0, min(len(text) - 1, round(len(text) * (1.0 - held_out_share))) or 1)
    parts = [text[:cut], text[cut:]]
    if not all(part.strip() for part in parts) or parts[0].strip() == parts[1].strip():
        raise PhaseError(f"{len(text)} characters of text can't be split to measure on: add some.")
    halves = [_section(part, 0, i, last=i == 1) for i, part in enumerate(parts)]
    return halves, {halves[1].sealed}


def _sections(document: str, number: int) -> Iterator[_Section]:
    """Put together they are the document."""
    text = document.strip()
    start = place = 0
    while start < len(text):
        end = len(text)
        if end - start > SECTION_CHARS:
            end = _cut(text, start, start + SECTION_CHARS)
        yield _section(text[start:end], number, place, last=end == len(text))
        start, place = end, place + 1


def _cut(text: str, start: int, end: int) -> int:
    """Where to cut before ``end``: behind a blank line, a line, or a space."""
    half = start + (end - start) // 2
    at = max(text.rfind("\n\n", half, end), start)
    at = at if at > start else max(text.rfind("\n", half, end), start)
    if at == start:
        spaces = [found.start() for found in re.finditer(r"\s", text[start:end])]
        at = start + spaces[-1] if spaces else end  # no space: it is written without
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _joined(sections: Iterable[_Section]) -> list[Stretch]:
    runs: list[list[_Section]] = []
    for one in sections:
        if runs and (runs[-1][-1].document, runs[-1][-1].place + 1) == (one.document, one.place):
            runs[-1].append(one)
        else:
            runs.append([one])
    return [Stretch(text="".join(one.text for one in run), ends=run[-1].last) for run in runs]


def _share(digest: bytes) -> float:
    """A number in [0, 1) that follows from the digest."""
    return int.from_bytes(digest[:8], "big") / 2**64
