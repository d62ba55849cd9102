"""Files of text and of rows, as the phases read them: mistakes become sentences that name them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from learner.json_lines import json_lines, message_of
from learner.phases.protocol import PhaseError
from storage.records import Message, Role

_PLAIN = (".txt", ".md", ".rst")
_IN_FOLDERS = (*_PLAIN, ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".ndjson.gz")
"""A .json file beside texts is as likely somebody's settings."""
_ROWS = (".jsonl", ".ndjson", ".json", ".json.gz", ".jsonl.gz", ".ndjson.gz")
_TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
"""Texts by their encoding, of which the marks between the fields would be learned."""


def documents(path: Path, field: str) -> Iterator[str]:
    """Of a text file, a folder of them, or JSON lines whose ``field`` is a text."""
    if path.is_dir():
        inner = sorted(one for one in path.rglob("*") if one.name.endswith(_IN_FOLDERS))
        if not inner:
            raise PhaseError(f"{path} holds no {', '.join(_IN_FOLDERS)} files.")
        for one in inner:
            yield from documents(one, field)
        return
    if path.name.endswith(_TABLES):
        raise PhaseError(
            f"{path} is a table: write its texts as JSON lines "
            f'({{"{field}": "..."}}, a .jsonl file), or as plain text.'
        )
    try:
        if path.name.endswith(_ROWS):
            yield from _texts_of_rows(path, field)
        else:
            yield path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise PhaseError(
            f"{path} is no text in UTF-8: save it in that encoding, or leave it out."
        ) from error
    except OSError as error:
        raise PhaseError(f"{path} cannot be read ({error.strerror or error}).") from error


def _texts_of_rows(path: Path, field: str) -> Iterator[str]:
    for number, row in json_rows(path):
        text = row.get(field)
        if not isinstance(text, str):
            raise PhaseError(f'{path}, line {number}: expected {{"{field}": "..."}}.')
        yield text


def rows_of(files: Sequence[Path], sets: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of all files, or of ``sets`` only where some are named, and where each stands.

    Raises PhaseError as below, and in the end for a set of which there was no row: it would be left
    out without a word.
    """
    there: dict[str, None] = {}
    for path in files:
        for number, row in json_rows(path):
            named = row.get("set")
            if isinstance(named, str):
                there[named] = None
            if not sets or named in sets:
                yield f"{path}, line {number}", row
    missing = [name for name in sets if name not in there]
    if files and missing:
        raise PhaseError(
            f"There is no set {', '.join(missing)} in {', '.join(map(str, files))}: "
            f"there {'are ' + ', '.join(there) if there else 'is none at all'}."
        )


def json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file of JSON lines, with their line numbers. Raises PhaseError."""
    return json_lines(path, PhaseError)


def prompt_of(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """What a row asks: its ``messages``, or its ``prompt`` behind its ``history``.

    Raises KeyError, TypeError, AttributeError or ValueError where it asks nothing.
    """
    said = row.get("messages") or [
        *row.get("history", []),
        {"role": Role.USER, "content": row["prompt"]},
    ]
    prompt = tuple(replace(m, content=m.content.strip()) for m in map(message_of, said))
    if prompt[-1].role is not Role.USER or not prompt[-1].content:
        raise ValueError("it asks nothing")
    return prompt
