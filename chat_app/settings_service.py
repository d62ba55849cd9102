"""SettingsService: what a person may set on the page, and what twofold does with it at once.

Saved first, then applied: what is told as saved outlives a crash. The running model takes a change
up between two replies.
"""

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from threading import Lock
from typing import Any

from chat_app.errors import ChatError, sentences
from chat_app.language import tr
from chat_app.saved_settings import (
    AT_NEXT_START,
    SavedSettings,
    not_saved,
    read_saved,
    with_saved,
    write_saved,
)
from chat_app.settings import Settings
from learner.config import AskConfig
from learner.model_source import BUILT_IN, DEFAULT_NAME
from learner.reward.lean_file import MAX_LEAN, read_lean, write_lean
from learner.reward.style import STYLE_NAMES
from storage.backup import back_up
from storage.base_models import owner_of
from storage.database import Store
from storage.folder import DataFolder
from storage.records import Sampling

Configure = Callable[[AskConfig, Sampling], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSizes:
    """Bytes on disk."""

    database: int
    versions: int


class SettingsService:
    def __init__(
        self,
        *,
        folder: DataFolder,
        store: Store,
        settings: Settings,
        configure: Configure,
        refit: Callable[[], None],
    ) -> None:
        """``settings`` are those that this server was started with; ``configure`` hands new ones
        to the model, ``refit`` has the judges read the person's lean."""
        self._folder = folder
        self._store = store
        self._start = settings
        self._now = settings
        self._configure = configure
        self._refit = refit
        self._lock = Lock()

    @property
    def current(self) -> Settings:
        """What replies are written with now."""
        return self._now

    @property
    def saved(self) -> SavedSettings:
        return read_saved(self._folder.settings)

    def change(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Save these settings; return the names of those that wait for the next start.

        Raises ChatError, with nothing changed, where a value is not allowed.
        """
        with self._lock:
            try:
                now = with_saved(self._now, _without(values, AT_NEXT_START))
                with_saved(self._now, values)
            except ValueError as error:
                raise ChatError(tr("This cannot be set: {error}.", error=error)) from error
            self._check_model(values)
            saved = read_saved(self._folder.settings)
            waiting = [
                name
                for name in sorted(AT_NEXT_START & values.keys())
                if values[name] != _started(self._start)[name]
            ]
            write_saved(self._folder.settings, _differing(replace(saved, **values)))
            changed = now != self._now
            self._now = now
        if changed:
            self._configure(now.ask, now.engine.sampling)
        return tuple(waiting)

    def _check_model(self, values: Mapping[str, Any]) -> None:
        """Or the next start would refuse: what is here fits one model."""
        wanted, owner = values.get("model", self._start.model), owner_of(self._store)
        if wanted != self._start.model and owner is not None and owner.in_use:
            raise ChatError(
                tr(
                    "What is here was made with {owner} and fits no other model. Give {model} a "
                    "folder of its own: {command}",
                    owner=owner.name,
                    model=wanted or DEFAULT_NAME,
                    command=shlex.join(
                        ["twofold", "serve", "--model", wanted or BUILT_IN, "--data", "FOLDER"]
                    ),
                )
            )

    def reset(self) -> None:
        """Forget what was set here: the defaults count again, but for the model of this folder."""
        with self._lock:
            owner = owner_of(self._store)
            model = self.saved.model if owner is not None and owner.in_use else None
            write_saved(self._folder.settings, SavedSettings(model=model))
            default = Settings(data=self._start.data)
            self._now = replace(
                self._now,
                api=default.api,
                api_log=default.api_log,
                ask=default.ask,
                engine=replace(self._now.engine, sampling=default.engine.sampling),
            )
            now = self._now
        self._configure(now.ask, now.engine.sampling)

    def command_line(self) -> str:
        """The command that serves as it is set now, without the saved file."""
        words = ["twofold", "serve"]
        values = _started(self._now) | self.saved.given
        defaults = _started(Settings(data=self._start.data))
        for field in fields(SavedSettings):
            value = values[field.name]
            if value is None or value == defaults[field.name]:
                continue
            flag = f"--{field.name.replace('_', '-')}"
            words += [flag] if value is True else [flag, str(value)]
        return shlex.join(words)

    # --- Taste -------------------------------------------------------------------------------

    def lean(self) -> dict[str, float]:
        """The person's own weights by style feature, in logits; those that are set."""
        return read_lean(self._folder.taste)

    def set_lean(self, name: str, value: float) -> None:
        """Lean to a feature, or away from it; 0 leaves it to what is learned.

        Raises ChatError, with nothing changed, where that is not allowed or not to be written.
        """
        if name not in STYLE_NAMES:
            raise ChatError(tr("{name} is not a trait that twofold knows.", name=name))
        if not -MAX_LEAN <= value <= MAX_LEAN:
            raise ChatError(
                tr("A lean lies between -{MAX_LEAN:g} and {MAX_LEAN:g}.", MAX_LEAN=MAX_LEAN)
            )
        if self.lean().get(name, 0) == value:
            return  # a fit takes seconds
        with self._lock:
            try:
                write_lean(self._folder.taste, self.lean() | {name: float(value)})
            except OSError as error:
                raise not_saved(self._folder.taste, error) from error
        self._refit()

    # --- Privacy -----------------------------------------------------------------------------

    @property
    def data_folder(self) -> Path:
        return self._folder.root

    def sizes(self) -> DataSizes:
        root = self._folder.root
        return DataSizes(
            database=sum(map(_size, root.glob("twofold.db*"))),
            # os.walk, unlike rglob, passes over folders that go while it looks.
            versions=sum(
                _size(Path(folder, name))
                for folder, _, names in os.walk(self._folder.rounds)
                for name in names
            ),
        )

    def back_up(self) -> Path:
        """A checked copy of the database beside it, in ``backups``. Raises ChatError."""
        with sentences():
            return back_up(self._store.path, self._folder.backups)

    def backup_named(self, name: str) -> Path | None:
        """The backup of this name; None where there is none, whatever the name tries to be."""
        found = (path for path in self._folder.backups.glob("twofold-*.db") if path.name == name)
        return next(found, None)


def _size(path: Path) -> int:
    """In bytes; 0 of a file that the learner has renamed or removed meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _started(settings: Settings) -> dict[str, Any]:
    """Settings by the names of ``SavedSettings``."""
    sampling = settings.engine.sampling
    return {
        "model": settings.model,
        "language": settings.language.value,
        "api": settings.api,
        "api_log": settings.api_log,
        "learn": settings.learning.value,
        "ask": settings.ask.mode.value,
        "budget": settings.ask.budget_share,
        "min_picks": settings.online.min_preferences,
        "keep_versions": settings.keep_versions,
        "candidates": settings.ask.candidates,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "max_new_tokens": sampling.max_new_tokens,
    }


def _differing(saved: SavedSettings) -> SavedSettings:
    defaults = _started(Settings(data=Path()))
    kept = {name: value for name, value in saved.given.items() if value != defaults[name]}
    return SavedSettings(**kept)


def _without(values: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}
