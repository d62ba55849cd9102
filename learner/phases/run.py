"""The runner: any phase from its first step to its product, through any number of kills.

    seed -> restore the newest checkpoint, if there is one
    -> (step, record, measure, checkpoint) until the last step or until nothing improves
    -> back to the best weights -> publish -> end

Metrics reach the database before the checkpoint that stands for them, and the checkpoint before the
next step, so whatever is lost is taken again; the phase promises that it comes out the same.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from safetensors import SafetensorError

from learner.phases.checkpoint import Checkpoint, Checkpoints
from learner.phases.interrupts import InterruptedPhaseError, interrupts
from learner.phases.optimiser import SKIPPED
from learner.phases.place import Place
from learner.phases.protocol import (
    Phase,
    PhaseError,
    PhaseState,
    Product,
    RunFacts,
    Watcher,
)
from learner.phases.random_state import random_tensors, random_values, restore_random, seed_all
from learner.phases.run_record import PhaseOutcome, RunRecord
from learner.phases.settings import plain
from learner.phases.stopping import Stopping
from learner.prefixes import put_under, under

BEFORE = "before."
"""Of a metric: what was measured before the first step."""

_PHASE, _GLOBAL = "phase.", "global."


class PhaseRun:
    """One run of one phase; call it once."""

    def __init__(
        self, phase: Phase, place: Place, *, watchers: Sequence[Watcher] = (), fresh: bool = False
    ) -> None:
        """``fresh`` begins anew where this key was run or begun before."""
        self._phase = phase
        self._place = place
        self._main = place.world.is_main
        self._watchers = watchers if self._main else ()
        self._fresh = fresh
        self._record = RunRecord(phase, place)
        self.key = self._record.key
        folder = place.folder.phases / f"{phase.kind}-{self.key[:16]}"
        self._checkpoints = Checkpoints(folder)
        self._stopping = Stopping(phase.aims, phase.config.loop.patience)
        self._step = 0
        self._seconds = 0.0
        self._last: dict[str, float] = {}

    def __call__(self) -> PhaseOutcome:
        """Run or go on; a key that is finished answers at once. Raises InterruptedPhaseError."""
        world = self._place.world
        known = world.agree(self._known)
        if known is not None:
            return known
        try:
            try:
                self._open()
                self._train()
                product = self._product()
            finally:
                self._phase.close()
            return self._end(product)
        finally:
            for watcher in self._watchers:
                watcher.close()

    # -- before --------------------------------------------------------------------------------

    def _known(self) -> PhaseOutcome | None:
        """On the main process: the end of an earlier run, or an open record."""
        found = self._record.find(fresh=self._fresh)
        if found is None:
            self._checkpoints.clear()  # of what was abandoned, or of an older database
            self._record.begin()
            return None
        if found.end is not None:
            return self._record.outcome_of(found, found.end)
        self._record.go_on(found)
        return None

    def _open(self) -> None:
        """Seed, and go on where the newest checkpoint stands."""
        seed_all(self._phase.config.seed)
        found = self._checkpoints.newest()
        if found is not None:
            self._restore(found)
        for watcher in self._watchers:
            watcher.began(self._phase.kind, self._step, self._phase.steps)
            for line in self._phase.notes:
                watcher.noted(line)
        if found is None:
            self._measure()

    def _restore(self, found: Checkpoint) -> None:
        values = found.values
        state = PhaseState(tensors=under(_PHASE, found.tensors), values=values["phase"])
        self._phase.restore(state)
        restore_random(under(_GLOBAL, found.tensors), values["random"])
        self._stopping.restore(values["stopping"])
        self._step = found.step
        self._seconds = values["seconds"]
        self._last = dict(values["last"])

    # -- the loop ------------------------------------------------------------------------------

    def _train(self) -> None:
        loop, phase = self._phase.config.loop, self._phase
        with interrupts() as wanted:
            while self._step < phase.steps and not self._stopping.exhausted:
                began = time.perf_counter()
                metrics = self._stepped()
                self._seconds += time.perf_counter() - began
                self._step += 1
                self._record.note(self._step, metrics)
                self._last |= metrics
                for watcher in self._watchers:
                    watcher.stepped(self._step, metrics)
                last = self._step == phase.steps
                due = loop.evaluate_every > 0 and self._step % loop.evaluate_every == 0
                best = self._measure() if last or due else False
                last = last or self._stopping.exhausted
                stop = self._place.world.agree(wanted.is_set)
                if last or best or stop or self._step % loop.checkpoint_every == 0:
                    self._checkpoint()
                if stop and not last:
                    raise InterruptedPhaseError(
                        f"Interrupted after step {self._step} of {phase.steps}: "
                        "the same command goes on from there."
                    )
        self._record.write()

    def _stepped(self) -> dict[str, float]:
        """One step's metrics; of one that was left out only how many were."""
        try:
            metrics = self._phase.step(self._step)
            if SKIPPED in metrics:  # its loss is not finite, or its gradient
                return {SKIPPED: metrics[SKIPPED]}
            return _checked(metrics)
        except FloatingPointError as error:
            raise self._diverged(error, self._step + 1) from error

    def _diverged(self, error: FloatingPointError, step: int) -> PhaseError:
        return PhaseError(
            f"The {self._phase.kind} run ends in step {step}, since {error}: lower the learning "
            f"rate (`twofold train {self._phase.kind} --show` prints it)."
        )

    def _measure(self) -> bool:
        """Measure and record; whether these weights are the best so far."""
        began = time.perf_counter()
        measured = self._phase.measure()
        # What decides when to stop must be the same number on all processes, to the last bit.
        try:
            metrics = _checked(self._place.world.agree(lambda: measured))
        except FloatingPointError as error:
            raise self._diverged(error, self._step) from error
        self._seconds += time.perf_counter() - began
        self._record.note(self._step, metrics)
        self._last |= metrics
        if self._step == 0:
            self._last |= {f"{BEFORE}{name}": value for name, value in metrics.items()}
        for watcher in self._watchers:
            watcher.measured(self._step, metrics)
        return self._stopping.see(self._step, metrics) and self._step > 0

    def _checkpoint(self) -> None:
        self._record.write()
        if self._main:
            state = self._phase.state()
            tensors = put_under(_PHASE, state.tensors) | put_under(_GLOBAL, random_tensors())
            values = {
                "phase": dict(state.values),
                "random": random_values(),
                "stopping": self._stopping.state(),
                "seconds": self._seconds,
                "last": self._last,
            }
            one = Checkpoint(step=self._step, tensors=tensors, values=values)
            self._checkpoints.write(one, keep=self._stopping.kept_step)
        self._place.world.wait()

    # -- after ---------------------------------------------------------------------------------

    def _product(self) -> Product:
        if self._stopping.kept_step == 0 < self._step:
            names = " and ".join(aim.metric for aim in self._phase.aims)
            return Product(
                accepted=False,
                reason=f"not kept: by {names} no weights were better than before the first step",
            )
        self._take_the_best()
        return self._place.world.agree(self._publish)

    def _take_the_best(self) -> None:
        """Back to the weights of the best measurement."""
        kept = self._stopping.kept_step
        if kept is None or kept == self._step:
            return
        found = self._checkpoints.read(kept)
        if found is None:
            raise PhaseError(
                f"The checkpoint of step {kept}, the best one, is damaged: "
                "run the same command with --fresh."
            )
        steps, seconds = self._step, self._seconds  # those of the whole run
        self._restore(found)
        self._last["best_step"] = float(kept)
        self._step, self._seconds = steps, seconds

    def _publish(self) -> Product:
        facts = RunFacts(
            run_id=self._record.id or 0,
            run_key=self.key,
            config_json=json.dumps(self._published_config()),
            seconds=self._seconds,
            metrics=self._last,
        )
        try:
            return self._phase.publish(facts)
        except (OSError, SafetensorError) as error:
            why = getattr(error, "strerror", None) or error
            raise PhaseError(
                f"What the {self._phase.kind} run made cannot be written ({why}): make room in "
                f"{self._place.folder.root}, and the same command writes it."
            ) from error

    def _published_config(self) -> dict[str, Any]:
        settings = plain(self._phase.config)
        gate = settings.get("gate", {})
        return {
            "phase": self._phase.kind,
            "run_id": self._record.id,
            "run_key": self.key,
            "settings": settings,
            "gate": gate,
        }

    def _end(self, product: Product) -> PhaseOutcome:
        if self._main and product.accepted:
            self._record.end(product, self._seconds)
            self._checkpoints.clear()
        for watcher in self._watchers:
            watcher.ended(product.reason)
        return PhaseOutcome(
            accepted=product.accepted,
            reason=product.reason,
            steps=self._step,
            version=product.version,
            folder=product.folder,
            metrics={**self._last, **product.metrics},
            seconds=self._seconds,
            run_id=self._record.id,
        )


def _checked(metrics: Mapping[str, float]) -> dict[str, float]:
    """Raises FloatingPointError for a metric that is no finite number: NaN is to be found."""
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise FloatingPointError(f"{name} is {value}")
    return dict(metrics)
