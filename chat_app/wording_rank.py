"""Sentences of the Rank tab."""

from collections.abc import Sequence
from datetime import datetime

from chat_app.language import N_, Words, tr, tr_n, upper_first
from chat_app.ranking import DeskView, Task
from chat_app.wording import age, version_name
from chat_app.wording_data import listed, with_lessons
from learner.protocols import Draft, Stage
from storage.forgetting import Forgotten
from storage.rankings import RankingCounts
from storage.records import PolicyVersionId
from storage.slates import Criterion, Ranking, RankingState, Ranks

CRITERIA = Words(
    {
        Criterion.OVERALL: N_("Overall"),
        Criterion.RELEVANCE: N_("Relevance"),
        Criterion.INFORMATIVENESS: N_("Informativeness"),
        Criterion.HARMLESSNESS: N_("Harmlessness"),
        Criterion.HONESTY: N_("Honesty"),
    }
)
CRITERIA_ASK = Words(
    {
        Criterion.OVERALL: N_("Which answer is best, all in all?"),
        Criterion.RELEVANCE: N_("Which one is most about what was asked?"),
        Criterion.INFORMATIVENESS: N_("Which one says the most that helps?"),
        Criterion.HARMLESSNESS: N_("Which one is least likely to hurt anybody?"),
        Criterion.HONESTY: N_("Which one is truest, and says so where it does not know?"),
    }
)

INTRO = N_(
    "Write a message, let me answer it several times, and put the answers in order. "
    "One order of four answers compares six pairs at once."
)
NOTHING_YET = N_(
    "## No rankings yet\n\nWhat you put in order appears here; you can change it later."
)
HELP = N_("""
- Press the numbers of the answers, **best first**: `3` `1` `2`. Or press **Next best** under them.
- `=` ties the last one with the one before, `R` ties all that are left, `Backspace` takes one back.
- A row that has the focus moves with the up and down arrows: first into a tie, then past it. With a
  mouse you can drag it.
- `C` goes to the next criterion. Each one follows the overall order until you change it.
- `Enter` saves, `S` skips, `U` takes the last one back, `N` goes to the message box.
""")
DESK = Words(
    {
        "name": N_("Answer {place}"),
        "moves": N_("Answer {place}; arrow up and down move it"),
        "up": N_("Answer {place} up"),
        "down": N_("Answer {place} down"),
        "out": N_("Take answer {place} out of the order"),
        "first": N_("Best first: {places}."),
        "left": N_("Left: {places}."),
        "done": N_("All in order."),
    }
)
"""What rank.js says; it puts the values in itself."""


def stage_line(task: Task, draft: Draft) -> str:
    """What is being written."""
    if draft.stage is Stage.WAITING:
        return tr("Waiting for a reply to be finished…")
    missing = task.answers - len(task.known)
    if task.known:
        said = tr_n("Writing {n} more answer", "Writing {n} more answers", missing)
    else:
        said = tr_n("Writing {n} answer", "Writing {n} answers", missing)
    words = sum(len(text.split()) for text in draft.texts)
    if words:
        said += ", " + tr_n("{n} word so far", "{n} words so far", words)
    return f"{said}…"


def about_slate(view: DeskView) -> str:
    """What a person should know of the slate before putting it in order; may be empty."""
    parts = [view.notice] if view.notice else []
    if view.slate and len(view.slate.prompt) > 1:
        parts.append(
            tr_n(
                "It comes after {n} earlier message of its chat, which the answers know.",
                "It comes after {n} earlier messages of its chat, which the answers know.",
                len(view.slate.prompt) - 1,
            )
        )
    if view.held_out:
        parts.append(tr("This one only measures what was learned: it trains nothing."))
    if view.ranking and view.ranking.state is RankingState.WITHDRAWN:
        parts.append(tr("You took your order back. Save to give one again."))
    return " ".join(parts)


def saved_line(ranking: Ranking) -> str:
    match ranking.state:
        case RankingState.RANKED:
            return tr("Saved: {order}.", order=order_line(ranking))
        case RankingState.SKIPPED:
            return tr("Skipped.")
        case RankingState.WITHDRAWN:
            return tr("Taken back.")


def receipt(ranking: Ranking, *, held_out: bool) -> str:
    if ranking.orders is None:
        return tr("It teaches nothing.")
    if held_out:
        return tr(
            "One in ten only checks what I learned, and this is one: nothing is trained on it."
        )
    return tr_n(
        "It makes {n} pair, which my judges know from the next reply on.",
        "It makes {n} pairs, which my judges know from the next reply on.",
        len(ranking.pairs()),
    )


def order_line(ranking: Ranking) -> str:
    """The overall order in one line: 3, then 1 and 2, then 4."""
    if ranking.orders is None:
        return ""
    return tr(", then ").join(
        tr(" and ").join(map(str, group)) for group in groups_of(ranking.orders.overall)
    )


def groups_of(ranks: Ranks) -> list[list[int]]:
    """The places of the answers, from 1, best first, tied ones together."""
    return [
        [place for place, rank in enumerate(ranks, start=1) if rank == wanted]
        for wanted in sorted(set(ranks))
    ]


def label(ranking: Ranking, now: datetime) -> str:
    """Two lines of the list: what was asked, and what was said of the answers."""
    said = " ".join(ranking.slate.prompt[-1].content.split()) or tr("(no text)")
    start = said if len(said) <= 60 else f"{said[:59].rstrip()}…"
    marks = [tr_n("{n} answer", "{n} answers", len(ranking.slate.answers))]
    match ranking.state:
        case RankingState.RANKED:
            marks.append(order_line(ranking))
        case RankingState.SKIPPED:
            marks.append(tr("skipped"))
        case RankingState.WITHDRAWN:
            marks.append(tr("taken back"))
    if ranking.orders and ranking.orders.criteria:
        names = ", ".join(CRITERIA[one] for one in ranking.orders.criteria)
        marks.append(tr("own order on {names}", names=names))
    if ranking.slate.imported:
        marks.append(tr("out of a file"))
    return f"{start}\n{' · '.join([*marks, age(ranking.decided_at, now)])}"


def counts_line(counts: RankingCounts) -> str:
    if not counts.ranked:
        return ""
    return tr(
        "{rankings} of {answers}: {pairs} to learn from",
        rankings=tr_n("{n} ranking", "{n} rankings", counts.ranked),
        answers=tr("{n:,} answers", n=counts.answers),
        pairs=tr_n("{n:,} pair", "{n:,} pairs", counts.pairs),
    )


def missing_line(criterion: Criterion, places: Sequence[int]) -> str:
    """Said where an order leaves answers out."""
    names = tr(" and ").join(map(str, places))
    if criterion is Criterion.OVERALL:
        return tr_n(
            "Answer {names} is not in the order yet. R ties all that are left.",
            "Answers {names} are not in the order yet. R ties all that are left.",
            len(places),
            names=names,
        )
    return tr_n(
        "Answer {names} is not in the order on {criterion} yet. Rank the rest, or press "
        "“Same as overall”.",
        "Answers {names} are not in the order on {criterion} yet. Rank the rest, or press "
        "“Same as overall”.",
        len(places),
        names=names,
        criterion=CRITERIA[criterion],
    )


def forget_warning(versions: Sequence[PolicyVersionId]) -> str:
    if not versions:
        return tr("No version was made since. Nothing will ever be trained on this ranking.")
    return tr_n(
        "**{n} version came after it ({names}) and may have learned from it: never to speak "
        "again.** Its files are deleted. This cannot be undone.",
        "**{n} versions came after it ({names}) and may have learned from it: never to speak "
        "again.** Their files are deleted. This cannot be undone.",
        len(versions),
        names=", ".join(f"v{version}" for version in versions),
    )


def forgotten_line(done: Forgotten) -> str:
    if not done.versions:
        return tr("Forgotten: nothing is ever trained on it.")
    return tr("Forgotten. {version} speaks now.", version=upper_first(version_name(done.live)))


def delete_warning(versions: Sequence[PolicyVersionId]) -> str:
    """What deleting a message and its answers does, with and without what was learned."""
    line = tr("Your message and its answers are erased, and their order teaches nothing any more.")
    return with_lessons(line, versions)


def deleted_line(done: Forgotten) -> str:
    if not done.versions:
        return tr("Message and answers were deleted.")
    return tr(
        "Message and answers were deleted, with what {versions} learned; {now} speaks now.",
        versions=listed(done.versions),
        now=version_name(done.live),
    )
