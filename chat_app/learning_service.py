"""LearningService: how learning goes, in figures; pausing it, and wishing for a lesson now.

No Gradio, SQL or tensors; any thread may call it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

from chat_app.errors import ChatError, sentences
from chat_app.interval import wilson
from chat_app.language import tr, tr_told
from chat_app.views import RoundView
from learner.control import LearnerControl
from learner.errors import LearnerError
from storage.duels import Duel, DuelReader, between
from storage.policies import PolicyReader
from storage.records import PolicyVersionId, RoundReport
from storage.trends import Forecast, ReplyEvent, TrendReader

RECENT = 1000
"""So many of the newest choices and replies are drawn; older ones only count."""
WINDOW = 20
"""One point of a share looks back on so many."""
FROM = 5
"""No point before so many: it would be luck."""
BINS = 5
"""Of the judges' forecasts, for their calibration."""
LESSONS = 200
"""Newest lessons on show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """``hits`` of ``n`` with Wilson's 95 % interval."""

    hits: int
    n: int

    @property
    def value(self) -> float:
        return self.hits / self.n if self.n else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.hits, self.n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    x: int
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Choices that the judges had forecast alike."""

    forecast: float
    """Mean chance they gave to the reply they thought better, 0.5 to 1."""
    right: Share


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningFigures:
    lessons: tuple[RoundView, ...]
    """The newest, oldest first."""
    learned: int
    """Choices that the live version has learned from."""
    foreseen: tuple[Point, ...]
    """By choices: the share of the newest ``WINDOW`` that the judges had foreseen."""
    held_out: Share
    """Foreseen among choices that never train."""
    calibration: tuple[Bin, ...]
    asked: tuple[Point, ...]
    """By replies: the share of the newest ``WINDOW`` that came with a question."""
    disagreement: tuple[Point, ...]
    """By questions: the mean of the newest ``WINDOW``."""
    duels: tuple[tuple[PolicyVersionId, Duel], ...]
    """Each version of the live line that was compared with its parent."""
    first_shown: Share
    """Choices of Reply 1 among those with a winner."""
    longer: Share
    """Choices of the longer reply among those where one was."""
    taste: Mapping[str, float]
    """Mean weight of each style feature, in logits; empty before anything is known."""


class LearningService:
    def __init__(
        self,
        *,
        trends: TrendReader,
        duels: DuelReader,
        policies: PolicyReader,
        taste: Callable[[], Mapping[str, float]],
        control: LearnerControl | None,
        revive: Callable[[], None] = lambda: None,
    ) -> None:
        """``control`` None: no learner runs beside this chat. ``revive`` starts a dead one."""
        self._trends = trends
        self._duels = duels
        self._policies = policies
        self._taste = taste
        self._control = control
        self._revive = revive

    def figures(self) -> LearningFigures:
        with sentences():
            forecasts = self._trends.forecasts(RECENT)
            replies = self._trends.replies(RECENT)
            return LearningFigures(
                lessons=tuple(round_view(one) for one in self._policies.rounds_log(limit=LESSONS)),
                learned=self._policies.learned(),
                foreseen=tuple(_shares([one.foreseen for one in forecasts])),
                held_out=_share(one.foreseen for one in forecasts if one.held_out),
                calibration=tuple(_calibration(forecasts)),
                asked=tuple(_shares([one.asked for one in replies])),
                disagreement=tuple(_means(replies)),
                duels=tuple(_line_duels(self._policies.lineage(), self._duels.all())),
                first_shown=_share(one.first_won for one in forecasts),
                longer=_share(one.longer_won for one in forecasts if one.longer_won is not None),
                taste=self._taste(),
            )

    # --- Control -----------------------------------------------------------------------------

    @property
    def controllable(self) -> bool:
        return self._control is not None

    @property
    def paused(self) -> str | None:
        """Why no lesson may start, as a sentence; None while they may."""
        return None if self._control is None else self._control.paused

    @property
    def lesson_wanted(self) -> bool:
        return self._control is not None and self._control.wanted

    def pause(self) -> None:
        """Let no further lesson start; one that runs is finished. Outlives a restart."""
        with _told():
            self._learner().pause()

    def resume(self) -> None:
        with _told():
            self._learner().resume()
        self._revive()

    def learn_now(self) -> None:
        """Have a lesson from whatever new choices there are."""
        if self.paused:
            raise ChatError(tr("Learning is paused: resume it first."))
        with _told():
            self._learner().ask_for_a_lesson()
        self._revive()

    def _learner(self) -> LearnerControl:
        if self._control is None:
            raise ChatError(
                tr("Learning is off here: start twofold without --learn off or --demo.")
            )
        return self._control


@contextmanager
def _told() -> Iterator[None]:
    """What cannot be noted for the learner is told to the person."""
    try:
        yield
    except LearnerError as error:
        raise ChatError(tr_told(str(error))) from error


def round_view(report: RoundReport) -> RoundView:
    return RoundView(
        number=report.number,
        status=report.status,
        reason=report.reason,
        picks=len(report.preference_ids),
        seconds=report.seconds,
        kl_per_token=report.metrics.get("kl_per_token"),
        mean_length_tokens=report.metrics.get("mean_length_tokens"),
    )


def _share(outcomes: Iterator[bool | None]) -> Share:
    known = [bool(outcome) for outcome in outcomes]
    return Share(hits=sum(known), n=len(known))


def _shares(outcomes: Sequence[bool]) -> Iterator[Point]:
    """The share of hits in a sliding window, with its interval."""
    for end in range(FROM, len(outcomes) + 1):
        window = outcomes[max(0, end - WINDOW) : end]
        low, high = wilson(sum(window), len(window))
        yield Point(x=end, y=sum(window) / len(window), low=low, high=high)


def _means(replies: Sequence[ReplyEvent]) -> Iterator[Point]:
    known = [one.disagreement for one in replies if one.disagreement is not None]
    for end in range(1, len(known) + 1):
        window = known[max(0, end - WINDOW) : end]
        yield Point(x=end, y=sum(window) / len(window))


def _calibration(forecasts: Sequence[Forecast]) -> Iterator[Bin]:
    """Forecasts in bins of equal width between one half and certainty; empty bins are left out."""
    sure = [(max(one.first_better_prob, 1 - one.first_better_prob), one) for one in forecasts]
    for step in range(BINS):
        low, high = 0.5 + 0.5 * step / BINS, 0.5 + 0.5 * (step + 1) / BINS
        inside = [(p, one) for p, one in sure if low <= p < high or (p == high == 1.0)]
        if inside:
            yield Bin(
                forecast=sum(p for p, _ in inside) / len(inside),
                right=_share(one.foreseen for _, one in inside),
            )


def _line_duels(
    line: Sequence[PolicyVersionId], duels: Sequence[Duel]
) -> Iterator[tuple[PolicyVersionId, Duel]]:
    for child, parent in pairwise(line):
        duel = between(duels, child, parent)
        if duel is not None and duel.decided:
            yield child, duel
