"""From a queued job to a stored reply or question. Runs on the model thread only.

1. The version that is live now speaks, and the whole reply is written by it.
2. What is shown is stored before any page hears that it is done.
3. Then the candidates nobody saw are finished for the learner, unless somebody waits.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Event

from chat_app.language import N_, tr
from chat_app.reply_job import ReplyJob
from learner.errors import AdapterLoadError
from learner.protocols import ReplyMaker, ReplyPlan
from storage.conversations import ConversationLog
from storage.policy_registry import PolicyRegistry
from storage.records import BASE_VERSION, Choice, Message, PolicyVersion, PolicyVersionId

log = logging.getLogger(__name__)

SAID_THE_SAME = N_("Both versions say the same here, so there is nothing to choose.")
SAID_NOTHING = N_("The model ended its reply before the first word. Retry asks it for another one.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What became of a job."""

    stored: bool
    """False where it was stopped before its first word; the chat is then as it was."""
    notices: tuple[str, ...] = ()
    picked: tuple[str, Choice] | None = None
    """The question's token and the answer that was given while the pair was written."""


class ReplyWriter:
    def __init__(
        self, conversations: ConversationLog, policies: PolicyRegistry, replies: ReplyMaker
    ) -> None:
        self._conversations = conversations
        self._policies = policies
        self._replies = replies

    def write(self, job: ReplyJob, shown: Callable[[Written], None], hurry: Event) -> None:
        """Write the reply of ``job``; ``shown`` is called once it is stored and can be read."""
        prompt = self._conversations.messages(job.prompt_turn_id)
        plan, notices = (
            self._plan(job, prompt) if job.versions is None else self._comparison(job, prompt)
        )
        if plan.dropped_messages:
            notices = (*notices, _left_out(plan.dropped_messages))
        if _says_nothing(plan) and not (job.cancel.is_set() or job.suggests):
            notices = (*notices, tr(SAID_NOTHING))
        shown(replace(self._store(job, plan), notices=notices))
        others = () if job.suggests else plan.finish_others(hurry)
        if others:
            self._conversations.add_candidates(job.prompt_turn_id, others)

    def _plan(self, job: ReplyJob, prompt: Sequence[Message]) -> tuple[ReplyPlan, tuple[str, ...]]:
        """The reply by the live version, or by its nearest ancestor that can be loaded.

        What cannot be loaded may also be the live version's rival: then that one is put away.
        """
        notices: tuple[str, ...] = ()
        while True:
            version = self._policies.current()
            try:
                plan = self._written(job, prompt, version)
            except AdapterLoadError as error:
                broken = version.id if error.version is None else PolicyVersionId(error.version)
                if broken == BASE_VERSION or self._policies.nearest_servable(broken).id != broken:
                    raise  # the base, or put away already: another try would end here, too
                log.warning("Version %d cannot be loaded: %s", broken, error)
                self._policies.taint(broken, reason=f"could not be loaded: {error}")
                if broken == version.id:
                    notices = (*notices, _went_back(version.id, self._policies.current().id))
            else:
                return plan, notices

    def _written(
        self, job: ReplyJob, prompt: Sequence[Message], version: PolicyVersion
    ) -> ReplyPlan:
        if job.begun:
            return self._replies.go_on(prompt, job.begun, version, job.seed, job.emit, job.cancel)
        return self._replies.reply(
            prompt,
            version,
            job.seed,
            job.emit,
            job.cancel,
            may_ask=job.may_ask,
            early=job.early,
            rival=self._rival(version, job.seed),
        )

    def _rival(self, version: PolicyVersion, seed: int) -> PolicyVersion | None:
        """Whom a shadow duel is against: the version before the live one or the base, by turns.

        The version before it is the nearest that may still speak.
        """
        if version.parent is None:
            return None
        return self._policies.nearest_servable(version.parent if seed % 2 else BASE_VERSION)

    def _comparison(
        self, job: ReplyJob, prompt: Sequence[Message]
    ) -> tuple[ReplyPlan, tuple[str, ...]]:
        """A reply by each of the two versions; where they say the same, one and a word about it."""
        assert job.versions is not None  # noqa: S101 - the caller looked
        one, other = (self._policies.get(version) for version in job.versions)
        plan = self._replies.compare(
            prompt, (one, other), job.seed, job.emit, job.cancel, early=job.early
        )
        different = len({reply.text.strip() for reply in plan.shown}) == len(plan.shown)
        if different or plan.picked is not None:
            return plan, ()
        newer = max(plan.shown, key=lambda reply: reply.policy_version)
        return replace(plan, shown=(newer,), question=None), (tr(SAID_THE_SAME),)

    def _store(self, job: ReplyJob, plan: ReplyPlan) -> Written:
        if plan.question is not None:
            first, second = plan.shown
            asked = self._conversations.ask(job.prompt_turn_id, first, second, plan.question)
            picked = None if plan.picked is None else (asked.token, plan.picked)
            return Written(stored=True, picked=picked)
        (reply,) = plan.shown
        if job.cancel.is_set() and reply.text.strip() == job.begun.strip():
            return Written(stored=False)
        if job.suggests:
            self._conversations.add_candidates(job.prompt_turn_id, [reply])
        else:
            self._conversations.reply(job.prompt_turn_id, reply)
        return Written(stored=True)


def _says_nothing(plan: ReplyPlan) -> bool:
    return not any(reply.text.strip() for reply in plan.shown)


def _left_out(messages: int) -> str:
    if messages == 1:
        return tr("The oldest message no longer fits into the model's memory and was left out.")
    return tr(
        "The {messages} oldest messages no longer fit into the model's memory and were left out.",
        messages=messages,
    )


def _went_back(broken: PolicyVersionId, to: PolicyVersionId) -> str:
    now = tr("the untrained model") if to == BASE_VERSION else tr("version {version}", version=to)
    return tr(
        "Version {broken} could not be loaded, so {now} speaks again. No choice of yours is lost.",
        broken=broken,
        now=now,
    )
