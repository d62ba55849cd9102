"""The loop around the chat: finished rounds become rows, and versions are made live.

A thread of its own turns the learner's round folders into rows. The learner needs no word from it,
and the chat needs none of its rounds.
"""

import logging
from collections.abc import Callable
from threading import Event, Thread

from chat_app.core import Core
from chat_app.errors import ChatError, sentences
from chat_app.language import tr
from chat_app.progress import LearnerStatus
from chat_app.report import status_now
from chat_app.views import Status
from learner.rollback import detect_harm
from storage.pruning import prune
from storage.records import PolicyVersionId, RoundReport, RoundStatus
from storage.rounds import collect

log = logging.getLogger(__name__)


class Loop:
    """``close`` it before the store."""

    def __init__(
        self,
        core: Core,
        learner_status: Callable[[], LearnerStatus | None],
        prepare_soon: Callable[[], None],
    ) -> None:
        self._core = core
        self._logs = core.logs
        self._learner_status = learner_status
        self._prepare_soon = prepare_soon
        self._closing = Event()
        self._collector: Thread | None = None

    def begin(self) -> None:
        """Start to collect rounds, where the settings wish for it."""
        if self._core.config.collect_every_s:
            self._collector = Thread(target=self._collect_rounds, name="collector", daemon=True)
            self._collector.start()

    def status(self) -> Status:
        with sentences():
            return status_now(
                self._logs.feedback,
                self._logs.policies,
                self._core.config,
                self._learner_status(),
            )

    def roll_back(self, version: PolicyVersionId) -> None:
        """Let an earlier version speak from the next reply on."""
        with self._core.lock, sentences():
            if self._logs.policies.current().id == version:
                raise ChatError(tr("Version {version} is live already.", version=version))
            self._logs.policies.activate(version, reason="chosen on the Learning page")
        self.version_changed()

    def heed_duels(self) -> None:
        """Go back by ourselves where blind comparisons say that learning did harm."""
        harm = detect_harm(self._logs.duels.of_live_line(), self._core.config.harm_threshold)
        if harm is None:
            return
        reason = f"lost {harm.lost} of {harm.of} blind comparisons with earlier versions"
        back = self._logs.policies.go_back(harm.since, reason=reason)
        if back is None:  # a person was quicker, on a page or on the command line
            return
        log.warning("Version %d %s; version %d speaks again", harm.since, reason, back)
        self.version_changed()

    def version_changed(self) -> None:
        """Another version was made live: pages are to say so, the model to load it."""
        self._core.revisions.status_changed()
        self._prepare_soon()

    def collect_now(self) -> list[RoundReport]:
        """Turn the learner's finished rounds into rows; a passed version is live from now on."""
        rounds = collect(self._logs.policies)
        if rounds:
            self._core.revisions.status_changed()
        if any(one.status is RoundStatus.ACCEPTED for one in rounds):
            if not self._core.config.keep_versions:
                prune(self._logs.policies)
            self._prepare_soon()
        return rounds

    def close(self) -> None:
        self._closing.set()
        if self._collector is not None:
            self._collector.join()

    def _collect_rounds(self) -> None:
        known = told = None
        while not self._closing.wait(self._core.config.collect_every_s):
            try:
                self.collect_now()
                told = None
                # Another process may roll back, and the learner says itself what it does.
                now = self._logs.policies.current().id, self._learner_status()
                if now != known:
                    known = now
                    self._core.revisions.status_changed()
            except Exception as error:
                # A folder that cannot be read now may be readable in a second, and the chat does
                # not need it: say so in the log, but not every second, and look again.
                if told != repr(error):
                    told = repr(error)
                    log.exception("Finished rounds could not be collected")
