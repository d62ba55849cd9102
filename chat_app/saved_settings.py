"""What a person set on the Settings page: ``settings.json`` in the data folder.

It holds only what differs from the defaults. A flag or a ``TWOFOLD_*`` variable wins over it, for
that run. A file that cannot be read is told and left as it is.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, get_args

from chat_app.errors import ChatError
from chat_app.language import tr
from chat_app.settings import Language, Learning, Settings
from learner.config import AskMode
from storage.files import replace_text
from storage.folder import SETTINGS_FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedSettings:
    """None is the default. Each field has the name of its command-line parameter."""

    model: str | None = None
    language: str | None = None
    api: bool | None = None
    api_log: bool | None = None
    learn: str | None = None
    ask: str | None = None
    budget: float | None = None
    min_picks: int | None = None
    keep_versions: bool | None = None
    candidates: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    max_new_tokens: int | None = None

    @property
    def given(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


AT_NEXT_START = frozenset({"model", "language", "learn", "min_picks", "keep_versions"})
"""Read by what is built once; all else takes effect with the next reply."""
KINDS = {field.name: get_args(field.type)[0] for field in fields(SavedSettings)}
SPOKEN = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}

E = TypeVar("E", bound=StrEnum)


def read_saved(path: Path) -> SavedSettings:
    """Raises ChatError where there is a file that cannot be read, or holds what is not allowed."""
    try:
        saved = _saved(json.loads(path.read_text(encoding="utf-8")))
        with_saved(Settings(data=path.parent), saved.given)
    except (FileNotFoundError, NotADirectoryError):  # the folder itself is complained of later
        return SavedSettings()
    except OSError as error:
        raise ChatError(
            f"{path} cannot be read ({error.strerror}): mend it, or remove it."
        ) from error
    except ValueError as error:
        raise ChatError(f"{path} cannot be read ({error}): mend it, or remove it.") from error
    return saved


def model_of(data: Path, named: str | None) -> str | None:
    """The model that a command works with: the one named to it, else the one saved for this folder.

    None is the built-in one. Raises ChatError as ``read_saved`` does.
    """
    return read_saved(data / SETTINGS_FILE).model if named is None else named


def _saved(said: object) -> SavedSettings:
    if not isinstance(said, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - of the file, not of the program
    return SavedSettings(**{name: said[name] for name in KINDS if name in said})


def write_saved(path: Path, saved: SavedSettings) -> None:
    """Raises ChatError, with the file as it was, where it cannot be written."""
    try:
        replace_text(path, json.dumps(saved.given, indent=1))
    except OSError as error:
        raise not_saved(path, error) from error


def not_saved(path: Path, error: OSError) -> ChatError:
    return ChatError(
        tr(
            "{path} cannot be written ({error}), so nothing was saved: see to the disk.",
            path=path,
            error=error.strerror,
        )
    )


def with_saved(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """``settings`` with these values in place. Raises ValueError for one that is not allowed."""
    for name, value in values.items():
        _check_kind(name, value)
    sampling = replace(
        settings.engine.sampling,
        **_some(values, {name: name for name in ("temperature", "top_k", "top_p")}),
        **_some(values, {"max_new_tokens": "max_new_tokens"}),
    )
    ask = replace(
        settings.ask,
        **_some(values, {"candidates": "candidates", "budget": "budget_share"}),
        **({"mode": _one_of(AskMode, values, "ask")} if "ask" in values else {}),
    )
    return replace(
        settings,
        ask=ask,
        engine=replace(settings.engine, sampling=sampling),
        online=replace(settings.online, **_some(values, {"min_picks": "min_preferences"})),
        **_some(values, {name: name for name in ("model", "api", "api_log", "keep_versions")}),
        **({"learning": _one_of(Learning, values, "learn")} if "learn" in values else {}),
        **({"language": _one_of(Language, values, "language")} if "language" in values else {}),
    )


def _check_kind(name: str, value: object) -> None:
    if name == "model" and value is None:
        return  # the built-in one
    kind = KINDS[name]
    fits = isinstance(value, int | float if kind is float else kind)
    if not fits or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{name} must be {SPOKEN[kind]}, got {value!r}")


def _one_of(kind: type[E], values: Mapping[str, Any], name: str) -> E:
    if values[name] not in list(kind):
        raise ValueError(f"{name} must be one of {', '.join(kind)}, got {values[name]!r}")
    return kind(values[name])


def _some(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {field: values[name] for name, field in names.items() if name in values}
