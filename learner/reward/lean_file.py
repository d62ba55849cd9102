"""The file with a person's own word about their taste (``learner/reward/lean.py``). No torch."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from learner.reward.style import STYLE_NAMES
from storage.files import replace_text

MAX_LEAN = 2.0
"""Logits: the liked reply of a typical pair then wins 88 times of a hundred."""

Lean = Mapping[str, float]


def read_lean(path: Path) -> dict[str, float]:
    """Return the lean by feature; features that are gone, and what is no number, are left out.

    A file that cannot be read says nothing: the reward ensemble goes without it.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(said, dict):
        return {}
    known = {name: said[name] for name in STYLE_NAMES if name in said}
    return {
        name: max(-MAX_LEAN, min(MAX_LEAN, float(value)))
        for name, value in known.items()
        if isinstance(value, int | float) and math.isfinite(value) and value
    }


def write_lean(path: Path, lean: Lean) -> None:
    """Raises OSError, with the file as it was."""
    replace_text(path, json.dumps({name: value for name, value in lean.items() if value}))
