"""The loop in numbers: what the status line and the Learning page say."""

from collections import deque
from collections.abc import Iterator, Sequence

from chat_app.config import ServiceConfig
from chat_app.progress import LearnerStatus
from chat_app.views import AskedPoint, ForeseenPoint, LearningReport, RoundView, Status, VersionView
from storage.feedback import FeedbackLog
from storage.policies import PolicyRegistry
from storage.records import RoundReport

FORESEEN_WINDOW = 20
"""Picks that one point of the foreseen share looks back on."""
FORESEEN_FROM = 5
"""No point before this many picks: it would be luck."""
FORESEEN_PICKS = 500
"""The newest picks that the chart goes over."""
CONVERSATIONS = 200
"""The newest conversations that the share of questions is counted over."""
ROUNDS = 200
"""The newest lessons in the table and the charts, and versions to go back to."""


def status_now(
    feedback: FeedbackLog,
    policies: PolicyRegistry,
    config: ServiceConfig,
    learner: LearnerStatus | None,
) -> Status:
    counts = feedback.counts()
    live = policies.current()
    attempted = policies.attempted_through()  # a refused lesson waits for new picks, too
    fresh = feedback.unlearned_after(attempted)
    return Status(
        model_name=config.model_name,
        live=live.id,
        live_created_at=live.created_at,
        picks=counts.decided,
        waiting=counts.waiting,
        missing=max(config.min_preferences - fresh, 0),
        replies=counts.replies,
        asked=counts.asked,
        learner=learner,
    )


def learning_report(feedback: FeedbackLog, policies: PolicyRegistry) -> LearningReport:
    live = policies.current().id
    versions = policies.versions(limit=ROUNDS)
    servable = policies.servable_among(version.id for version in versions)
    return LearningReport(
        learned=policies.learned(),
        rounds=tuple(_round_view(report) for report in policies.rounds_log(limit=ROUNDS)),
        versions=tuple(
            VersionView(
                id=version.id,
                parent=version.parent,
                created_at=version.created_at,
                live=version.id == live,
                servable=version.id in servable,
            )
            for version in reversed(versions)
        ),
        asked=tuple(_asked_points(feedback.asked(conversations=CONVERSATIONS))),
        foreseen=tuple(_foreseen_points(feedback)),
    )


def _round_view(report: RoundReport) -> RoundView:
    return RoundView(
        number=report.number,
        status=report.status,
        reason=report.reason,
        picks=len(report.preference_ids),
        seconds=report.seconds,
        kl_per_token=report.metrics.get("kl_per_token"),
        mean_length_tokens=report.metrics.get("mean_length_tokens"),
    )


def _asked_points(asked: Sequence[bool]) -> Iterator[AskedPoint]:
    questions = 0
    for replies, was_asked in enumerate(asked, start=1):
        questions += was_asked
        yield AskedPoint(replies=replies, asked_share=questions / replies)


def _foreseen_points(feedback: FeedbackLog) -> Iterator[ForeseenPoint]:
    """How often the judges' guess, made before the person chose, was the person's pick."""
    outcomes = feedback.foreseen(limit=FORESEEN_PICKS)
    before = 0 if len(outcomes) < FORESEEN_PICKS else feedback.counts().decided - FORESEEN_PICKS
    newest: deque[bool] = deque(maxlen=FORESEEN_WINDOW)
    for picks, foreseen in enumerate(outcomes, start=1):
        newest.append(foreseen)
        if picks >= FORESEEN_FROM:
            share = sum(newest) / len(newest)
            yield ForeseenPoint(picks=max(before, 0) + picks, foreseen_share=share)
