"""The example dialogues on the Data tab: what each is about, and the way to its chat."""

from collections.abc import Sequence
from datetime import datetime
from html import escape

from chat_app.language import tr, tr_n
from chat_app.wording import age
from storage.dialogues import Demonstration
from storage.records import Role

TITLE_CHARS = 80


def examples_html(examples: Sequence[Demonstration], now: datetime) -> str:
    """Links, newest first; a chat can be gone on with, taken back and deleted where it is."""
    items = "".join(
        f"<li>{_link(one)} <small>{escape(_about(one, now))}</small></li>" for one in examples
    )
    return f"<ul>{items}</ul>" if items else ""


def _link(example: Demonstration) -> str:
    said = next(one.content for one in example.messages if one.role is Role.USER)
    words = " ".join(said.split())
    title = words if len(words) <= TITLE_CHARS else f"{words[: TITLE_CHARS - 1].rstrip()}…"
    return f'<a href="/?c={escape(example.key)}">{escape(title)}</a>'


def _about(example: Demonstration, now: datetime) -> str:
    replies = sum(one.role is Role.ASSISTANT for one in example.messages)
    marks = [tr_n("{n} reply", "{n} replies", replies)]
    if example.imported:
        marks.append(tr("out of a file"))
    if example.held_out:
        marks.append(tr("only measures"))
    return " · ".join([*marks, age(example.finished_at, now)])
