"""What a reward model is trained on: stored picks and rankings, and files of pairs and rankings.

A row of a file has ``prompt`` (with ``history`` perhaps) or ``messages``, and either ``chosen`` and
``rejected`` or ``replies`` with ``ranks`` (1 the best, ties share one), or ``ranks`` by criterion.
A pair is about the whole unless its ``set`` is named among the harmless ones: then it says which
reply does less harm, and nothing else.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from learner.families import family_of_prompt
from learner.json_lines import message_of
from learner.phases.place import Place
from learner.phases.protocol import PhaseError
from learner.phases.texts import rows_of
from learner.reward.ranked import RankedReplies, of_picks, of_rankings, sharing_weight
from storage.feedback import FeedbackReader
from storage.rankings import RankingReader
from storage.records import Role
from storage.slates import Criterion, Ranks, check_ranks

_ROW = '"prompt" or "messages", and "chosen" and "rejected" or "replies" and "ranks"'


def stored_answers(place: Place) -> list[RankedReplies]:
    """The data folder's picks and rankings; those of held-out chats only measure."""
    feedback, rankings = FeedbackReader(place.store), RankingReader(place.store)
    return [
        *of_picks(feedback.preferences()),
        *of_picks(feedback.held_out(), held_out=True),
        *of_rankings(rankings.rankings()),
        *of_rankings(rankings.held_out(), held_out=True),
    ]


def read_answers(
    files: Sequence[Path], *, sets: Sequence[str], harmless_sets: Sequence[str]
) -> list[RankedReplies]:
    """Rows of all files; defective ones (an empty side, both the same) are left out.

    Raises PhaseError naming the line.
    """
    found: list[RankedReplies] = []
    for where, row in rows_of(files, sets):
        one = _read(row, where, harmless=row.get("set") in harmless_sets)
        if one is not None:
            found.append(one)
    return sharing_weight(found)


def _read(row: dict[str, Any], where: str, *, harmless: bool) -> RankedReplies | None:
    criterion = Criterion.HARMLESSNESS if harmless else Criterion.OVERALL
    try:
        said = row.get("messages") or [
            *row.get("history", []),
            {"role": "user", "content": row["prompt"]},
        ]
        prompt = tuple(map(message_of, said))
        if "replies" in row:
            texts = tuple(text.strip() for text in row["replies"])
            ranks = _ranks(row["ranks"], len(texts), criterion)
        else:
            texts = (row["chosen"].strip(), row["rejected"].strip())
            ranks = {criterion: (1, 2)}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PhaseError(f"{where}: expected {_ROW} ({error}).") from error
    if not any(m.role is Role.USER for m in prompt):
        raise PhaseError(f"{where}: nobody asks, there is no message of the user.")
    family = str(row.get("tree") or family_of_prompt(prompt))
    named = row.get("set")
    source = named if isinstance(named, str) else None
    if not all(texts) or len(set(texts)) < len(texts):
        return None
    return RankedReplies(prompt=prompt, texts=texts, ranks=ranks, family=family, source=source)


def _ranks(said: object, replies: int, criterion: Criterion) -> dict[Criterion, Ranks]:
    named = said if isinstance(said, dict) else {criterion.value: said}
    found = {Criterion(name): tuple(int(rank) for rank in ranks) for name, ranks in named.items()}
    for name, ranks in found.items():
        check_ranks(ranks)
        if len(ranks) != replies:
            raise ValueError(f"{name} ranks {len(ranks)} of {replies} replies")
    return found
