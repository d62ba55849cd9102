"""Files of JSON lines, as every command reads them: mistakes become sentences that name them."""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from storage.records import Message, Role


def json_lines(path: Path, fault: type[Exception]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file, gzipped by name or not, with their line numbers; blank lines are none.

    Raises ``fault`` with a sentence that names the file and the line, whatever is wrong with them.
    """
    number = 0
    try:
        # Bytes that are no UTF-8 become halves of characters, so that their line can be named.
        how = {"mode": "rt", "encoding": "utf-8-sig", "errors": "surrogateescape"}
        with gzip.open(path, **how) if path.suffix == ".gz" else path.open(**how) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, _row(line, f"{path}, line {number}", fault)
    except (EOFError, zlib.error) as error:
        raise fault(
            f"{path} is damaged or cut short after line {number}: copy or download it again."
        ) from error
    except OSError as error:
        raise fault(f"{path} cannot be read ({error.strerror or error}).") from error


def _row(line: str, where: str, fault: type[Exception]) -> dict[str, Any]:
    if not _is_whole(line):
        raise fault(f"{where}: this is no text in UTF-8: save the file in that encoding.")
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise fault(f"{where}: this is no JSON.") from error
    if not isinstance(row, dict):
        raise fault(f'{where}: expected an object, as {{"name": "value"}}.')
    if "\\u" in line and not _is_whole(json.dumps(row, ensure_ascii=False)):
        raise fault(f"{where}: a \\u escape is half of a character: take it out.")
    return row


def _is_whole(text: str) -> bool:
    """Whether it has no lone surrogates, which no encoding takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def message_of(said: Mapping[str, Any]) -> Message:
    """Raises KeyError, TypeError or ValueError where it is none."""
    if not isinstance(said["content"], str):
        raise TypeError(f"{said['content']!r} is no text")
    return Message(role=Role(said["role"]), content=said["content"])
