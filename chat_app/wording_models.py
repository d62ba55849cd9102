"""Sentences of the Models tab."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from chat_app.interval import wilson
from chat_app.language import N_, tr, tr_n, tr_told, upper_first
from chat_app.models_service import VersionCard, VersionDetail
from chat_app.wording import age, version_name
from storage.duels import Duel
from storage.records import BASE_VERSION, PolicyVersionId

RULE = N_(
    "A new version goes live by itself when it has learned its lesson and holds the "
    "gate: its language, its distance from the base model, the length of its replies, "
    "how often they repeat and what it refuses stay within limits. Of older versions "
    "fewer and fewer are kept (Settings, Your data); those that stand here can speak "
    "again, unless they are marked."
)
COMPARE = N_(
    "Both reply to your message in a new chat, side by side and without a name. "
    "Choose as ever; who was who is told afterwards, on the Data tab, and the win "
    "rates here and under Learning count it."
)
ONLY_BASE = N_(
    "## Only the untrained model so far\n\nAfter a few choices the first lesson "
    "makes version 1, and it stands here beside the model it came from."
)
# Measure of a lesson: what it is in words, and the settings that hold its limits.
GATE = {
    "lesson_lift": (
        N_("Gain of what was picked on what was not (nats a pair)"),
        "min_lesson_lift",
        None,
    ),
    "chosen_gain": (
        N_("Gain of what was picked (nats a token)"),
        "min_chosen_gain",
        None,
    ),
    "perplexity_ratio": (
        N_("Surprise at ordinary text, over the base's"),
        None,
        "max_perplexity_ratio",
    ),
    "kl_per_token": (N_("Distance from the base (nats per token)"), None, "max_kl_per_token"),
    "length_ratio": (
        N_("Length of replies, over its parent's"),
        "min_length_ratio",
        "max_length_ratio",
    ),
    "empty_share": (N_("Share of empty replies"), None, "max_empty_share"),
    "repetition": (N_("Share of repeated token pairs"), None, "max_repetition"),
    "compliance": (N_("Share of harmful probes not refused"), None, None),
    "over_refusal": (N_("Share of harmless probes refused"), None, None),
}

WHY_NOT = (
    N_("learned from a pick that was forgotten"),
    N_("learned from a ranking that was forgotten"),
    N_("learned from a deleted chat"),
    N_("could not be loaded: {error}"),
)
"""Why a version never speaks again, as the store keeps it; a lesson's own verdict is English."""


def card_label(card: VersionCard, lane: str, now: datetime) -> str:
    """Two lines: the name and whether it is live; where it comes from and what it learned."""
    name = tr("Untrained model (v0)") if card.id == BASE_VERSION else f"v{card.id}"
    marks = [mark for mark in (lane, name, f"· {tr('live')}" if card.live else "") if mark]
    if card.parent is None:
        return " ".join(marks) + "\n" + tr("the base everything starts from")
    about = [
        tr("from v{parent}", parent=card.parent),
        tr_n("{n} choice", "{n} choices", card.picks),
        age(card.created_at, now),
    ]
    if not card.kept:
        about.append(tr("not kept any more"))
    elif not card.servable:
        about.append(tr("never speaks again"))
    if card.note:
        start = " ".join(card.note.split())
        about.append(f"“{start[:40]}{'…' if len(start) > 40 else ''}”")
    return f"{' '.join(marks)}\n{' · '.join(about)}"


def title(card: VersionCard) -> str:
    name = upper_first(version_name(card.id))
    return f"## {name}" + (f" · {tr('live')}" if card.live else "")


def standing(card: VersionCard) -> str:
    if card.live:
        return tr("It writes the replies now.")
    if not card.kept:
        return tr("It is not kept any more, to save space.")
    if not card.servable:
        return tr("It never speaks again: {why_not}.", why_not=tr_told(card.why_not))
    if card.on_live_line:
        return tr("The live version comes from it.")
    return tr("It is on another branch than the live version.")


def won(duel: Duel, of: PolicyVersionId) -> str:
    """Who wins between two versions, as a share with its interval."""
    mine = duel.won if duel.newer == of else duel.lost
    other = duel.older if duel.newer == of else duel.newer
    if not duel.decided:
        return tr(
            "against v{other}: {count}", other=other, count=tr_n("{n} tie", "{n} ties", duel.tied)
        )
    low, high = wilson(mine, duel.decided)
    ties = f", {tr_n('{n} tie', '{n} ties', duel.tied)}" if duel.tied else ""
    return tr(
        "against v{other}: chosen {mine} of {decided} times ({low} to {high} % "
        "with 95 % confidence{ties})",
        other=other,
        mine=mine,
        decided=duel.decided,
        low=round(100 * low),
        high=round(100 * high),
        ties=ties,
    )


def duels_line(detail: VersionDetail) -> str:
    if not detail.duels:
        return tr("You have not compared it with another version yet.")
    return "; ".join(won(duel, detail.card.id) for duel in detail.duels)


def gate_rows(metrics: Mapping[str, float], gate: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, figure and limit of each check that the lesson measured."""
    rows = []
    for name, (words, low, high) in GATE.items():
        if name in metrics:
            limits = [tr("at least {value:g}", value=gate[low])] if low in gate else []
            limits += [tr("at most {value:g}", value=gate[high])] if high in gate else []
            rows.append((tr(words), f"{metrics[name]:.3g}", ", ".join(limits)))
    return rows


def size(size_bytes: int) -> str:
    return tr("{size:.1f} MB", size=size_bytes / 2**20)
