"""Sentences of the Models tab."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from chat_app.interval import wilson
from chat_app.models_service import VersionCard, VersionDetail
from chat_app.wording import age, count_of, version_name
from storage.duels import Duel
from storage.records import BASE_VERSION, PolicyVersionId

RULE = (
    "A new version goes live by itself when it holds the gate: its language, its distance from the "
    "base model, the length of its replies and how often they repeat stay within limits. Every "
    "version is kept, and any of them can speak again."
)
COMPARE = (
    "Both reply to your message in a new chat, side by side and without a name. Choose as ever; "
    "who was who is told afterwards, on the Data tab, and the win rates here and under Learning "
    "count it."
)
ONLY_BASE = (
    "### Only the untrained model so far\n\nAfter a few choices the first lesson makes version 1, "
    "and it stands here beside the model it came from."
)
# Measure of a lesson: what it is in words, and the settings that hold its limits.
GATE = {
    "perplexity_ratio": (
        "Surprise at ordinary text, over the base's",
        None,
        "max_perplexity_ratio",
    ),
    "kl_per_token": ("Distance from the base (nats per token)", None, "max_kl_per_token"),
    "length_ratio": (
        "Length of replies, over its parent's",
        "min_length_ratio",
        "max_length_ratio",
    ),
    "empty_share": ("Share of empty replies", None, "max_empty_share"),
    "repetition": ("Share of repeated token pairs", None, "max_repetition"),
}


def card_label(card: VersionCard, lane: str, now: datetime) -> str:
    """Two lines: the name and whether it is live; where it comes from and what it learned."""
    name = "Untrained model (v0)" if card.id == BASE_VERSION else f"v{card.id}"
    marks = [mark for mark in (lane, name, "· live" if card.live else "") if mark]
    if card.parent is None:
        return f"{' '.join(marks)}\nthe base everything starts from"
    about = [f"from v{card.parent}", count_of(card.picks, "choice"), age(card.created_at, now)]
    if not card.servable:
        about.append("never speaks again")
    if card.note:
        start = " ".join(card.note.split())
        about.append(f"“{start[:40]}{'…' if len(start) > 40 else ''}”")
    return f"{' '.join(marks)}\n{' · '.join(about)}"


def title(card: VersionCard) -> str:
    name = version_name(card.id).capitalize()
    return f"### {name}" + (" · live" if card.live else "")


def standing(card: VersionCard) -> str:
    if card.live:
        return "It writes the replies now."
    if not card.servable:
        return f"It never speaks again: {card.why_not}."
    if card.on_live_line:
        return "The live version comes from it."
    return "It is on another branch than the live version."


def won(duel: Duel, of: PolicyVersionId) -> str:
    """Who wins between two versions, as a share with its interval."""
    mine = duel.won if duel.newer == of else duel.lost
    other = duel.older if duel.newer == of else duel.newer
    if not duel.decided:
        return f"against v{other}: {count_of(duel.tied, 'tie')}"
    low, high = wilson(mine, duel.decided)
    ties = f", {count_of(duel.tied, 'tie')}" if duel.tied else ""
    return (
        f"against v{other}: chosen {mine} of {duel.decided} times ({round(100 * low)} to "
        f"{round(100 * high)} % with 95 % confidence{ties})"
    )


def duels_line(detail: VersionDetail) -> str:
    if not detail.duels:
        return "You have not compared it with another version yet."
    return "; ".join(won(duel, detail.card.id) for duel in detail.duels)


def gate_rows(metrics: Mapping[str, float], gate: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, figure and limit of each check that the lesson measured."""
    rows = []
    for name, (words, low, high) in GATE.items():
        if name in metrics:
            limits = [f"at least {gate[low]:g}"] if low in gate else []
            limits += [f"at most {gate[high]:g}"] if high in gate else []
            rows.append((words, f"{metrics[name]:.3g}", ", ".join(limits)))
    return rows


def size(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.1f} MB"
