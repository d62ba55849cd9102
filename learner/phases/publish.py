"""What a phase made, made known: an adapter as a policy version, through the gate."""

from collections.abc import Callable
from pathlib import Path

from learner.config import GateConfig
from learner.gate import Gate
from learner.phases.place import Place
from learner.phases.protocol import Product, RunFacts
from storage import rounds
from storage.records import PolicyVersionId, RoundReport, RoundStatus


def publish_adapter(
    place: Place,
    run: RunFacts,
    *,
    kind: str,
    seed: int,
    gate: GateConfig,
    make_live: bool,
    save: Callable[[Path], None] | None = None,
) -> Product:
    """The adapter in training becomes a version, live if wished, unless the gate refuses it.

    A refused one leaves a round with its reason and no version; the run stays open, so that the
    same command with other limits is judged at once. ``save`` fills the adapter's folder; None
    saves the adapter in training. Called again after a kill it finds what it left.
    """
    rounds.collect(place.policies)
    known = place.policies.version_of_run(run.run_key)
    if known is not None:
        return Product(accepted=True, reason=_told(known, place), version=known)
    verdict = Gate(place.engine, gate, seed=seed).judge(place.parent)
    report = RoundReport(
        number=place.policies.next_round(),
        parent=place.parent.id,
        status=RoundStatus.ACCEPTED if verdict.accepted else RoundStatus.REFUSED,
        preference_ids=(),
        attempted_through=place.policies.attempted_through(),
        update_rule=kind,
        seed=seed,
        reason=verdict.reason,
        metrics={**run.metrics, **verdict.metrics},
        seconds=run.seconds,
        goes_live=make_live,
    )
    rounds.leave(
        place.folder.rounds,
        report,
        base_sha256=place.model.sha256,
        config_json=run.config_json,
        write_adapter=(save or place.engine.backbone.save_training) if verdict.accepted else None,
    )
    [kept] = [one for one in rounds.collect(place.policies) if one.number == report.number]
    reason = _told(kept.version, place) if kept.version else f"refused: {kept.reason}"
    return Product(
        accepted=kept.version is not None,
        reason=reason,
        version=kept.version,
        metrics=verdict.metrics,
    )


def _told(version: PolicyVersionId, place: Place) -> str:
    if place.policies.current().id == version:
        return f"version {version} speaks from the next reply on"
    return f"version {version} is a candidate: `twofold versions rollback {version}` lets it speak"
