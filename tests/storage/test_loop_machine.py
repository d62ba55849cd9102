"""The loop against a model of it in dicts: who waits to be learned, whatever people and rounds do.

Any order of asking, answering, changing, withdrawing, rounds that pass, are refused or fail, rounds
collected late, roll-backs, rejections and restarts.
"""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from storage import rounds
from storage.errors import NotServableError, UnansweredError
from storage.records import (
    BASE_VERSION,
    Choice,
    Comparison,
    PolicyVersionId,
    PreferenceId,
    RoundReport,
    RoundStatus,
)
from tests.storage.builders import World

ANSWERS = st.sampled_from([choice for choice in Choice if choice is not Choice.WITHDRAWN])
DECIDED = (Choice.FIRST, Choice.SECOND)
ANY = st.integers(0, 10**6)
"""An index into whatever there is, modulo its length."""


@dataclass
class Pair:
    comparison: Comparison
    held_out: bool
    learn: bool
    answers: list[tuple[PreferenceId, Choice]] = field(default_factory=list)


@dataclass
class Model:
    """What should be so. A version is its picks and its parent."""

    pairs: list[Pair] = field(default_factory=list)
    parents: dict[int, int | None] = field(default_factory=lambda: {0: None})
    picks: dict[int, tuple[int, ...]] = field(default_factory=lambda: {0: ()})
    banned: set[int] = field(default_factory=set)
    active: int = 0
    attempted: int = 0
    rounds: list[RoundReport] = field(default_factory=list)
    left: RoundReport | None = None

    def lineage(self) -> list[int]:
        line: list[int] = []
        version: int | None = self.active
        while version is not None:
            line.append(version)
            version = self.parents[version]
        return line

    def live(self, *, held_out: bool) -> list[tuple[PreferenceId, Choice]]:
        newest = [
            pair.answers[-1]
            for pair in self.pairs
            if pair.answers and pair.learn and pair.held_out == held_out
        ]
        return sorted(answer for answer in newest if answer[1] is not Choice.WITHDRAWN)

    def unlearned(self) -> list[PreferenceId]:
        learned = {pick for version in self.lineage() for pick in self.picks[version]}
        live = self.live(held_out=False)
        return [id_ for id_, choice in live if choice in DECIDED and id_ not in learned]


class Loop(RuleBasedStateMachine):
    template: Path

    @initialize()
    def open(self) -> None:
        self.root = Path(mkdtemp())
        shutil.copy(self.template, self.root / "twofold.db")
        self.model = Model()
        self._open()

    def _open(self) -> None:
        self.world = World.open(self.root)
        # The disk is not what is tested here, and waiting for it is most of the time.
        self.world.store._writer.execute("PRAGMA synchronous = OFF")

    def teardown(self) -> None:
        self.world.store.close()
        shutil.rmtree(self.root)

    # --- People ---

    @rule(held_out=st.integers(0, 3), learn=st.integers(0, 3))
    def ask(self, held_out: int, learn: int) -> None:
        prompt = self.world.prompt(held_out=held_out == 0, learn=learn > 0)
        comparison = self.world.ask(prompt)
        self.model.pairs.append(Pair(comparison, held_out == 0, learn > 0))

    @precondition(lambda self: self.model.pairs)
    @rule(which=ANY, choice=ANSWERS)
    def answer(self, which: int, choice: Choice) -> None:
        pair = self.model.pairs[which % len(self.model.pairs)]
        receipt = self.world.answer(pair.comparison, choice)
        assert receipt.already_saved == bool(pair.answers)
        if not pair.answers:
            pair.answers.append((receipt.preference_id, choice))
        assert (receipt.preference_id, receipt.choice) == pair.answers[-1]

    @precondition(lambda self: self.model.pairs)
    @rule(which=ANY, choice=st.one_of(ANSWERS, st.just(Choice.WITHDRAWN)))
    def change(self, which: int, choice: Choice) -> None:
        pair = self.model.pairs[which % len(self.model.pairs)]
        feedback, token = self.world.feedback, pair.comparison.token
        try:
            if choice is Choice.WITHDRAWN:
                receipt = feedback.withdraw(token)
            else:
                receipt = feedback.change(token, choice, decision_ms=1)
        except UnansweredError:
            assert not pair.answers
            return
        assert receipt.already_saved == (pair.answers[-1][1] is choice)
        if not receipt.already_saved:
            pair.answers.append((receipt.preference_id, choice))
        assert (receipt.preference_id, receipt.choice) == pair.answers[-1]

    @precondition(lambda self: self.model.pairs)
    @rule(which=ANY, learn=st.booleans())
    def set_learn(self, which: int, learn: bool) -> None:
        pair = self.model.pairs[which % len(self.model.pairs)]
        self.world.log.set_learn(pair.comparison.conversation_id, learn)
        pair.learn = learn

    # --- The learner and the app ---

    @precondition(lambda self: self.model.left is None)
    @rule(status=st.sampled_from(RoundStatus))
    def leave(self, status: RoundStatus) -> None:
        """As ``OnlineLearner.step`` does: all that waits, on the version that serves."""
        report = self.world.report(self.model.unlearned(), status=status)
        self.world.leave(report)
        self.model.left = report
        if status is not RoundStatus.FAILED:
            self.model.attempted = max(self.model.attempted, report.attempted_through)

    @rule()
    def collect(self) -> None:
        report, self.model.left = self.model.left, None
        assert rounds.collect(self.world.policies) == ([] if report is None else [report])
        if report is None:
            return
        self.model.rounds.append(report)
        if report.version is not None:
            self.model.parents[report.number] = report.parent
            self.model.picks[report.number] = report.preference_ids
            if self.model.active == report.parent:
                self.model.active = report.number

    @rule(which=ANY)
    def activate(self, which: int) -> None:
        version = which % len(self.model.parents)
        version = sorted(self.model.parents)[version]
        try:
            self.world.policies.activate(PolicyVersionId(version), reason="by hand")
        except NotServableError:
            assert version in self.model.banned
        else:
            assert version not in self.model.banned
            self.model.active = version

    @precondition(lambda self: len(self.model.parents) > 1)
    @rule(which=ANY)
    def reject(self, which: int) -> None:
        versions = sorted(self.model.parents.keys() - {BASE_VERSION})
        version = versions[which % len(versions)]
        self.world.policies.reject(PolicyVersionId(version), reason="by hand")
        self.model.banned.add(version)
        if self.model.active == version:
            line = self.model.lineage()
            self.model.active = next(one for one in line if one not in self.model.banned)

    @rule()
    def restart(self) -> None:
        self.world.store.close()
        self._open()

    # --- What is always so ---

    @invariant()
    def the_store_agrees_with_the_model(self) -> None:
        model, world = self.model, self.world
        assert [one.id for one in world.feedback.unlearned()] == model.unlearned()
        for held_out, found in (
            (False, world.feedback.preferences()),
            (True, world.feedback.held_out()),
        ):
            assert [(one.id, one.choice) for one in found] == model.live(held_out=held_out)
        assert world.feedback.counts().waiting == len(model.unlearned())
        assert world.policies.current().id == model.active
        assert list(world.policies.lineage()) == model.lineage()
        assert world.policies.attempted_through() == model.attempted
        assert world.policies.rounds_log() == model.rounds
        done = [*model.rounds, *([] if model.left is None else [model.left])]
        assert world.policies.next_round() == 1 + max((one.number for one in done), default=0)

    @invariant()
    def no_lineage_learns_a_pick_twice_or_a_held_out_one(self) -> None:
        held_out = {id_ for pair in self.model.pairs if pair.held_out for id_, _ in pair.answers}
        for version in self.model.parents:
            on_path: list[int] = []
            ancestor: int | None = version
            while ancestor is not None:
                on_path.extend(self.model.picks[ancestor])
                ancestor = self.model.parents[ancestor]
            assert len(set(on_path)) == len(on_path)
            assert not held_out & set(on_path)

    @invariant()
    def the_chain_of_answers_is_whole(self) -> None:
        self.world.feedback.verify_chain()


@pytest.mark.timeout(600)  # two seconds; minutes with a rollback journal on a busy machine
def test_the_loop_behaves_as_its_model_in_any_order(migrated: Path) -> None:
    Loop.template = migrated
    with patch("os.fsync"):
        Loop.TestCase.settings = settings(max_examples=40, stateful_step_count=25)
        Loop.TestCase("runTest").runTest()
