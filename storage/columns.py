"""Packed columns of a reply: how it was drawn, as JSON, and its tokens, as little-endian bytes."""

import json
import sys
from array import array
from collections.abc import Iterable
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from storage.records import Sampling


@lru_cache(maxsize=64)
def params_json(sampling: Sampling, style: str | None) -> str:
    """The text of ``candidates.params_json``. Where there was no style nothing is said of it."""
    return json.dumps(asdict(sampling) | ({"style": style} if style else {}))


@lru_cache(maxsize=64)
def params(text: str) -> tuple[Sampling, str | None]:
    """How a reply was drawn, and its style if it had one; few texts differ, so few are read."""
    drawn = json.loads(text)
    style = drawn.pop("style", None)
    return Sampling(**drawn), style


def packed(kind: str, values: Iterable[float]) -> bytes:
    """Numbers as bytes, little-endian; ``kind`` is "i" or "f"."""
    numbers = array(kind, values)  # "i" is int32 and "f" float32 wherever Python runs
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def unpacked(kind: str, blob: bytes) -> tuple[Any, ...]:
    """The same numbers again."""
    numbers = array(kind, blob)
    if sys.byteorder == "big":
        numbers.byteswap()
    return tuple(numbers)
