"""What a person set on the Settings page: ``settings.json`` in the data folder.

It holds only what differs from the defaults. A flag or a ``TWOFOLD_*`` variable wins over it, for
that run. A file that cannot be read is told and left as it is.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from chat_app.errors import ChatError
from chat_app.settings import Language, Learning, Settings
from learner.config import AskMode


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
    candidates: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    max_new_tokens: int | None = None

    @property
    def given(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


AT_NEXT_START = frozenset({"model", "language", "learn", "min_picks"})
"""Read by what is built once; all else takes effect with the next reply."""
NAMES = frozenset(field.name for field in fields(SavedSettings))


def read_saved(path: Path) -> SavedSettings:
    """Raises ChatError where there is a file that cannot be read."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return SavedSettings(**{name: said[name] for name in NAMES if name in said})
    except (FileNotFoundError, NotADirectoryError):  # the folder itself is complained of later
        return SavedSettings()
    except (ValueError, TypeError) as error:
        raise ChatError(f"{path} cannot be read ({error}): mend it, or remove it.") from error


def write_saved(path: Path, saved: SavedSettings) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(saved.given, indent=1), encoding="utf-8")
    temporary.replace(path)


def with_saved(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """``settings`` with these values in place. Raises ValueError for one that is not allowed."""
    sampling = replace(
        settings.engine.sampling,
        **_some(values, {name: name for name in ("temperature", "top_k", "top_p")}),
        **_some(values, {"max_new_tokens": "max_new_tokens"}),
    )
    ask = replace(
        settings.ask,
        **_some(values, {"candidates": "candidates", "budget": "budget_share"}),
        **({"mode": AskMode(values["ask"])} if "ask" in values else {}),
    )
    return replace(
        settings,
        ask=ask,
        engine=replace(settings.engine, sampling=sampling),
        online=replace(settings.online, **_some(values, {"min_picks": "min_preferences"})),
        **_some(values, {name: name for name in ("model", "api", "api_log")}),
        **({"learning": Learning(values["learn"])} if "learn" in values else {}),
        **({"language": Language(values["language"])} if "language" in values else {}),
    )


def _some(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {field: values[name] for name, field in names.items() if name in values}
