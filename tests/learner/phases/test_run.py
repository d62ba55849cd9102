"""The runner: resume after kills, best weights, records, and a key that is done already."""

import errno
import json
import multiprocessing
import signal
import time
from dataclasses import replace
from io import StringIO
from types import MappingProxyType, SimpleNamespace

import pytest
import torch
from rich.console import Console

from learner.config import Prompting
from learner.phases.checkpoint import Checkpoint, Checkpoints
from learner.phases.interrupts import InterruptedPhaseError
from learner.phases.protocol import LoopConfig, PhaseError, PhaseState
from learner.phases.publish import LINEAGE
from learner.phases.run import PhaseRun
from learner.phases.watchers import TerminalWatcher
from storage.phases import PhaseStatus
from tests.learner.phases.toy import CPU, ToyConfig, ToyPhase, open_place, run_toy


@pytest.fixture(scope="module")
def processes():
    """Children that start in milliseconds and have never opened a database."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.learner.phases.toy"])
    return context


@pytest.fixture
def place(tmp_path, tiny_folder):
    place = open_place(tmp_path / "data", tiny_folder)
    yield place
    place.store.close()


def result(place):
    """What the only finished run left: its numbers, and its curves."""
    [run] = [one for one in place.phases.runs() if one.status is PhaseStatus.FINISHED]
    weights = (place.folder.root / f"line-{run.start.run_key[:8]}" / "weights.txt").read_text()
    return weights, place.phases.metrics(run.id)


def test_a_run_killed_anywhere_ends_as_if_it_never_was(tmp_path, tiny_folder, processes):
    whole, config = tmp_path / "whole", ToyConfig()
    run_toy(whole, tiny_folder, config, None)
    killed = tmp_path / "killed"
    for die_at in (0, 5, 6, 11, -1):  # before, between and at checkpoints; while publishing
        child = processes.Process(target=run_toy, args=(killed, tiny_folder, config, die_at))
        child.start()
        child.join(60)
        assert child.exitcode == -signal.SIGKILL
    outcome = run_toy(killed, tiny_folder, config, None)
    assert outcome.steps == 12
    places = [open_place(root, tiny_folder) for root in (whole, killed)]
    weights, curves = zip(*map(result, places), strict=True)
    assert weights[0] == weights[1]
    assert curves[0] == curves[1]
    assert [len(p.phases.runs()) for p in places] == [1, 1]  # it went on, and did not begin anew
    assert not list(places[1].folder.phases.rglob("*.safetensors"))
    for one in places:
        one.store.close()


def test_a_checkpoint_cut_short_is_passed_over(place, tmp_path):
    phase = ToyPhase(place, ToyConfig())
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (2, 4):
        one = Checkpoint(step=step, tensors=phase.state().tensors, values={"step": step})
        checkpoints.write(one, keep=None)
    assert checkpoints.newest().step == 4
    newest = tmp_path / "checkpoints" / "step-000004" / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-3])
    assert checkpoints.newest().step == 2


def test_the_newest_checkpoints_and_the_best_are_kept(place, tmp_path):
    phase = ToyPhase(place, ToyConfig())
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (2, 4, 6, 8):
        one = Checkpoint(step=step, tensors=phase.state().tensors, values={})
        checkpoints.write(one, keep=2)
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == [
        "step-000002",
        "step-000006",
        "step-000008",
    ]


def test_the_same_run_again_answers_with_what_it_made(place):
    config = ToyConfig()
    first = PhaseRun(ToyPhase(place, config), place)()
    again = PhaseRun(ToyPhase(place, config, die_at=0), place)()
    assert again.folder == first.folder and again.reason.startswith("done before")
    fresh = PhaseRun(ToyPhase(place, config), place, fresh=True)()
    assert fresh.run_id != first.run_id
    other = PhaseRun(ToyPhase(place, ToyConfig(seed=1)), place)()
    assert other.folder != first.folder


def test_the_same_run_again_tells_of_the_weights_that_were_kept(place):
    """The last ones may be others, and what was before is no step's."""

    class Rising(ToyPhase):
        def measure(self):
            self.measured = getattr(self, "measured", 0) + 1
            return {"error": [5.0, 1.0, 2.0, 3.0, 4.0][self.measured - 1]}

        def publish(self, run):
            made = super().publish(run)
            (made.folder / LINEAGE).write_text(json.dumps({"metrics": dict(run.metrics)}))
            return made

    first = PhaseRun(Rising(place, ToyConfig()), place)()
    assert first.metrics["error"] == 1.0 and first.metrics["before.error"] == 5.0
    again = PhaseRun(Rising(place, ToyConfig()), place)()
    assert again.reason.startswith("done before")
    assert again.metrics["error"] == 1.0 and again.metrics["before.error"] == 5.0


def test_the_time_of_a_run_is_that_of_all_its_steps(place):
    class Slow(ToyPhase):
        def step(self, number):
            time.sleep(0.02)
            return super().step(number)

        def measure(self):
            self.measured = getattr(self, "measured", 0) + 1
            return {"error": [5.0, 1.0, 2.0, 3.0, 4.0][self.measured - 1]}

    outcome = PhaseRun(Slow(place, ToyConfig()), place)()
    assert outcome.metrics["best_step"] == 3.0 and outcome.steps == 12
    assert outcome.seconds > 12 * 0.02


def test_a_full_disk_while_a_product_is_written_says_what_to_do(place):
    class Full(ToyPhase):
        def publish(self, run):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(PhaseError, match=r"No space left on device.*the same command writes it"):
        PhaseRun(Full(place, ToyConfig()), place)()
    steps = []

    class Counted(ToyPhase):
        def step(self, number):
            steps.append(number)
            return super().step(number)

    assert PhaseRun(Counted(place, ToyConfig()), place)().accepted and steps == []


def test_how_often_checkpoints_are_written_is_no_part_of_the_key(place):
    loop = LoopConfig(evaluate_every=3, checkpoint_every=5)
    first = PhaseRun(ToyPhase(place, ToyConfig()), place)
    assert PhaseRun(ToyPhase(place, ToyConfig(loop=loop)), place).key == first.key
    assert PhaseRun(ToyPhase(place, ToyConfig(steps=13)), place).key != first.key


def test_how_a_chat_is_rendered_and_counted_is_part_of_the_key(place, tmp_path, tiny_folder):
    """Else a run that asks for few-shot prompting is answered with one that had none."""
    key = PhaseRun(ToyPhase(place, ToyConfig()), place).key
    for prompting, same in ((Prompting.FEW_SHOT, False), (Prompting.TEMPLATE, True)):
        other = open_place(tmp_path / prompting, tiny_folder, replace(CPU, prompting=prompting))
        assert (PhaseRun(ToyPhase(other, ToyConfig()), other).key == key) is same
        other.store.close()
    place.engine.backbone.dtype = torch.bfloat16
    assert PhaseRun(ToyPhase(place, ToyConfig()), place).key != key


def test_what_is_left_out_is_said_before_the_first_step(place):
    said = []
    steps = SimpleNamespace(
        began=lambda *_: said.append("began"),
        noted=said.append,
        stepped=lambda *_: said.append("step"),
        measured=lambda *_: None,
        ended=lambda _: said.append("ended"),
        close=lambda: said.append("closed"),
    )
    PhaseRun(ToyPhase(place, ToyConfig(steps=1)), place, watchers=[steps])()
    assert said == ["began", "two of three are left out", "step", "ended", "closed"]


def test_a_run_that_breaks_off_gives_the_terminal_back(place):
    """A bar hides the cursor while it stands."""

    class Broken(ToyPhase):
        def step(self, number):
            raise KeyboardInterrupt

    screen = StringIO()
    watcher = TerminalWatcher(Console(file=screen, force_terminal=True))
    with pytest.raises(KeyboardInterrupt):
        PhaseRun(Broken(place, ToyConfig()), place, watchers=[watcher])()
    assert screen.getvalue().count("\x1b[?25l") == screen.getvalue().count("\x1b[?25h") == 1


def test_ctrl_c_ends_between_two_steps_and_the_run_goes_on(place):
    class Interrupted(ToyPhase):
        def step(self, number):
            if number == 4:
                signal.raise_signal(signal.SIGINT)
            return super().step(number)

    config = ToyConfig(loop=LoopConfig(evaluate_every=0, checkpoint_every=100))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(InterruptedPhaseError, match="after step 5 of 12"):
        PhaseRun(Interrupted(place, config), place)()
    assert signal.getsignal(signal.SIGINT) is before
    steps = []

    class Counted(ToyPhase):
        def step(self, number):
            steps.append(number)
            return super().step(number)

    PhaseRun(Counted(place, config), place)()
    assert steps == list(range(5, 12))


def test_the_weights_of_the_best_measurement_are_published(place):
    class Rising(ToyPhase):
        """Its error rises after the second measurement."""

        errors = iter([9.0, 5.0, 1.0, 6.0, 7.0, 8.0])

        def measure(self):
            return {"error": next(self.errors)}

        def state(self):
            state = super().state()
            self.seen = state.tensors["weights"].tolist()
            return state

        def publish(self, run):
            assert run.metrics["error"] == 1.0 and run.metrics["before.error"] == 9.0
            self.published = self._weights.tolist()
            return super().publish(run)

    loop = LoopConfig(evaluate_every=2, checkpoint_every=50, patience=2)
    phase = Rising(place, ToyConfig(steps=50, loop=loop))
    weights_at = {}
    step = phase.step

    def watched(number):
        metrics = step(number)
        weights_at[number + 1] = phase._weights.tolist()
        return metrics

    phase.step = watched
    outcome = PhaseRun(phase, place)()
    assert outcome.steps == 8  # two measurements after the best one
    assert phase.published == weights_at[4] != weights_at[8]
    assert outcome.metrics["best_step"] == 4.0


def test_a_resumed_run_remembers_what_was_best(place):
    class Scripted(ToyPhase):
        """Its error is a function of the steps taken, best at 2; Ctrl+C comes in step 5."""

        errors = MappingProxyType({0: 9.0, 2: 1.0, 4: 6.0, 6: 5.0, 8: 4.0})
        taken = 0

        def step(self, number):
            if number == 4 and self.interrupted:
                signal.raise_signal(signal.SIGINT)
            self.taken = number + 1
            return super().step(number)

        def measure(self):
            return {"error": self.errors[self.taken]}

        def state(self):
            state = super().state()
            return PhaseState(tensors=state.tensors, values=state.values | {"taken": self.taken})

        def restore(self, state):
            super().restore(state)
            self.taken = state.values["taken"]

    config = ToyConfig(steps=40, loop=LoopConfig(evaluate_every=2, checkpoint_every=50, patience=2))
    phase = Scripted(place, config)
    phase.interrupted = True
    with pytest.raises(InterruptedPhaseError):
        PhaseRun(phase, place)()
    phase = Scripted(place, config)
    phase.interrupted = False
    outcome = PhaseRun(phase, place)()
    assert outcome.steps == 6  # two measurements after the best one, one of them before Ctrl+C
    assert outcome.metrics["best_step"] == 2.0 and phase.taken == 2


def test_what_never_got_better_is_not_kept(place):
    class Worse(ToyPhase):
        errors = iter([1.0, 2.0, 3.0, 4.0, 5.0])

        def measure(self):
            return {"error": next(self.errors)}

    outcome = PhaseRun(Worse(place, ToyConfig()), place)()
    assert not outcome.accepted and "by error no weights were better" in outcome.reason
    assert outcome.folder is None


def test_a_metric_that_is_not_finite_ends_the_run(place):
    class Broken(ToyPhase):
        def measure(self):
            return {"error": float("nan")}

    with pytest.raises(PhaseError, match="error is nan: lower the learning rate"):
        PhaseRun(Broken(place, ToyConfig()), place)()


def test_three_steps_whose_loss_is_not_finite_are_left_out_and_the_fourth_ends_the_run(place):
    class Diverging(ToyPhase):
        broken: frozenset[int]

        def step(self, number):
            if number not in self.broken:
                return super().step(number)
            (self._weights.sum() * float("nan")).backward()
            return {"loss": float("nan")} | self._optimiser.step(number)

    phase = Diverging(place, ToyConfig())
    phase.broken = frozenset({2, 5, 6})
    outcome = PhaseRun(phase, place)()
    assert outcome.accepted and outcome.steps == 12
    curves = place.phases.metrics(outcome.run_id)
    assert curves["skipped_steps"] == [(3, 1.0), (6, 2.0), (7, 3.0)]
    assert [step for step, _ in curves["loss"]] == [1, 2, 4, 5, 8, 9, 10, 11, 12]
    phase = Diverging(place, ToyConfig(seed=1))
    phase.broken = frozenset({2, 5, 6, 7})
    with pytest.raises(PhaseError, match="ends in step 8, since the gradient's norm is nan again"):
        PhaseRun(phase, place)()


def test_a_disk_without_room_leaves_the_checkpoint_before_and_says_where(place, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    phase = ToyPhase(place, ToyConfig())
    checkpoints = Checkpoints(place.folder.phases / "toy")
    for step in (2, 4):
        one = Checkpoint(step=step, tensors=phase.state().tensors, values={})
        if step == 4:
            monkeypatch.setattr("learner.phases.checkpoint.sync_all", full)
            with pytest.raises(PhaseError, match=r"No space left on device\): make room") as raised:
                checkpoints.write(one, keep=None)
            assert str(checkpoints.folder) in str(raised.value)
        else:
            checkpoints.write(one, keep=None)
    assert [path.name for path in checkpoints.folder.iterdir()] == ["step-000002"]
