"""The words of the protocol: a row has arms, which are timed in turn, and figures made from them.

An arm is a class named by its import path, because it is built in a process of its own and may
belong to another environment, where nothing of ours but this package can be imported.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


class Environment(StrEnum):
    OURS = ".venv"
    """Also of peers that the tests use anyway: transformers, PEFT, TRL, sqlite-utils."""
    PEERS = ".venv-peers"
    """``make bench-peers``: llama.cpp built for this machine, OpenVINO."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    name: str
    make: str
    """``module:Class``; it takes ``options`` and has ``round(number) -> {metric: value}``."""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    environment: Environment = Environment.OURS
    rounds: int | None = None
    """Where one of its rounds takes minutes: at most so many, without a warm-up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number of the result: a metric, or the ratio of two, round by round."""

    title: str
    of: tuple[str, str]
    """Arm and metric."""
    over: tuple[str, str] | None = None
    """Arm and metric below the line; None gives the metric itself."""
    unit: str = "x"
    at_least: float | None = None
    """The issue's target; for a figure where less is better, at most."""
    aim: float | None = None
    less_is_better: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What the arms share: where the models are, and how much work a round is."""

    folder: Path
    """Kept between runs: GGUF files, adapters, token ids."""
    model: Path
    """The model folder; the one that never ends a reply where ``endless`` is asked for."""
    tiny: bool
    """The smallest form of each row, for the tests: another model, few tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    id: str
    title: str
    arms: Callable[[Material], list[Arm]]
    figures: Callable[[Material], list[Figure]]
    needs: Callable[[Material], None] = lambda _: None
    """Makes what the arms read, once."""
    warmups: int = 1
    rounds: int = 3


class AbsentError(Exception):
    """A peer that is not installed or cannot do this; the row says so."""
