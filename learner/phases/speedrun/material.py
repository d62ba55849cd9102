"""What a speedrun trains and measures on, cut from the shared data into parts without overlap.

A row's part follows from its prompt family (or tree): the first learns, the second teaches the
rater that is no reward model, the third only measures. The files lie in the run's own folder.
"""

import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from learner.families import family_of
from learner.phases.cleaning import cleaned
from learner.phases.protocol import PhaseError

Row = dict[str, Any]

FILES = ("sft", "pairs_human", "pairs_ai", "prompts", "prompts_harmful")
EXTRA_SFT_SHARE = 0.2
"""Of the very short tasks: more of them would teach curtness."""
MIN_TEXT_CHARS = 200
MAX_PROMPT_CHARS = 400


class Part(Enum):
    LEARNS = "learns"
    RATES = "rates"
    MEASURES = "measures"


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Files of JSON lines."""

    texts: Path
    """Plain text: longer answers, as prose."""
    dialogues: Path
    measured_dialogues: Path
    pairs: Path
    """Human choices for the reward model."""
    rater_pairs: Path
    """Choices for the rater, of other prompts."""
    prompts: Path
    """For the policy to reply to while it learns."""
    measured_prompts: Path
    harmful: Path
    look_alikes: Path
    """Harmless messages that look delicate."""


def prepare(shared: Path, folder: Path) -> Material:
    """Cut the shared data into ``folder``. Raises PhaseError where files are missing."""
    missing = [name for name in FILES if not (shared / f"{name}.jsonl.gz").is_file()]
    if missing:
        raise PhaseError(
            f"{shared} has no {', '.join(missing)}: name the folder of the shared data with "
            "--shared, or TWOFOLD_DATA."
        )
    folder.mkdir(parents=True, exist_ok=True)
    rows = {name: list(_rows(shared / f"{name}.jsonl.gz")) for name in FILES}
    sft = [row for row in map(_mended, rows["sft"]) if row is not None]
    learned = [row for row in sft if part_of(row) is Part.LEARNS]
    pairs = rows["pairs_human"]
    short = [row for row in rows["prompts"] if row["set"] == "oasst-lottery" and _is_short(row)]
    harmful = rows["prompts_harmful"]
    write = _Writer(folder)
    return Material(
        texts=write(
            "texts",
            ({"text": row["response"]} for row in learned if len(row["response"]) > MIN_TEXT_CHARS),
        ),
        dialogues=write("dialogues", (row for row in learned if _is_wanted(row))),
        measured_dialogues=write("measured_dialogues", _measured(sft)),
        pairs=write("pairs", (row for row in pairs if part_of(row) is not Part.RATES)),
        rater_pairs=write(
            "rater_pairs",
            [
                *(row for row in pairs if part_of(row) is Part.RATES),
                *(row for row in rows["pairs_ai"] if row.get("gap", 0) >= 1),
            ],
        ),
        prompts=write(
            "prompts",
            (row for row in [*short, *harmful[::6]] if part_of(row) is Part.LEARNS),
        ),
        measured_prompts=write("measured_prompts", _measured(short)),
        harmful=write("harmful", _measured(harmful, _is_short)),
        look_alikes=write(
            "look_alikes",
            _measured(rows["pairs_ai"], lambda r: r["set"] == "coconot-pref" and _is_short(r)),
        ),
    )


def part_of(row: Row) -> Part:
    """By prompt family, so that near-copies of a prompt are in one part."""
    first = row["history"][0]["content"] if row.get("history") else row["prompt"]
    key = str(row.get("tree") or family_of(first))
    number = int(hashlib.sha256(f"speedrun/{key}".encode()).hexdigest(), 16) % 100
    if number < 70:
        return Part.LEARNS
    return Part.RATES if number < 85 else Part.MEASURES


def read_rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _measured(rows: Iterable[Row], wanted: Callable[[Row], bool] = lambda _: True) -> list[Row]:
    """In an order that follows from their texts: any first few are a sample."""
    found = [row for row in rows if part_of(row) is Part.MEASURES and wanted(row)]
    return sorted(found, key=lambda row: hashlib.sha256(row["prompt"].encode()).digest())


def _mended(row: Row) -> Row | None:
    response = cleaned(row["response"])
    return None if response is None else row | {"response": response}


def _is_wanted(row: Row) -> bool:
    share = int(hashlib.sha256(row["prompt"].encode()).hexdigest(), 16) % 100 / 100
    return row["set"] != "rasbt" or share < EXTRA_SFT_SHARE


def _is_short(row: Row) -> bool:
    return len(row["prompt"]) <= MAX_PROMPT_CHARS


def _rows(path: Path) -> Iterator[Row]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


class _Writer:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str, rows: Iterable[Row]) -> Path:
        path = self._folder / f"{name}.jsonl"
        text = "".join(json.dumps(row) + "\n" for row in rows)
        path.write_text(text, encoding="utf-8")
        return path
