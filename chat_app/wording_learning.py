"""Sentences of the Learning tab."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from chat_app.language import N_, Words, tr, tr_n
from chat_app.learning_service import LearningFigures, Share
from chat_app.views import Status
from chat_app.wording import age, learner_name, lesson_line
from storage.records import BASE_VERSION

NO_LESSON = N_(
    "## No lesson yet\n\nPick between two replies a few times and the first lesson "
    "starts by itself. Its result will be plotted here."
)
NO_TASTE = N_("Nothing yet: it starts out without an opinion and learns one from your choices.")
FEW = 10
"""Below so many choices a share says nothing."""
STRONG, CLEAR, SLIGHT = 0.6, 0.3, 0.1
"""Logits per typical difference from which a taste is called that."""
TRAITS = Words(
    {
        "longer": N_("longer"),
        "more list items": N_("more list items"),
        "more paragraphs": N_("more paragraphs"),
        "more questions": N_("more questions"),
        "more exclamation marks": N_("more exclamation marks"),
        "more repetition": N_("more repetition"),
        "more words of the question": N_("more words of the question"),
        "refuses": N_("refuses"),
        "comes to an end": N_("comes to an end"),
        "longer words": N_("longer words"),
        "more polite phrases": N_("more polite phrases"),
        "more hedging": N_("more hedging"),
        "more contractions": N_("more contractions (it's, don't)"),
    }
)
"""What the judges look at beside the text's meaning (``learner.reward.style``)."""
LIKINGS = Words(
    {
        "longer": N_("longer replies"),
        "refuses": N_("replies that refuse"),
        "comes to an end": N_("replies that come to an end"),
    }
)
"""A trait as something that is preferred, where its name alone does not say it."""
OPPOSITES = Words(
    {
        "longer": N_("shorter replies"),
        "more list items": N_("fewer list items"),
        "more paragraphs": N_("fewer paragraphs"),
        "more questions": N_("fewer questions"),
        "more exclamation marks": N_("fewer exclamation marks"),
        "more repetition": N_("less repetition"),
        "more words of the question": N_("fewer words of the question"),
        "refuses": N_("no refusals"),
        "comes to an end": N_("replies that may be cut off"),
        "longer words": N_("shorter words"),
        "more polite phrases": N_("fewer polite phrases"),
        "more hedging": N_("less hedging"),
        "more contractions": N_("fewer contractions (it is, do not)"),
    }
)


def facts(status: Status, learned: int, now: datetime) -> list[tuple[str, str, str]]:
    """Name, value and a small line of each fact."""
    share = status.asked_share
    return [
        (tr("Choices"), str(status.picks), tr("{learned} learned from", learned=learned)),
        (tr("Waiting"), str(status.waiting), lesson_line(status)),
        (
            tr("Live"),
            f"v{status.live}",
            tr("the untrained model")
            if status.live == BASE_VERSION
            else tr("made {when}", when=age(status.live_created_at, now)),
        ),
        (
            tr("Questions"),
            tr("none yet") if share is None else f"{round(100 * share)} %",
            tr_n(
                "{asked} in {n} reply", "{asked} in {n} replies", status.replies, asked=status.asked
            ),
        ),
        (tr("Learner"), learner_name(status), status.learner.detail if status.learner else ""),
    ]


def taste_lines(weights: Mapping[str, float]) -> list[str]:
    """What was learned of the person's taste, strongest first, in words."""
    known = sorted(weights.items(), key=lambda item: -abs(item[1]))
    return [_taste(name, weight) for name, weight in known if abs(weight) >= SLIGHT]


def _taste(name: str, weight: float) -> str:
    words = LIKINGS if weight > 0 else OPPOSITES
    liking = words.get(name) or trait(name)
    size = abs(weight)
    if size >= STRONG:
        return tr("You strongly prefer {liking}", liking=liking)
    if size >= CLEAR:
        return tr("You prefer {liking}", liking=liking)
    return tr("You slightly prefer {liking}", liking=liking)


def trait(name: str) -> str:
    """What the judges call it, in the language of the page."""
    return TRAITS.get(name, name)


def position_check(share: Share) -> str:
    """Whether the place on the page decides, told from an interval."""
    if share.n < FEW:
        return tr_n(
            "Position: {n} choice so far; a check needs {few}.",
            "Position: {n} choices so far; a check needs {few}.",
            share.n,
            few=FEW,
        )
    low, high = share.interval
    said = tr("You chose Reply 1 in {of}", of=_of(share))
    if low <= 0.5 <= high:
        return tr("{said}: no sign that the position decides.", said=said)
    if share.value > 0.5:
        return tr(
            "{said}: the first reply has an edge. The judges take that into account.", said=said
        )
    return tr("{said}: the second reply has an edge. The judges take that into account.", said=said)


def length_check(share: Share) -> str:
    """Whether length decides, told from an interval."""
    if share.n < FEW:
        return tr_n(
            "Length: {n} choice so far; a check needs {few}.",
            "Length: {n} choices so far; a check needs {few}.",
            share.n,
            few=FEW,
        )
    low, high = share.interval
    said = tr("You chose the longer reply in {of}", of=_of(share))
    if low <= 0.5 <= high:
        return tr("{said}: length alone does not decide.", said=said)
    if share.value > 0.5:
        return tr("{said}: you lean to longer replies.", said=said)
    return tr("{said}: you lean to shorter replies.", said=said)


def held_out_line(share: Share) -> str:
    if share.n < FEW:
        return tr(
            "On choices that never train: {hits} of {n} foreseen; too few to say more.",
            hits=share.hits,
            n=share.n,
        )
    return tr("On choices that never train, the judges foresaw {of}.", of=_of(share))


def _of(share: Share) -> str:
    low, high = share.interval
    return tr(
        "{hits} of {n} ({share} %, likely {low} to {high} %)",
        hits=share.hits,
        n=share.n,
        share=round(100 * share.value),
        low=round(100 * low),
        high=round(100 * high),
    )


def checks(figures: LearningFigures) -> Sequence[str]:
    return (
        position_check(figures.first_shown),
        length_check(figures.longer),
        held_out_line(figures.held_out),
    )
