"""Rankings, finished dialogues, thumbs and labels as rows; docs/data.md has an example of each.

As with picks, columns that begin with ``meta_`` are ours, and what an import takes up is exported
again as it was.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from chat_app.exports import ExportFormat, ExportOptions, Row, as_row
from storage.database import Reader
from storage.dialogues import Demonstration, DialogueReader
from storage.labels import LabelReader
from storage.opinions import OpinionReader
from storage.rankings import RankingReader
from storage.records import LabelledReply, Message, RatedReply, Role, Thumb
from storage.slates import Criterion, Ranking


def record_rows(reader: Reader, options: ExportOptions) -> Iterator[Row]:
    """The rows of one of the formats beside picks, oldest record first."""
    for row, meta in _rows(reader, options):
        yield row | meta if options.meta else row


def _rows(reader: Reader, options: ExportOptions) -> Iterator[tuple[Row, Row]]:
    match options.format:
        case ExportFormat.RANKINGS | ExportFormat.RANKED_PAIRS:
            log = RankingReader(reader)
            with reader.snapshot():
                held = log.held_out()
                some = log.rankings() + (held if options.held_out else [])
                said = log.meta_of(one.slate.id for one in some)
            held_out = {one.id for one in held}
            make = _whole if options.format is ExportFormat.RANKINGS else _pairs
            for one in sorted(some, key=lambda one: one.id):
                meta = _ranking_meta(one, said.get(one.slate.id), held_out=one.id in held_out)
                yield from make(one, meta)
        case ExportFormat.DIALOGUES:
            dialogues = DialogueReader(reader)
            with reader.snapshot():
                held = dialogues.held_out() if options.held_out else []
                trains = dialogues.demonstrations()
            for one in sorted(chain(trains, held), key=lambda d: d.id):
                messages = [as_row(message) for message in one.messages]
                yield {"messages": messages}, _dialogue_meta(one)
        case ExportFormat.THUMBS:
            yield from _of_replies(map(_thumb, OpinionReader(reader).every_thumb()), options)
        case ExportFormat.LABELS:
            yield from _of_replies(map(_labelled, LabelReader(reader).every()), options)
        case _:
            raise ValueError(f"{options.format} is a format of picks")


def _of_replies(
    rows: Iterable[tuple[Row, Row]], options: ExportOptions
) -> Iterator[tuple[Row, Row]]:
    return (one for one in rows if options.held_out or not one[1]["meta_held_out"])


def _whole(ranking: Ranking, meta: Row) -> Iterator[tuple[Row, Row]]:
    orders = ranking.orders
    assert orders is not None  # noqa: S101 - what counts has an order
    ranks = {"overall": list(orders.overall)}
    ranks |= {name.value: list(one) for name, one in orders.criteria.items()}
    prompt = [as_row(message) for message in ranking.slate.prompt]
    answers = [one.completion.text for one in ranking.slate.answers]
    yield {"prompt": prompt, "answers": answers, "ranks": ranks}, meta


def _pairs(ranking: Ranking, meta: Row) -> Iterator[tuple[Row, Row]]:
    """TRL preference rows: overall, and each criterion that was ordered by itself."""
    orders = ranking.orders
    assert orders is not None  # noqa: S101 - what counts has an order
    prompt = [as_row(message) for message in ranking.slate.prompt]
    texts = [_reply(one.completion.text) for one in ranking.slate.answers]
    for criterion in (Criterion.OVERALL, *orders.criteria):
        about = {
            "meta_criterion": criterion.value,
            "meta_weight": ranking.pair_weight,
            "meta_held_out": meta["meta_held_out"],
        }
        for pair in ranking.pairs(criterion):
            if not pair.tied:
                row = {
                    "prompt": prompt,
                    "chosen": texts[pair.better],
                    "rejected": texts[pair.worse],
                }
                yield row, about | {f"meta_ranking_{k[5:]}": v for k, v in meta.items()}


def _thumb(rated: RatedReply) -> tuple[Row, Row]:
    row = {
        "prompt": [as_row(message) for message in rated.prompt],
        "completion": _reply(rated.completion.text),
        "label": rated.thumb is Thumb.UP,
    }
    meta = {
        "meta_rated_at": rated.rated_at.isoformat(),
        "meta_version": int(rated.completion.policy_version),
        "meta_held_out": rated.held_out,
    }
    return row, meta


def _labelled(reply: LabelledReply) -> tuple[Row, Row]:
    row = {
        "prompt": [as_row(message) for message in reply.prompt],
        "completion": _reply(reply.completion.text),
        "labels": [label.value for label in reply.labels],
    }
    meta = {
        "meta_labelled_at": reply.labelled_at.isoformat(),
        "meta_label_source": reply.source.value,
        "meta_version": int(reply.completion.policy_version),
        "meta_held_out": reply.held_out,
    }
    return row, meta


def _ranking_meta(ranking: Ranking, said: str | None, *, held_out: bool) -> Row:
    """What is known of a ranking; of one out of a file that was not changed, what that said, and
    which it is and whether it trains here."""
    given: Row = {
        "meta_ranked_at": ranking.decided_at.isoformat(),
        "meta_decision_ms": ranking.decision_ms,
    }
    slate = ranking.slate
    now: Row = {"meta_id": slate.token, "meta_held_out": held_out}
    if said is not None:
        from_file: Row = json.loads(said)
        unchanged = ranking.decided_at == slate.asked_at
        return (from_file if unchanged and from_file else from_file | given) | now
    return {
        "meta_id": slate.token,
        **given,
        "meta_asked_at": slate.asked_at.isoformat(),
        "meta_versions": [int(one.completion.policy_version) for one in slate.answers],
        "meta_authors": [one.author.value for one in slate.answers],
        **now,
    }


def _dialogue_meta(dialogue: Demonstration) -> Row:
    now: Row = {"meta_id": dialogue.key, "meta_held_out": dialogue.held_out}
    if dialogue.meta_json is not None:
        said: Row = json.loads(dialogue.meta_json)
        if said:
            return said | now
    return {
        "meta_id": dialogue.key,
        "meta_finished_at": dialogue.finished_at.isoformat(),
        **now,
    }


def _reply(text: str) -> list[dict[str, Any]]:
    return [as_row(Message(role=Role.ASSISTANT, content=text))]
