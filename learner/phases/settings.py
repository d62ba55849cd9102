"""Settings of a phase from YAML and flags: into frozen dataclasses, and mistakes into sentences."""

import difflib
import json
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import yaml

from learner.phases.protocol import PhaseError

T = TypeVar("T")


def read_yaml(path: Path) -> dict[str, Any]:
    """Raises PhaseError for a file that is missing or no mapping."""
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PhaseError(f"{path} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise PhaseError(f"{path} is no text: name a YAML file of settings.") from error
    except yaml.YAMLError as error:
        raise PhaseError(f"{path} is no YAML: {' '.join(str(error).split())}.") from error
    if said is None:
        return {}
    if not isinstance(said, dict):
        raise PhaseError(f"{path} must hold settings as `name: value`.")
    return said


def read_flags(arguments: Sequence[str]) -> dict[str, Any]:
    """``--learning-rate 1e-4 --loop.patience=2`` as nested settings; values are read as YAML.

    Raises PhaseError where it does not go ``--name value``.
    """
    nested: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        flag = rest.pop(0)
        if not flag.startswith("--"):
            raise PhaseError(f"{flag!r} is no setting: settings are given as --name value.")
        name, equals, text = flag[2:].partition("=")
        if not equals:
            if not rest:
                raise PhaseError(f"--{name} needs a value.")
            text = rest.pop(0)
        *outer, last = name.replace("-", "_").split(".")
        place = nested
        for one in outer:
            place = place.setdefault(one, {})
        place[last] = yaml.safe_load(text)
    return nested


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """``first`` with whatever ``second`` says in its place, level by level."""
    both = dict(first)
    for name, value in second.items():
        old = both.get(name)
        nested = isinstance(old, Mapping) and isinstance(value, Mapping)
        both[name] = merged(old, value) if nested else value
    return both


def build(cls: type[T], given: Mapping[str, Any], where: str = "") -> T:
    """The dataclass ``cls`` with these values; what is not given keeps its default.

    Raises PhaseError for an unknown name, a value of the wrong kind, or one the class refuses.
    """
    hints = typing.get_type_hints(cls)
    known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, value in given.items():
        path = f"{where}{name}"
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {where}{near[0]}?" if near else f"there are {', '.join(known)}."
            raise PhaseError(f"There is no setting {path}: {hint}")
        values[name] = _converted(hints[name], value, path)
    try:
        return cls(**values)
    except (ValueError, TypeError) as error:
        raise PhaseError(f"{where.rstrip('.') or 'The settings'}: {error}.") from error


def plain(config: object) -> dict[str, Any]:
    """A settings dataclass as JSON has it."""
    return json.loads(json.dumps(asdict(config), default=_plain))  # type: ignore[call-overload]


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} is no plain setting")


def _converted(wanted: Any, value: Any, path: str) -> Any:  # noqa: ANN401 - a type and its value
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in inner:
            return None
        [wanted] = [one for one in inner if one is not type(None)]
        return _converted(wanted, value, path)
    if origin is tuple:
        items = [value] if isinstance(value, str) or not isinstance(value, Sequence) else value
        return tuple(_converted(inner[0], one, path) for one in items)
    if is_dataclass(wanted):
        if not isinstance(value, Mapping):
            raise PhaseError(f"{path} holds settings of its own, as {path}.NAME, not {value!r}.")
        return build(typing.cast("type[Any]", wanted), value, f"{path}.")
    return _single(wanted, value, path)


def _single(wanted: type, value: Any, path: str) -> Any:  # noqa: ANN401
    if issubclass(wanted, Enum):
        allowed = [one.value for one in wanted]
        if value is False and "off" in allowed:  # YAML takes off for a boolean
            value = "off"
        if value not in allowed:
            raise PhaseError(f"{path} must be one of {', '.join(allowed)}, got {value!r}.")
        return wanted(value)
    if wanted is Path and isinstance(value, str):
        return Path(value).expanduser()
    if wanted is float and isinstance(value, str):
        value = _number(value)  # YAML 1.1 reads 1e-4 as text
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if wanted is str and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise PhaseError(f"{path} must be {_NAMES.get(wanted, wanted.__name__)}, got {value!r}.")
    return value


def _number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
