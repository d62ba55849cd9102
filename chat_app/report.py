"""The loop in a few numbers: what the status line says."""

from chat_app.config import ServiceConfig
from chat_app.progress import LearnerStatus
from chat_app.views import Status
from storage.feedback import FeedbackLog
from storage.policy_registry import PolicyRegistry


def status_now(
    feedback: FeedbackLog,
    policies: PolicyRegistry,
    config: ServiceConfig,
    learner: LearnerStatus | None,
) -> Status:
    counts = feedback.counts()
    live = policies.current()
    attempted = policies.attempted_through()  # a refused lesson waits for new picks, too
    due = feedback.due(attempted)
    return Status(
        model_name=config.model_name,
        live=live.id,
        live_created_at=live.created_at,
        picks=counts.decided,
        waiting=counts.waiting,
        missing=max(config.min_preferences - due, 0),
        replies=counts.replies,
        asked=counts.asked,
        learner=learner,
    )
