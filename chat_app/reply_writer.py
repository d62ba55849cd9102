"""From a queued job to a stored reply or question. Runs on the model thread only.

1. The version that is live now speaks, and the whole reply is written by it.
2. What is shown is stored before any page hears that it is done.
3. Then the candidates nobody saw are finished for the learner, unless somebody waits.
"""

import logging
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from threading import Event

from chat_app.language import N_, tr
from chat_app.reply_job import ReplyJob
from learner.errors import AdapterLoadError
from learner.protocols import ReplyMaker, ReplyPlan
from storage.conversations import ConversationLog
from storage.errors import AdapterError, UnreadableError
from storage.policy_registry import PolicyRegistry
from storage.records import BASE_VERSION, Message, PolicyVersion, PolicyVersionId

log = logging.getLogger(__name__)

SAID_THE_SAME = N_("Both versions say the same here, so there is nothing to choose.")
SAID_NOTHING = N_("The model ended its reply before the first word. Retry asks it for another one.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What became of a job."""

    stored: bool
    """False where it was stopped before its first word; the chat is then as it was."""
    notices: tuple[str, ...] = ()
    question: str | None = None
    """The token of the question that was stored."""


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

        What cannot be loaded may also be the live version's rival: then that one is put away, or,
        where it may be loaded another time, the base stands in for it.
        """
        notices: tuple[str, ...] = ()
        absent: set[PolicyVersionId] = set()
        while True:
            version = self._policies.current()
            rival = self._rival(version, job.seed, absent)
            try:
                plan = self._written(job, prompt, version, rival)
            except AdapterLoadError as error:
                broken = version.id if error.version is None else PolicyVersionId(error.version)
                speaking = {version.id} if rival is None else {version.id, rival.id}
                if broken == BASE_VERSION or broken not in speaking:
                    raise  # another try would end here, too
                if self._policies.nearest_servable(broken).id != broken:
                    continue  # forgotten since: its files are gone, and others speak by now
                log.warning("Version %d cannot be loaded: %s", broken, error)
                absent.add(broken)
                passes = self._may_pass(broken, error)
                if not passes:
                    self._policies.taint(broken, reason=f"could not be loaded: {error}")
                if broken != version.id:
                    continue
                if passes:
                    self._policies.go_back(broken, reason=f"could not be loaded now: {error}")
                told = _stepped_aside if passes else _went_back
                notices = (*notices, told(broken, self._policies.current().id))
            else:
                return plan, notices

    def _may_pass(self, broken: PolicyVersionId, error: AdapterLoadError) -> bool:
        """Whether a version that could not be loaded may be another time: its files are away, or
        cannot be read now, or they are as they were left and the system refused."""
        try:
            self._policies.verify(broken)
        except UnreadableError:
            return True
        except AdapterError:
            return False
        return error.may_pass

    def _written(
        self,
        job: ReplyJob,
        prompt: Sequence[Message],
        version: PolicyVersion,
        rival: PolicyVersion | None,
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
            rival=rival,
        )

    def _rival(
        self, version: PolicyVersion, seed: int, absent: Container[PolicyVersionId]
    ) -> PolicyVersion | None:
        """Whom a shadow duel is against: the version before the live one or the base, by turns.

        The version before it is the nearest that may still speak; the base, where that is absent.
        """
        if version.parent is None:
            return None
        before = self._policies.nearest_servable(version.parent if seed % 2 else BASE_VERSION)
        return self._policies.get(BASE_VERSION) if before.id in absent else before

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
            return Written(stored=True, question=asked.token)
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
    return tr(
        "Version {broken} could not be loaded, so {now} speaks again. No choice of yours is lost.",
        broken=broken,
        now=_named(to),
    )


def _stepped_aside(broken: PolicyVersionId, to: PolicyVersionId) -> str:
    return tr(
        "Version {broken} cannot be loaded just now, so {now} speaks: see to the disk and the "
        "memory, then make it live again on the Models page.",
        broken=broken,
        now=_named(to),
    )


def _named(version: PolicyVersionId) -> str:
    if version == BASE_VERSION:
        return tr("the untrained model")
    return tr("version {version}", version=version)
