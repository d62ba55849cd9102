"""Sentences of the Rank tab."""

from collections.abc import Sequence
from datetime import datetime

from chat_app.ranking import DeskView, Task
from chat_app.wording import age, count_of, version_name
from learner.protocols import Draft, Stage
from storage.forgetting import Forgotten
from storage.rankings import RankingCounts
from storage.records import PolicyVersionId
from storage.slates import Criterion, Ranking, RankingState, Ranks

CRITERIA = {
    Criterion.OVERALL: ("Overall", "Which answer is best, all in all?"),
    Criterion.RELEVANCE: ("Relevance", "Which one is most about what was asked?"),
    Criterion.INFORMATIVENESS: ("Informativeness", "Which one says the most that helps?"),
    Criterion.HARMLESSNESS: ("Harmlessness", "Which one is least likely to hurt anybody?"),
    Criterion.HONESTY: ("Honesty", "Which one is truest, and says so where it does not know?"),
}

INTRO = (
    "Write a message, let me answer it several times, and put the answers in order. "
    "One order of four answers says as much as six choices between two."
)
NOTHING_YET = "## No rankings yet\n\nWhat you put in order appears here; you can change it later."
HELP = """
- Press the numbers of the answers, **best first**: `3` `1` `2`. Or press **Next best** under them.
- `=` ties the last one with the one before, `R` ties all that are left, `Backspace` takes one back.
- A row that has the focus moves with the up and down arrows: first into a tie, then past it. With a
  mouse you can drag it.
- `C` goes to the next criterion. Each one follows the overall order until you change it.
- `Enter` saves, `S` skips, `U` takes the last one back, `N` goes to the message box.
"""


def stage_line(task: Task, draft: Draft) -> str:
    """What is being written."""
    if draft.stage is Stage.WAITING:
        return "Waiting for a reply to be finished…"
    words = sum(len(text.split()) for text in draft.texts)
    missing = task.answers - len(task.known)
    more = "more " if task.known else ""
    said = f", {count_of(words, 'word')} so far" if words else ""
    return f"Writing {count_of(missing, f'{more}answer')}{said}…"


def about_slate(view: DeskView) -> str:
    """What a person should know of the slate before putting it in order; may be empty."""
    parts = [view.notice] if view.notice else []
    if view.slate and len(view.slate.prompt) > 1:
        earlier = count_of(len(view.slate.prompt) - 1, "earlier message")
        parts.append(f"It comes after {earlier} of its chat, which the answers know.")
    if view.held_out:
        parts.append("This one only measures what was learned: it trains nothing.")
    if view.ranking and view.ranking.state is RankingState.WITHDRAWN:
        parts.append("You took your order back. Save to give one again.")
    return " ".join(parts)


def saved_line(ranking: Ranking) -> str:
    match ranking.state:
        case RankingState.RANKED:
            return f"Saved: {order_line(ranking)}."
        case RankingState.SKIPPED:
            return "Skipped."
        case RankingState.WITHDRAWN:
            return "Taken back."


def receipt(ranking: Ranking, *, held_out: bool) -> str:
    if ranking.orders is None:
        return "It teaches nothing."
    if held_out:
        return "One in ten only checks what I learned, and this is one: nothing is trained on it."
    pairs = count_of(len(ranking.pairs()), "pair")
    return f"It makes {pairs}, which my judges know from the next reply on."


def order_line(ranking: Ranking) -> str:
    """The overall order in one line: 3, then 1 and 2, then 4."""
    if ranking.orders is None:
        return ""
    return ", then ".join(
        " and ".join(map(str, group)) for group in groups_of(ranking.orders.overall)
    )


def groups_of(ranks: Ranks) -> list[list[int]]:
    """The places of the answers, from 1, best first, tied ones together."""
    return [
        [place for place, rank in enumerate(ranks, start=1) if rank == wanted]
        for wanted in sorted(set(ranks))
    ]


def label(ranking: Ranking, now: datetime) -> str:
    """Two lines of the list: what was asked, and what was said of the answers."""
    said = " ".join(ranking.slate.prompt[-1].content.split()) or "(no text)"
    start = said if len(said) <= 60 else f"{said[:59].rstrip()}…"
    marks = [count_of(len(ranking.slate.answers), "answer")]
    match ranking.state:
        case RankingState.RANKED:
            marks.append(order_line(ranking))
        case RankingState.SKIPPED:
            marks.append("skipped")
        case RankingState.WITHDRAWN:
            marks.append("taken back")
    if ranking.orders and ranking.orders.criteria:
        names = [CRITERIA[one][0].lower() for one in ranking.orders.criteria]
        marks.append(f"own order on {', '.join(names)}")
    if ranking.slate.imported:
        marks.append("out of a file")
    return f"{start}\n{' · '.join([*marks, age(ranking.decided_at, now)])}"


def counts_line(counts: RankingCounts) -> str:
    if not counts.ranked:
        return ""
    ranked = count_of(counts.ranked, "ranking")
    return f"{ranked} of {counts.answers:,} answers: {count_of(counts.pairs, 'pair')} to learn from"


def missing_line(criterion: Criterion, places: Sequence[int]) -> str:
    """Said where an order leaves answers out."""
    names = " and ".join(map(str, places))
    answers = f"Answer {names} is" if len(places) == 1 else f"Answers {names} are"
    if criterion is Criterion.OVERALL:
        return f"{answers} not in the order yet. R ties all that are left."
    return (
        f"{answers} not in the order on {criterion.value} yet. Rank the rest, or press "
        "“Same as overall”."
    )


def forget_warning(versions: Sequence[PolicyVersionId]) -> str:
    if not versions:
        return "No version was made since. Nothing will ever be trained on this ranking."
    names = ", ".join(f"v{version}" for version in versions)
    return (
        f"**{count_of(len(versions), 'version').capitalize()} came after it ({names}) and may have "
        "learned from it: never to speak again.** Their files are deleted. This cannot be undone."
    )


def forgotten_line(done: Forgotten) -> str:
    if not done.versions:
        return "Forgotten: nothing is ever trained on it."
    return f"Forgotten. {version_name(done.live).capitalize()} speaks now."
