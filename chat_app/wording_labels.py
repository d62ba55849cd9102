"""Sentences about labels: what is wrong with one reply."""

from collections.abc import Iterable, Sequence

from chat_app.language import N_, Words, tr
from storage.records import Label, Turn
from storage.text import title_of

LABELS = Words(
    {
        Label.UNSAFE: N_("Unsafe"),
        Label.PRIVATE_DATA: N_("Private data"),
        Label.WRONG_LANGUAGE: N_("Wrong language"),
        Label.WRONG_FACTS: N_("Wrong facts"),
        Label.OFF_TOPIC: N_("Off topic"),
        Label.UNHELPFUL: N_("Unhelpful"),
    }
)


def named(labels: Iterable[Label]) -> str:
    return ", ".join(LABELS[label] for label in labels)


def fold_title(labels: Sequence[Label]) -> str:
    """What the closed fold says: that one may mark something, or what was marked."""
    if not labels:
        return tr("Mark what is wrong with this reply")
    return tr("Marked: {labels}", labels=named(labels))


def reply_choices(replies: Sequence[Turn]) -> list[tuple[str, str]]:
    """The replies that can be marked, newest first; the newest is whichever is the last."""
    earlier = [
        (f"{number}. {title_of(reply.message.content)}", str(reply.id))
        for number, reply in enumerate(replies[:-1], start=1)
    ]
    return [(tr("The last one"), ""), *reversed(earlier)]


def of_pair(labels: tuple[Sequence[Label], Sequence[Label]]) -> str:
    """What was marked in the replies of a choice; empty where nothing was."""
    first, second = labels
    parts = [
        tr("{reply}: {labels}", reply=reply, labels=named(some))
        for reply, some in ((tr("Reply 1"), first), (tr("Reply 2"), second))
        if some
    ]
    return "; ".join(parts)
