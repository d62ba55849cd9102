"""What a person may set from outside, in one frozen value that every command is given.

The command line (``cli.py``) builds it: a flag wins over a ``TWOFOLD_*`` variable, which wins over
the default. The parts below it get their own slices and never look at the environment.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from learner.config import AskConfig, EngineConfig, OnlineConfig


class Learning(StrEnum):
    ON = "on"
    """Picks refit the reward ensemble and train the policy."""
    REWARD_ONLY = "reward-only"
    """Picks refit the reward ensemble, which chooses among replies; the policy stays."""
    OFF = "off"
    """Picks are kept and teach nothing."""


class Language(StrEnum):
    AUTO = "auto"
    """That of the system, English where it has no table."""
    ENGLISH = "en"
    GERMAN = "de"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    data: Path
    """The one folder that holds everything a person's twofold knows."""
    model: str | None = None
    """A local folder or a Hugging Face id; None is the built-in model."""
    language: Language = Language.AUTO
    """Of the page; one for the whole server."""
    api: bool = False
    """Whether programs on this computer may ask for replies under ``/v1``."""
    api_log: bool = False
    """Whether what they say is kept as chats."""
    learning: Learning = Learning.ON
    keep_versions: bool = False
    """Whether every version stays on disk, instead of fewer and fewer of the older ones."""
    ask: AskConfig = field(default_factory=AskConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    online: OnlineConfig = field(default_factory=OnlineConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """How the page is served, beside what is served."""

    port: int = 7860
    open_browser: bool = True
    demo: bool = False
    """Canned replies in a throw-away folder, no model."""
