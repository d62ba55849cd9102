"""Settings of a phase from YAML and flags: into frozen dataclasses, and mistakes into sentences."""

import difflib
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import yaml

from learner.phases.protocol import PhaseError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Typed:
    """The value of a flag as it was typed: what it means depends on the setting."""

    text: str

    def read(self) -> Any:  # noqa: ANN401 - whatever YAML has
        """As YAML; what is none is the text itself."""
        try:
            return yaml.safe_load(self.text)
        except (yaml.YAMLError, ValueError):
            return self.text


@dataclass(frozen=True, slots=True)
class Repeated:
    """A flag that was given several times."""

    values: tuple[Typed, ...]


def read_yaml(path: Path) -> dict[str, Any]:
    """Raises PhaseError for a file that is missing or no mapping."""
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PhaseError(f"{path} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise PhaseError(f"{path} is no text: name a YAML file of settings.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise PhaseError(f"{path} is no YAML: {' '.join(str(error).split())}.") from error
    if said is None:
        return {}
    if not isinstance(said, dict):
        raise PhaseError(f"{path} must hold settings as `name: value`.")
    return said


def read_flags(arguments: Sequence[str]) -> dict[str, Any]:
    """``--learning-rate 1e-4 --loop.patience=2`` as nested settings, for ``build`` to read.

    Raises PhaseError where it does not go ``--name value``, or two flags exclude each other.
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
        _put(nested, name.replace("-", "_").split("."), Typed(text), name)
    return nested


def _put(nested: dict[str, Any], path: Sequence[str], value: Typed, name: str) -> None:
    *outer, last = path
    place: Any = nested
    for one in outer:
        place = place.setdefault(one, {})
        if not isinstance(place, dict):
            raise PhaseError(f"--{name} and --{name.rsplit('.', 1)[0]} exclude each other.")
    before = place.get(last)
    if isinstance(before, dict):
        raise PhaseError(f"--{name} and --{name}.{next(iter(before))} exclude each other.")
    if isinstance(before, Typed):
        before = Repeated((before,))
    place[last] = value if before is None else Repeated((*before.values, value))


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
        said = value.read() if isinstance(value, Typed) else value
        if said is None and type(None) in inner:
            return None
        [wanted] = [one for one in inner if one is not type(None)]
        return _converted(wanted, value, path)
    if origin is tuple:
        return tuple(_converted(inner[0], one, path) for one in _items(value))
    if isinstance(value, Repeated):
        raise PhaseError(f"--{path} is given {len(value.values)} times, and takes one value.")
    if isinstance(value, Typed):  # a path or a text need not be quoted as YAML would have it
        value = value.text if wanted in (Path, str) else value.read()
    if is_dataclass(wanted):
        if not isinstance(value, Mapping):
            raise PhaseError(f"{path} holds settings of its own, as {path}.NAME, not {value!r}.")
        return build(typing.cast("type[Any]", wanted), value, f"{path}.")
    return _single(wanted, value, path)


def _items(value: object) -> Sequence[object]:
    """Of a setting that takes several: a list, or one alone; a repeated flag has those of each."""
    if isinstance(value, Repeated):
        return [item for one in value.values for item in _items(one)]
    said = value.read() if isinstance(value, Typed) else value
    if isinstance(said, str) or not isinstance(said, Sequence):
        return [value]
    return said


def _single(wanted: type, value: Any, path: str) -> Any:  # noqa: ANN401
    if issubclass(wanted, Enum):
        allowed = [one.value for one in wanted]
        if value is False and "off" in allowed:  # YAML takes off for a boolean
            value = "off"
        if value not in allowed:
            raise PhaseError(f"{path} must be one of {', '.join(allowed)}, got {value!r}.")
        return wanted(value)
    if wanted is Path and isinstance(value, str) and value:
        return _at_home(Path(value))
    if wanted is float and isinstance(value, str):
        value = _number(value)  # YAML 1.1 reads 1e-4 as text
    if wanted is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _finite(value, path)
    if wanted is str and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise PhaseError(f"{path} must be {_NAMES.get(wanted, wanted.__name__)}, got {value!r}.")
    return value


def _at_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:  # there is no such user: so the file is called that
        return path


def _finite(value: float | int, path: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise PhaseError(f"{path} must be a finite number, got {number}.")
    return number


def _number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    Path: "a path",
}
