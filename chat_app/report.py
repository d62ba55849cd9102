"""The loop in numbers: what the status line and the Learning page say."""

from collections import deque
from collections.abc import Iterable, Iterator

from chat_app.config import ServiceConfig
from chat_app.progress import LearnerStatus
from chat_app.views import AskedPoint, ForeseenPoint, LearningReport, RoundView, Status, VersionView
from storage.conversations import ConversationLog
from storage.feedback import FeedbackLog
from storage.policies import PolicyRegistry
from storage.records import Choice, Preference, Role, RoundReport

FORESEEN_WINDOW = 20
"""Picks that one point of the foreseen share looks back on."""
FORESEEN_FROM = 5
"""No point before this many picks: it would be luck."""


def status_now(
    feedback: FeedbackLog,
    policies: PolicyRegistry,
    config: ServiceConfig,
    learner: LearnerStatus | None,
) -> Status:
    counts = feedback.counts()
    live = policies.current()
    attempted = policies.attempted_through()  # a refused lesson waits for new picks, too
    fresh = sum(pick.id > attempted for pick in feedback.unlearned())
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


def learning_report(
    conversations: ConversationLog, feedback: FeedbackLog, policies: PolicyRegistry
) -> LearningReport:
    live = policies.current().id
    servable = policies.servable()
    answers = sorted((*feedback.preferences(), *feedback.held_out()), key=lambda one: one.id)
    rounds = policies.rounds_log()
    lineage = policies.lineage()
    return LearningReport(
        learned=len(
            {pick for one in rounds if one.version in lineage for pick in one.preference_ids}
        ),
        rounds=tuple(_round_view(report) for report in rounds),
        versions=tuple(
            VersionView(
                id=version.id,
                parent=version.parent,
                created_at=version.created_at,
                live=version.id == live,
                servable=version.id in servable,
            )
            for version in reversed(policies.versions())
        ),
        asked=tuple(_asked_points(_asked(conversations, answers))),
        foreseen=tuple(_foreseen_points(answers)),
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


def _asked(conversations: ConversationLog, answers: Iterable[Preference]) -> list[bool]:
    """For every reply on show, oldest first, whether it came out of a question."""
    pairs = ((answer.comparison.first, answer.comparison.second) for answer in answers)
    asked = {candidate.id for pair in pairs for candidate in pair}
    replies = [
        turn
        for conversation in conversations.list()
        for turn in conversations.path(conversation.id)
        if turn.message.role is Role.ASSISTANT
    ]
    return [turn.candidate_id in asked for turn in sorted(replies, key=lambda turn: turn.id)]


def _asked_points(asked: Iterable[bool]) -> Iterator[AskedPoint]:
    questions = 0
    for replies, was_asked in enumerate(asked, start=1):
        questions += was_asked
        yield AskedPoint(replies=replies, asked_share=questions / replies)


def _foreseen_points(answers: Iterable[Preference]) -> Iterator[ForeseenPoint]:
    """How often the judges' guess, made before the person chose, was the person's pick."""
    newest: deque[bool] = deque(maxlen=FORESEEN_WINDOW)
    decided = (answer for answer in answers if answer.chosen is not None)
    for picks, answer in enumerate(decided, start=1):
        guessed_first = answer.comparison.question.first_better_prob > 0.5
        newest.append(guessed_first == (answer.choice is Choice.FIRST))
        if picks >= FORESEEN_FROM:
            yield ForeseenPoint(picks=picks, foreseen_share=sum(newest) / len(newest))
