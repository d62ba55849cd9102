"""Preference rows as a data set folder in a ZIP: Parquet files and a data card.

``datasets.load_dataset`` takes the unzipped folder as it is; choices that only measure here are its
test split.
"""

import io
import zipfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from huggingface_hub import DatasetCardData

from chat_app.exports import ExportFormat, ExportOptions, Row, parquet_bytes

NAME = "twofold-choices"
META_COLUMNS = """\
- `meta_choice` says which place won, `meta_reason` why a pair was asked about, and
  `meta_propensity` with which probability; `meta_first_version` and `meta_second_version` are the
  models that wrote its replies (0 is the base model).
"""


def file_bytes(rows: Iterable[Row], options: ExportOptions) -> bytes:
    """A binary format's one file. Raises ChatError where pyarrow is not installed."""
    if options.format is ExportFormat.DATASET:
        return dataset_zip(list(rows), meta=options.meta)
    return parquet_bytes(rows, meta=options.meta)


def dataset_zip(rows: Sequence[Row], *, meta: bool = True, now: datetime | None = None) -> bytes:
    """The ZIP's bytes; ``rows`` are of the preference format with their ``meta_`` columns, which
    the files have only with ``meta``.

    Raises ChatError where pyarrow is not installed.
    """
    splits = {
        "train": [row for row in rows if not row["meta_held_out"]],
        "test": [row for row in rows if row["meta_held_out"]],
    }
    kept = {name: some for name, some in splits.items() if some} or {"train": []}
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for name, some in kept.items():
            file = f"{NAME}/data/{name}-00000-of-00001.parquet"
            archive.writestr(file, parquet_bytes(some, meta=meta))
        sizes = {name: len(some) for name, some in kept.items()}
        card = data_card(sizes, now or datetime.now(UTC), meta=meta)
        archive.writestr(f"{NAME}/README.md", card)
    return sink.getvalue()


def data_card(sizes: dict[str, int], now: datetime, *, meta: bool) -> str:
    """What the data are and how they came about, as the Hub's data cards say it."""
    about = DatasetCardData(
        task_categories=["reinforcement-learning"],
        tags=["preference", "dpo", "trl", "twofold"],
        configs=[
            {
                "config_name": "default",
                "data_files": [{"split": name, "path": f"data/{name}-*.parquet"} for name in sizes],
            }
        ],
    )
    told = "\n".join(f"| {name} | {size:,} |" for name, size in sizes.items())
    columns = META_COLUMNS if meta else ""
    return f"""---
{about.to_yaml()}
---

# Choices between two replies

What one person preferred while chatting with a small language model on their own machine, exported
by twofold on {now:%Y-%m-%d}. Conversational preference rows with an explicit prompt, as TRL reads
them: `prompt`, `chosen`, `rejected`.

| split | rows |
|---|---|
{told}

`test` holds the choices of conversations that never train, a tenth of them, drawn by a hash.

- Pairs were shown in random order.
- Most were asked because an ensemble of reward models disagreed, so they are harder than a random
  sample.
- The replies come from models that learned from earlier rows.
{columns}- The texts are a person's private conversations: read them before you share them.
"""
