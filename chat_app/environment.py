"""``twofold env``: what runs here, in the words a bug report needs. No message, no pick, no key."""

import platform
from importlib.metadata import PackageNotFoundError, version

from chat_app.errors import ChatError
from chat_app.saved_settings import model_of
from chat_app.settings import Settings
from learner.errors import LearnerError
from learner.model_source import resolve_model
from storage import sqlite

PACKAGES = (
    "twofold",
    "torch",
    "transformers",
    "gradio",
    "sqlite-utils",
    "pysqlite3",
)


def environment(settings: Settings) -> dict[str, str]:
    """Versions, hardware, model and data folder by name. Raises nothing: a fault is an entry."""
    from learner.machine import machine_report  # noqa: PLC0415 - torch, seconds

    safe = sqlite.wal_is_safe(sqlite.sqlite3.sqlite_version_info)
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "sqlite": f"{sqlite.sqlite3.sqlite_version} ({'WAL' if safe else 'rollback journal'})",
        **machine_report(settings.engine),
        "model": _model(settings),
        "data": str(settings.data),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _model(settings: Settings) -> str:
    try:
        model = resolve_model(model_of(settings.data, settings.model))
    except (ChatError, LearnerError) as error:
        return str(error)
    except (OSError, RuntimeError) as error:
        return f"cannot be looked at ({error})"
    return f"{model.name} in {model.path} (weights {model.sha256[:12]})"
