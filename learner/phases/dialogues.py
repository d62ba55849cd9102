"""Demonstrations to fine-tune on: stored ones, and files of dialogues; cleaned if wished, split.

A file has JSON lines, gzipped or not, each ``{"messages": [...]}`` (every reply of the assistant
is learned) or ``{"prompt": ..., "response": ...}``, perhaps with ``history`` (the response is).
Rows of one prompt family, or of one ``tree``, stay on one side of the split: their replies are
near-copies of each other.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from learner.engine.backbone import Backbone
from learner.families import family_of
from learner.json_lines import message_of
from learner.phases.cleaning import cleaned
from learner.phases.packing import TokenSequence
from learner.phases.protocol import PhaseError
from learner.phases.texts import rows_of
from learner.rendering import prompt_ids
from storage.records import Message, Role

_ROW = '{"messages": [...]} or {"prompt": "...", "response": "..."}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    messages: tuple[Message, ...]
    learned: tuple[int, ...]
    """Places of the assistant's messages that are learned."""
    family: str
    held_out: bool = False
    """It comes from a chat that only measures."""

    @property
    def prompt(self) -> tuple[Message, ...]:
        """All before the last reply that is learned."""
        return self.messages[: self.learned[-1]]


class LeftOut(StrEnum):
    """Why a row, or a dialogue, is not among the demonstrations."""

    EMPTY = "with an empty message"
    TORN = "with a reply that ends in mid-sentence (clean)"
    REPEATED = "the same as an earlier one"
    TOO_LONG = "longer than"
    """The limit's name follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadDialogues:
    dialogues: list[Dialogue]
    left_out: Mapping[LeftOut, int]
    """How many rows, by reason."""


def read_dialogues(
    files: Sequence[Path], *, sets: Sequence[str] = (), clean: bool = False
) -> ReadDialogues:
    """Read files of dialogues; ``sets`` takes rows of these sets only.

    ``clean`` mends and leaves out what ``cleaned`` says; else every reply is taken as it was
    written. Raises PhaseError naming the line.
    """
    found: dict[str, Dialogue] = {}
    left_out: Counter[LeftOut] = Counter()
    for where, row in rows_of(files, sets):
        one = _dialogue(row, where, clean=clean)
        if isinstance(one, Dialogue) and _text_of(one) in found:
            one = LeftOut.REPEATED
        if isinstance(one, LeftOut):
            left_out[one] += 1
        else:
            found[_text_of(one)] = one
    return ReadDialogues(dialogues=list(found.values()), left_out=left_out)


def told(left_out: Mapping[LeftOut, int], *, limit: str) -> list[str]:
    """How many were left out and why, in a sentence; none where none were."""
    count = sum(left_out.values())
    if not count:
        return []
    why = ", ".join(
        f"{left_out[one]} {one.value}" + (f" {limit}" if one is LeftOut.TOO_LONG else "")
        for one in LeftOut
        if left_out.get(one)
    )
    return [f"demonstrations left out: {count}, of which {why}"]


def split(
    dialogues: Iterable[Dialogue], *, held_out_share: float, salt: str = "v1"
) -> tuple[list[Dialogue], list[Dialogue]]:
    """Those to train on and those that measure, whole families each; stable under ``salt``."""
    training: list[Dialogue] = []
    held_out: list[Dialogue] = []
    for one in dialogues:
        number = int(hashlib.sha256((salt + one.family).encode()).hexdigest(), 16) % 10_000
        measures = one.held_out or number < 10_000 * held_out_share
        (held_out if measures else training).append(one)
    return training, held_out


def digest_of(dialogues: Iterable[Dialogue], beside: str = "") -> str:
    """Hex digest of all texts, in order, of what is learned of them, and of ``beside``."""
    digest = hashlib.sha256(beside.encode())
    for one in dialogues:
        digest.update(_text_of(one).encode() + b"\0")
    return digest.hexdigest()


def sequences_of(backbone: Backbone, dialogue: Dialogue, max_tokens: int) -> list[TokenSequence]:
    """Tokens with the learned replies marked, each with its end; nothing that is too long.

    A reply stands behind exactly what the model is given when it replies: the chat template's
    rendering of the messages before it, with the generation prompt. Where the rendering of a later
    turn begins with the tokens so far, as with most templates, one sequence holds several replies;
    elsewhere (a template that drops earlier turns' thoughts, say) each has its own.
    """
    made: list[tuple[list[int], list[bool]]] = []
    for place in dialogue.learned:
        before = list(prompt_ids(backbone.tokenizer, dialogue.messages[:place]))
        reply = [*backbone.reply_ids(dialogue.messages[place].content), *backbone.end_ids]
        if made and before[: len(made[-1][0])] == made[-1][0]:
            ids, marks = made[-1]
            marks += [False] * (len(before) - len(ids)) + [True] * len(reply)
            ids += before[len(ids) :] + reply
        else:
            made.append((before + reply, [False] * len(before) + [True] * len(reply)))
    return [
        TokenSequence(ids=tuple(ids), supervised=tuple(marks))
        for ids, marks in made
        if len(ids) <= max_tokens
    ]


def _dialogue(row: dict[str, Any], where: str, *, clean: bool) -> Dialogue | LeftOut:
    try:
        messages, learned = _messages(row)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PhaseError(f"{where}: expected {_ROW}.") from error
    if messages[-1].role is not Role.ASSISTANT or not learned:
        raise PhaseError(f"{where}: a dialogue ends with a reply of the assistant.")
    mended: list[Message] = []
    for place, message in enumerate(messages):
        text = message.content.strip()
        if not text:
            return LeftOut.EMPTY
        if clean and place in learned:
            text = cleaned(text) or ""
            if not text:
                return LeftOut.TORN
        mended.append(Message(role=message.role, content=text))
    opening = next(m.content for m in mended if m.role is Role.USER)
    tree = row.get("tree")
    return Dialogue(
        messages=tuple(mended),
        learned=learned,
        family=family_of(opening) if tree is None else str(tree),
    )


def _messages(row: dict[str, Any]) -> tuple[list[Message], tuple[int, ...]]:
    given = said = row.get("messages")
    if said is None:
        said = [
            *row.get("history", []),
            {"role": "user", "content": row["prompt"]},
            {"role": "assistant", "content": row["response"]},
        ]
    messages = [message_of(m) for m in said]
    if not any(m.role is Role.USER for m in messages):
        raise ValueError("nobody asks")
    return messages, (len(messages) - 1,) if given is None else replies_in(messages)


def replies_in(messages: Sequence[Message]) -> tuple[int, ...]:
    """Places of the replies in a dialogue; what the assistant opens with replies to nobody."""
    asked = next((i for i, m in enumerate(messages) if m.role is Role.USER), len(messages))
    return tuple(i for i, m in enumerate(messages) if m.role is Role.ASSISTANT and i > asked)


def _text_of(one: Dialogue) -> str:
    lines = [f"{m.role.value}:{m.content}" for m in one.messages]
    return "\1".join([*lines, ",".join(map(str, one.learned))])
