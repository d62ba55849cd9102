"""Picks in the formats that others read. docs/data.md has an example of each.

Every row may carry columns that begin with ``meta_``: trainers ignore them, and an import of ours
takes them up, so that an export comes back as it was.
"""

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from chat_app.errors import ChatError
from chat_app.language import tr
from storage.pick_list import PickDetail, PickFilter
from storage.records import Candidate, Choice, Message, Note

Row = dict[str, Any]
DECIDED = frozenset({Choice.FIRST, Choice.SECOND})
LABELLED = DECIDED | {Choice.BOTH_BAD}


LABEL_COLUMNS = ("meta_first_labels", "meta_second_labels")
"""What is marked in the first and the second reply of a choice."""


class ExportFormat(StrEnum):
    PREFERENCE = "preference"
    """TRL conversational preference with an explicit prompt: for DPO and reward models."""
    UNPAIRED = "unpaired"
    """TRL unpaired preference: a completion and whether it was liked, for KTO."""
    MESSAGES = "messages"
    """The chosen replies as conversations, for supervised tuning."""
    PARQUET = "parquet"
    """The preference rows as a Parquet file, for ``datasets``."""
    DATASET = "dataset"
    """The same as a folder for ``datasets``, with a test split and a data card, in a ZIP."""
    EVERYTHING = "jsonl"
    """Each pair with whatever was answered and all that is known of both replies."""
    RANKINGS = "rankings"
    """Each ranking whole: the answers as they were shown and the ranks on each criterion."""
    RANKED_PAIRS = "ranked-pairs"
    """The same as TRL preference pairs, one for each two answers that are not tied."""
    DIALOGUES = "dialogues"
    """The finished teaching chats as conversations, for supervised tuning."""
    THUMBS = "thumbs"
    """Thumbs on replies, as TRL unpaired preference, for KTO."""
    LABELS = "labels"
    """Replies in which something is marked as wrong, and what."""


SUFFIXES = {ExportFormat.PARQUET: "parquet", ExportFormat.DATASET: "zip"}
MEDIA_TYPES = {
    ExportFormat.PARQUET: "application/vnd.apache.parquet",
    ExportFormat.DATASET: "application/zip",
}
BESIDE_PICKS = frozenset(
    {
        ExportFormat.RANKINGS,
        ExportFormat.RANKED_PAIRS,
        ExportFormat.DIALOGUES,
        ExportFormat.THUMBS,
        ExportFormat.LABELS,
    }
)
"""Formats of other records than choices: what selects choices says nothing about them."""
BINARY = frozenset(SUFFIXES)
"""Formats that are one file and no lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    format: ExportFormat = ExportFormat.PREFERENCE
    held_out: bool = True
    """Also picks that only measure; ``meta_held_out`` marks them."""
    partial: bool = False
    """Also pairs with a reply that was cut off by hand."""
    meta: bool = True
    """Also the columns that begin with ``meta_``."""

    @property
    def file_name(self) -> str:
        return f"twofold-{self.format}.{SUFFIXES.get(self.format, 'jsonl')}"

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES.get(self.format, "application/jsonl")


def wanted(only: PickFilter, options: ExportOptions) -> PickFilter | None:
    """The picks of ``only`` that give a row in this format; None where there can be none."""
    choices = only.choices
    if options.format is not ExportFormat.EVERYTHING:
        named = LABELLED if options.format is ExportFormat.UNPAIRED else DECIDED
        choices = choices & named if choices else named
        if not choices:
            return None
    held_out = only.held_out
    if not options.held_out:
        if held_out:
            return None
        held_out = False
    return replace(
        only, choices=choices, held_out=held_out, whole=None if options.partial else True
    )


def rows_a_pick(format_: ExportFormat) -> int:
    return 2 if format_ is ExportFormat.UNPAIRED else 1


def export_rows(picks: Iterable[PickDetail], options: ExportOptions) -> Iterator[Row]:
    """Yield the rows of a format, in the order of the picks: one for each that is ``wanted``, of
    unpaired ones two."""
    # The splits of a data set follow from what is known of a choice; its files may leave that out.
    with_meta = options.meta or options.format is ExportFormat.DATASET
    for pick in picks:
        meta = meta_of(pick) if with_meta else {}
        for row in _rows_of(pick, options.format):
            yield row | meta


def json_lines(rows: Iterable[Row]) -> Iterator[str]:
    for row in rows:
        yield json.dumps(row, ensure_ascii=False) + "\n"


def parquet_bytes(rows: Iterable[Row], *, meta: bool = True) -> bytes:
    """The rows as one Parquet file; a value of another type than its column's, as the ``meta_`` of
    a foreign file may hold, is null. ``meta``: with the columns that begin so.

    Raises ChatError where pyarrow is not installed."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        raise ChatError(
            tr("Parquet needs one more package: .venv/bin/pip install pyarrow.")
        ) from error
    schema, some = _schema(pa, meta=meta), list(rows)
    columns = [_column(pa, [row.get(field.name) for row in some], field.type) for field in schema]
    table = pa.Table.from_arrays(columns, schema=schema)
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def meta_of(pick: PickDetail) -> Row:
    """What is known of a pick beside its texts; of an imported one, what its file said, and which
    it is and whether it trains here and now."""
    answer, note = pick.answers[-1], pick.note
    own: Row = {
        "meta_choice": answer.choice.value,
        "meta_decided_at": answer.decided_at.isoformat(),
        "meta_decision_ms": answer.decision_ms,
        "meta_strength": note.strength and note.strength.value,
        "meta_reasons": list(note.reasons),
        "meta_comment": note.comment,
    }
    marked = {
        name: [label.value for label in labels]
        for name, labels in zip(LABEL_COLUMNS, pick.labels, strict=True)
    }
    comparison = pick.comparison
    now: Row = {
        "meta_id": comparison.token,
        "meta_held_out": pick.row.held_out,
        "meta_excluded": pick.row.excluded or pick.row.forgotten or not pick.teaches,
    }
    if pick.meta_json is not None:
        said = json.loads(pick.meta_json)
        changed = len(pick.answers) > 1 or note != Note() or not said
        row = (said | own if changed else said) | now
        relabelled = any(said.get(name, []) != labels for name, labels in marked.items())
        return row | marked if relabelled else row
    return {
        "meta_id": comparison.token,
        **own,
        **marked,
        "meta_asked_at": comparison.asked_at.isoformat(),
        "meta_reason": comparison.question.reason.value,
        "meta_first_better_prob": comparison.question.first_better_prob,
        "meta_disagreement": comparison.question.disagreement,
        "meta_propensity": comparison.question.propensity,
        "meta_first_version": int(comparison.first.completion.policy_version),
        "meta_second_version": int(comparison.second.completion.policy_version),
        **now,
    }


def _rows_of(pick: PickDetail, format_: ExportFormat) -> Iterator[Row]:
    answer = pick.answers[-1]
    prompt = [as_row(message) for message in pick.comparison.prompt]
    match format_:
        case ExportFormat.EVERYTHING:
            yield {
                "prompt": prompt,
                "first": _reply(pick.comparison.first),
                "second": _reply(pick.comparison.second),
                "choice": answer.choice.value,
                "meta_first": _about(pick.comparison.first),
                "meta_second": _about(pick.comparison.second),
            }
        case ExportFormat.PREFERENCE | ExportFormat.PARQUET | ExportFormat.DATASET:
            if answer.chosen and answer.rejected:
                chosen, rejected = _reply(answer.chosen), _reply(answer.rejected)
                yield {"prompt": prompt, "chosen": chosen, "rejected": rejected}
        case ExportFormat.UNPAIRED:
            for completion, label in _labelled(pick):
                yield {"prompt": prompt, "completion": completion, "label": label}
        case ExportFormat.MESSAGES:
            if answer.chosen:
                yield {"messages": prompt + _reply(answer.chosen)}


def _labelled(pick: PickDetail) -> Iterator[tuple[list[Row], bool]]:
    """Both replies, liked or not. "Both are bad" says it of both; a tie says nothing."""
    answer, pair = pick.answers[-1], pick.comparison
    if answer.choice in LABELLED:
        yield _reply(pair.first), answer.choice is Choice.FIRST
        yield _reply(pair.second), answer.choice is Choice.SECOND


def as_row(message: Message) -> Row:
    return {"role": message.role.value, "content": message.content}


def _reply(candidate: Candidate) -> list[Row]:
    return [{"role": "assistant", "content": candidate.completion.text}]


def _about(candidate: Candidate) -> Row:
    completion = candidate.completion
    return {
        "version": int(completion.policy_version),
        "seed": completion.seed,
        "sampling": asdict(completion.sampling),
        "finish_reason": completion.finish_reason.value,
        "tokens": len(completion.token_ids),
        "reward_mean": completion.reward_mean,
        "reward_std": completion.reward_std,
    }


def _column(pa: Any, values: list[Any], type_: Any) -> Any:  # noqa: ANN401 - as in _schema
    if not _fit(pa, values, type_):
        values = [one if _fit(pa, [one], type_) else None for one in values]
    return pa.array(values, type_)


def _fit(pa: Any, values: list[Any], type_: Any) -> bool:  # noqa: ANN401 - as in _schema
    try:
        return pa.array(values, type_).to_pylist() == values
    except (pa.ArrowException, OverflowError):
        return False


def _schema(pa: Any, *, meta: bool) -> Any:  # noqa: ANN401 - pyarrow is an extra and carries no types
    """One schema whatever the rows hold, so that an empty or an all-null column is no surprise."""
    messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    texts = [(name, messages) for name in ("prompt", "chosen", "rejected")]
    if not meta:
        return pa.schema(texts)
    return pa.schema(
        [
            *texts,
            ("meta_id", pa.string()),
            ("meta_choice", pa.string()),
            ("meta_decided_at", pa.string()),
            ("meta_decision_ms", pa.int64()),
            ("meta_asked_at", pa.string()),
            ("meta_reason", pa.string()),
            ("meta_first_better_prob", pa.float64()),
            ("meta_disagreement", pa.float64()),
            ("meta_propensity", pa.float64()),
            ("meta_first_version", pa.int64()),
            ("meta_second_version", pa.int64()),
            ("meta_held_out", pa.bool_()),
            ("meta_excluded", pa.bool_()),
            ("meta_strength", pa.string()),
            ("meta_reasons", pa.list_(pa.string())),
            ("meta_comment", pa.string()),
            *((name, pa.list_(pa.string())) for name in LABEL_COLUMNS),
        ]
    )
