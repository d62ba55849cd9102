"""One round of the online learner: the file to read first.

``step`` reads the picks that the live version's lineage has not learned from, refits the reward
ensemble, trains a new adapter on those picks and on pairs the ensemble labels, looks whether it
learned them, lets the gate judge it, and leaves a folder. It keeps no progress of its own: what was
tried and what was learned is read from the log each time, so a crash, a restart or a person's
roll-back needs no word to it.
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from learner.config import OnlineConfig
from learner.gate import Gate
from learner.lesson_check import LessonCheck
from learner.protocols import UpdateRule, Verdict
from learner.reward.head import BayesianRewardHead
from learner.trust_region import judge_in_part
from learner.updates.lesson import Lesson
from learner.updates.teacher import Teacher
from storage import rounds
from storage.feedback import FeedbackReader
from storage.policies import PolicyReader
from storage.records import PolicyVersion, RoundReport, RoundStatus

log = logging.getLogger(__name__)


class OnlineLearner:
    """Turns picks into versions. ``step`` runs in a process of its own, or in a test."""

    def __init__(
        self,
        *,
        feedback: FeedbackReader,
        policies: PolicyReader,
        round_folder: Path,
        reward: BayesianRewardHead,
        rule: UpdateRule[Lesson],
        teacher: Teacher,
        check: LessonCheck | None,
        gate: Gate,
        config: OnlineConfig,
        base_sha256: str,
        announce: Callable[[int], None] = lambda _: None,
        refer_to: Callable[[PolicyVersion], None] = lambda _: None,
    ) -> None:
        """``check`` is None where ``rule`` need not raise what was picked in the lesson's pairs.

        ``announce`` is called with a round's number when it begins, and ``refer_to`` is told before
        each round which version is the reference policy.
        """
        self._feedback = feedback
        self._policies = policies
        self._round_folder = round_folder
        self._reward = reward
        self._rule = rule
        self._teacher = teacher
        self._check = check
        self._gate = gate
        self._config = config
        self._base_sha256 = base_sha256
        self._announce = announce
        self._refer_to = refer_to

    def step(self, at_least: int | None = None) -> RoundReport | None:
        """One round if enough new picks wait, or ``at_least`` so many, else None.

        It takes no more than ``max_preferences``; the others are the next rounds'.
        """
        if self._policies.waiting():
            return None  # its picks are not booked yet; they would be learned twice
        attempted = self._policies.attempted_through()
        enough = self._config.min_preferences if at_least is None else at_least
        if self._feedback.due(attempted) < enough:
            return None  # said twice a second: so it is counted, not read
        parent = self._policies.current()
        forgotten = self._policies.forgotten()  # first: what is forgotten from here on is in it
        picks = self._feedback.next_picks(attempted, self._config.max_preferences)
        if not picks:
            return None  # taken back this moment

        began = time.perf_counter()
        number = self._policies.next_round()
        seed = self._config.seed + number
        self._announce(number)
        self._refer_to(self._policies.reference_of(parent))
        signals = self._teacher.signals()
        reward_metrics = self._reward.fit(self._feedback.preferences(), signals)
        lesson = self._teacher.lesson(picks, self._reward, seed)
        try:
            update_metrics, verdict = self._tried(parent, lesson, seed)
            report = RoundReport(
                number=number,
                parent=parent.id,
                status=RoundStatus.ACCEPTED if verdict.accepted else RoundStatus.REFUSED,
                preference_ids=tuple(pick.id for pick in picks),
                attempted_through=max(attempted, picks[-1].id),
                update_rule=self._rule.name,
                seed=seed,
                reason=verdict.reason,
                metrics=reward_metrics | update_metrics | verdict.metrics,
                seconds=time.perf_counter() - began,
            )
            self._leave(report, parent, verdict, forgotten)
            if report.version is not None:
                self._gate.remember(report.version, verdict)
        finally:
            self._rule.close()
        return report

    def _tried(
        self, parent: PolicyVersion, lesson: Lesson, seed: int
    ) -> tuple[dict[str, float], Verdict]:
        """Update on the lesson, and judge it; returns the update's metrics and the verdict.

        Where its numbers overflow, the round is refused like any other: its number is used and its
        picks wait for others. The same round again would end the same way.
        """
        try:
            metrics, learned = self._taught(parent, lesson, seed)
            if not learned.accepted:
                return metrics, learned
            return metrics | learned.metrics, self._judge(parent)
        except FloatingPointError as error:
            log.warning("round on version %d: %s", parent.id, error)
            return {}, Verdict(accepted=False, reason=f"its numbers overflow: {error}", metrics={})

    def _taught(
        self, parent: PolicyVersion, lesson: Lesson, seed: int
    ) -> tuple[dict[str, float], Verdict]:
        """Update on the lesson; returns metrics, and whether the update learned it."""
        lacks = self._teacher.nothing_in(lesson)
        if lacks is not None:
            return {}, Verdict(accepted=False, reason=lacks, metrics={})
        metrics = self._rule.update(parent, lesson, seed)
        learned = self._learned(parent, lesson)
        if not learned.accepted and parent.adapter_path is not None:
            # Its moments may still pull to an old taste, and would in every further round.
            self._rule.close()
            self._rule.start_afresh()
            metrics = self._rule.update(parent, lesson, seed)
            learned = self._learned(parent, lesson)
        return metrics, learned

    def _learned(self, parent: PolicyVersion, lesson: Lesson) -> Verdict:
        """Whether the update in training learned its lesson."""
        if self._check is None:
            return Verdict(accepted=True, reason="its rule is not checked", metrics={})
        return self._check.judge(parent, lesson.pairs)

    def _judge(self, parent: PolicyVersion) -> Verdict:
        """Whether the update in training may speak, perhaps in part."""
        return judge_in_part(
            lambda: self._gate.judge(parent),
            self._rule,
            parent_drift=self._drift_of(parent),
            attempts=self._config.gate.pull_ins,
        )

    def _drift_of(self, parent: PolicyVersion) -> float:
        """How far the parent is from the reference policy; none if it is the reference itself."""
        if self._policies.reference_of(parent).id == parent.id:
            return 0.0
        return self._gate.drift(parent.metrics)

    def _leave(
        self, report: RoundReport, parent: PolicyVersion, verdict: Verdict, forgotten: int
    ) -> None:
        rounds.leave(
            self._round_folder,
            report,
            base_sha256=self._base_sha256,
            config_json=json.dumps(asdict(self._config)),
            forgotten=forgotten,
            database=self._policies.database_id(),
            write_adapter=self._rule.save if verdict.accepted else None,
        )
        log.info(
            "round %d on version %d: %s (%s), %.1f s",
            report.number,
            parent.id,
            report.status.value,
            report.reason,
            report.seconds,
        )
