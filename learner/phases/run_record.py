"""A run as the database has it: what it is known by, its metrics, and its end."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from learner.phases.place import Place
from learner.phases.protocol import Phase, Product
from learner.phases.publish import metrics_of, publish_known
from learner.phases.settings import plain
from storage.phases import PhaseEnd, PhaseRecord, PhaseRunId, PhaseStart, PhaseStatus
from storage.records import PolicyVersionId


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseOutcome:
    """How a run ended; ``accepted`` off where the gate refused what it made."""

    accepted: bool
    reason: str
    steps: int
    version: PolicyVersionId | None = None
    folder: Path | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    run_id: PhaseRunId | None = None


class RunRecord:
    """The rows of one run. Only the main process opens it; on the others it keeps nothing."""

    def __init__(self, phase: Phase, place: Place) -> None:
        self._phase = phase
        self._place = place
        self.key = run_key(phase, place)
        self.id: PhaseRunId | None = None
        self._unwritten: dict[int, dict[str, float]] = {}

    def find(self, *, fresh: bool) -> PhaseRecord | None:
        """The run of this key, finished or not; ``fresh`` abandons it and finds none.

        One whose product is gone, since it was forgotten or deleted, is as if it had not been.
        """
        found = self._place.phases.find(self.key)
        if found is None or not (fresh or self._is_gone(found)):
            return found
        if found.end is None:
            end = PhaseEnd(status=PhaseStatus.ABANDONED, reason="begun afresh", seconds=0.0)
            self._place.phases.end(found.id, end)
        return None

    def _is_gone(self, found: PhaseRecord) -> bool:
        end = found.end
        if end is None:
            return False
        if end.product is not None and not Path(end.product).exists():
            return True
        return end.version in self._place.policies.forgotten_rounds()

    def begin(self) -> None:
        """Open a new one."""
        start = PhaseStart(
            run_key=self.key,
            kind=self._phase.kind,
            parent=self._place.parent.id,
            base_sha256=self._place.model.sha256,
            data_sha256=self._phase.data_sha256,
            config=plain(self._phase.config),
            seed=self._phase.config.seed,
        )
        self.id = self._place.phases.begin(start)

    def go_on(self, found: PhaseRecord) -> None:
        self.id = found.id

    def outcome_of(self, found: PhaseRecord, end: PhaseEnd) -> PhaseOutcome:
        """What a finished run came to; its version speaks from now on if that is asked for.

        Its metrics are those of the weights that were kept, which need not be the last ones.
        """
        curves = self._place.phases.metrics(found.id)
        metrics = {name: curve[-1][1] for name, curve in curves.items()}
        reason = end.reason
        if end.product is not None:
            metrics |= metrics_of(Path(end.product))
        if end.version is not None:
            metrics |= self._place.policies.get(end.version).metrics
            reason = publish_known(self._place, end.version, make_live=self._make_live).reason
        return PhaseOutcome(
            accepted=True,
            reason=f"done before: {reason}",
            steps=max((curve[-1][0] for curve in curves.values()), default=0),
            version=end.version,
            folder=None if end.product is None else Path(end.product),
            metrics=metrics,
            seconds=end.seconds,
            run_id=found.id,
        )

    @property
    def _make_live(self) -> bool:
        return getattr(self._phase.config, "make_live", False)  # a reward model cannot speak

    def note(self, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics of a step, for the next ``write``."""
        self._unwritten.setdefault(step, {}).update(metrics)

    def write(self) -> None:
        """Everything noted, to disk."""
        if self.id is not None and self._unwritten:
            self._place.phases.record(self.id, self._unwritten)
        self._unwritten = {}

    def end(self, product: Product, seconds: float) -> None:
        """Finished: the same key answers with this product from now on."""
        if self.id is None:
            return
        self._place.phases.end(
            self.id,
            PhaseEnd(
                status=PhaseStatus.FINISHED,
                version=product.version,
                product=None if product.folder is None else str(product.folder),
                reason=product.reason,
                seconds=seconds,
            ),
        )


def run_key(phase: Phase, place: Place) -> str:
    """SHA-256 of all that decides the weights."""
    settings = plain(phase.config)
    settings.pop("gate", None)
    settings.pop("make_live", None)
    settings["loop"].pop("checkpoint_every")
    backbone = place.engine.backbone
    said = {
        "kind": phase.kind,
        "base": place.model.sha256,
        "parent": place.parent_sha256,
        "data": phase.data_sha256,
        # As they came out, not as they were asked for: "auto" means another thing elsewhere.
        # Few-shot prompting has a template of its own.
        "template": repr(backbone.tokenizer.chat_template),
        "dtype": str(backbone.dtype),
        "settings": settings,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
