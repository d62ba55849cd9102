"""A file of records, line by line: what can be taken in, and what is wrong with the rest.

It reads what TRL calls a preference dataset, conversational or plain, with the prompt of its own or
inside both conversations; dialogues as lists of messages; and what ``twofold export`` writes,
rankings among it. The kinds may stand in one file. Nothing is stored here.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from chat_app.exports import LABEL_COLUMNS
from chat_app.file_fields import (
    BadLineError,
    check_prompt,
    choice_of,
    decision_ms_of,
    id_of,
    labels_of,
    messages_of,
    meta_json,
    meta_of,
    orders_of,
    refuse_criterion,
    refuse_excluded,
    reply_of,
    text_of,
    truth_of,
)
from chat_app.file_records import FileDialogue, FilePair, FileProblem, FileRanking, FileRecord
from chat_app.language import tr
from storage.records import Choice, Message, Role

MAX_LINES = 100_000


def read_records(lines: Iterable[str]) -> Iterator[FileRecord | FileProblem]:
    """Yield for every line that is not blank the record it holds, or what is wrong with it."""
    for number, line in enumerate(lines, start=1):
        if number > MAX_LINES:
            yield FileProblem(
                line=number,
                sentence=tr(
                    "only the first {MAX_LINES:,} lines are read; split the file",
                    MAX_LINES=MAX_LINES,
                ),
            )
            return
        if not line.strip():
            continue
        try:
            yield _record(number, line)
        except BadLineError as error:
            yield FileProblem(line=number, sentence=str(error))


def _record(number: int, line: str) -> FileRecord:
    row = _row(line)
    if "messages" in row:
        return _dialogue(number, row)
    if "answers" in row or "ranks" in row:
        return _ranking(number, row)
    return _pair(number, row)


def _dialogue(number: int, row: dict[str, Any]) -> FileDialogue:
    messages = messages_of(row, "messages")
    if not messages or messages[-1].role is not Role.ASSISTANT:
        raise BadLineError(tr("the messages do not end with a reply of the assistant"))
    check_prompt(messages[:-1])
    meta = meta_of(row)
    refuse_excluded(meta)
    return FileDialogue(
        line=number,
        messages=messages,
        id=id_of(meta),
        held_out=truth_of(meta, "meta_held_out"),
        meta_json=meta_json(meta),
    )


def _ranking(number: int, row: dict[str, Any]) -> FileRanking:
    prompt = messages_of(row, "prompt")
    check_prompt(prompt)
    said, ranks = row.get("answers"), row.get("ranks")
    if not isinstance(said, list):
        raise BadLineError(tr("answers is not a list of texts"))
    answers = tuple(text_of(one, "answers", said=Role.ASSISTANT) for one in said)
    if len(set(answers)) < len(answers):
        raise BadLineError(tr("two of the answers are the same"))
    meta = meta_of(row)
    refuse_excluded(meta)
    return FileRanking(
        line=number,
        prompt=prompt,
        answers=answers,
        orders=orders_of(ranks, len(answers)),
        id=id_of(meta),
        held_out=truth_of(meta, "meta_held_out"),
        decision_ms=decision_ms_of(meta),
        meta_json=meta_json(meta),
    )


def _pair(number: int, row: dict[str, Any]) -> FilePair:
    if "first" in row and "second" in row:
        prompt = messages_of(row, "prompt")
        first, second = reply_of(row, "first"), reply_of(row, "second")
        choice = choice_of(row.get("choice"))
    else:
        prompt, chosen, rejected = _explicit(row)
        said = row.get("meta_choice")
        choice = choice_of(_either(prompt, chosen, rejected) if said is None else said)
        if choice not in (Choice.FIRST, Choice.SECOND):
            raise BadLineError(
                tr("meta_choice is {value}, but a better reply is named", value=choice.value)
            )
        first, second = (chosen, rejected) if choice is Choice.FIRST else (rejected, chosen)
    check_prompt(prompt)
    if first == second:
        raise BadLineError(tr("both replies are the same"))
    meta = meta_of(row)
    refuse_criterion(meta)
    marked_first, marked_second = (labels_of(meta, name) for name in LABEL_COLUMNS)
    return FilePair(
        line=number,
        prompt=prompt,
        first=first,
        second=second,
        choice=choice,
        id=id_of(meta),
        held_out=truth_of(meta, "meta_held_out"),
        decision_ms=decision_ms_of(meta),
        labels=(marked_first, marked_second),
        excluded=bool(truth_of(meta, "meta_excluded")),
        meta_json=meta_json(meta),
    )


def _row(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise BadLineError(tr("not JSON ({error})", error=error)) from error
    except RecursionError as error:
        raise BadLineError(tr("nested too deeply")) from error
    if not isinstance(row, dict):
        raise BadLineError(tr("not a JSON object"))
    # A file of several kinds may have all columns in each row. A meta_ that is null stays: an
    # export comes back as it was.
    row = {k: v for k, v in row.items() if v is not None or k.startswith("meta_")}
    if {"messages", "answers", "ranks"} & set(row):
        return row
    missing = [name for name in ("chosen", "rejected") if name not in row]
    if missing and not ("first" in row and "second" in row):
        raise BadLineError(tr("there is no {known}", known=tr(" and no ").join(missing)))
    return row


def _explicit(row: dict[str, Any]) -> tuple[tuple[Message, ...], str, str]:
    """Prompt, chosen and rejected; a prompt inside both conversations is what they share."""
    if "prompt" in row:
        return messages_of(row, "prompt"), reply_of(row, "chosen"), reply_of(row, "rejected")
    chosen, rejected = messages_of(row, "chosen"), messages_of(row, "rejected")
    for name, messages in (("chosen", chosen), ("rejected", rejected)):
        if not messages:
            raise BadLineError(tr("{name} does not end with a reply of the assistant", name=name))
    if chosen[:-1] != rejected[:-1]:
        raise BadLineError(tr("chosen and rejected do not begin with the same prompt"))
    for name, message in (("chosen", chosen[-1]), ("rejected", rejected[-1])):
        if message.role is not Role.ASSISTANT:
            raise BadLineError(tr("{name} does not end with a reply of the assistant", name=name))
    return chosen[:-1], chosen[-1].content, rejected[-1].content


def _either(prompt: tuple[Message, ...], chosen: str, rejected: str) -> str:
    """Which one counts as shown first, where the file does not say: a coin that falls by content,
    so that no position is preferred and a second import says the same."""
    content = json.dumps([[message.content for message in prompt], chosen, rejected])
    bit = hashlib.sha256(content.encode()).digest()[0] & 1
    return Choice.FIRST.value if bit else Choice.SECOND.value
