"""Sentences of the Learning tab."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from chat_app.learning_service import LearningFigures, Share
from chat_app.views import Status
from chat_app.wording import age, count_of, learner_name, lesson_line
from storage.records import BASE_VERSION

NO_LESSON = (
    "### No lesson yet\n\nPick between two replies a few times and the first lesson starts by "
    "itself. Its result will be plotted here."
)
NO_TASTE = "Nothing yet: it starts out without an opinion and learns one from your choices."
FEW = 10
"""Below so many choices a share says nothing."""
STRONG, CLEAR, SLIGHT = 0.6, 0.3, 0.1
"""Logits per typical difference from which a taste is called that."""
OPPOSITES = {
    "longer": "shorter replies",
    "refuses": "no refusals",
    "comes to an end": "replies that may be cut off",
    "longer words": "shorter words",
}
LIKINGS = {
    "longer": "longer replies",
    "refuses": "replies that refuse",
    "comes to an end": "replies that come to an end",
}


def facts(status: Status, learned: int, now: datetime) -> list[tuple[str, str, str]]:
    """Name, value and a small line of each fact."""
    share = status.asked_share
    return [
        ("Choices", str(status.picks), f"{learned} learned from"),
        ("Waiting", str(status.waiting), lesson_line(status)),
        (
            "Live",
            f"v{status.live}",
            "the untrained model"
            if status.live == BASE_VERSION
            else f"made {age(status.live_created_at, now)}",
        ),
        (
            "Questions",
            "none yet" if share is None else f"{round(100 * share)} %",
            f"{status.asked} in {count_of(status.replies, 'reply', 'replies')}",
        ),
        ("Learner", learner_name(status), status.learner.detail if status.learner else ""),
    ]


def taste_lines(weights: Mapping[str, float]) -> list[str]:
    """What was learned of the person's taste, strongest first, in words."""
    known = sorted(weights.items(), key=lambda item: -abs(item[1]))
    return [f"{_strength(weight)} {_liking(name, weight)}" for name, weight in known if _is(weight)]


def _is(weight: float) -> bool:
    return abs(weight) >= SLIGHT


def _strength(weight: float) -> str:
    size = abs(weight)
    if size >= STRONG:
        return "You strongly prefer"
    return "You prefer" if size >= CLEAR else "You slightly prefer"


def _liking(name: str, weight: float) -> str:
    if weight > 0:
        return LIKINGS.get(name, name)
    return OPPOSITES.get(name, name.replace("more ", "fewer ", 1) if "more " in name else name)


def position_check(share: Share) -> str:
    """Whether the place on the page decides, told from an interval."""
    if share.n < FEW:
        return f"Position: {count_of(share.n, 'choice')} so far; a check needs {FEW}."
    low, high = share.interval
    said = f"You chose Reply 1 in {_of(share)}"
    if low <= 0.5 <= high:
        return f"{said}: no sign that the position decides."
    where = "first" if share.value > 0.5 else "second"
    return f"{said}: the {where} reply has an edge. The judges take that into account."


def length_check(share: Share) -> str:
    """Whether length decides, told from an interval."""
    if share.n < FEW:
        return f"Length: {count_of(share.n, 'choice')} so far; a check needs {FEW}."
    low, high = share.interval
    said = f"You chose the longer reply in {_of(share)}"
    if low <= 0.5 <= high:
        return f"{said}: length alone does not decide."
    which = "longer" if share.value > 0.5 else "shorter"
    return f"{said}: you lean to {which} replies."


def held_out_line(share: Share) -> str:
    if share.n < FEW:
        return (
            f"On choices that never train: {share.hits} of {share.n} foreseen; too few to say more."
        )
    return f"On choices that never train, the judges foresaw {_of(share)}."


def _of(share: Share) -> str:
    low, high = share.interval
    return (
        f"{share.hits} of {share.n} ({round(100 * share.value)} %, likely {round(100 * low)} to "
        f"{round(100 * high)} %)"
    )


def checks(figures: LearningFigures) -> Sequence[str]:
    return (
        position_check(figures.first_shown),
        length_check(figures.longer),
        held_out_line(figures.held_out),
    )
