"""What a phase made, made known: an adapter as a policy version, a whole model as a folder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from learner.config import GateConfig
from learner.gate import Gate
from learner.phases.place import Place
from learner.phases.protocol import Product, RunFacts
from storage import rounds
from storage.files import sync, sync_all
from storage.folder import DataFolder
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
    known = place.policies.version_of_run(run.run_id)
    if known is not None:
        return publish_known(place, known, make_live=make_live)
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
        database=place.policies.database_id(),
        forgotten=place.policies.forgotten(),  # the folder is claimed: nobody forgets meanwhile
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


def publish_known(place: Place, version: PolicyVersionId, *, make_live: bool) -> Product:
    """A version that is there already; it speaks from now on if that is wished.

    Where the one that speaks was made from it, it stays: it spoke before, and what was learned
    since is not undone by asking again. Raises StorageError where it may not speak any more.
    """
    line = place.policies.lineage()
    if make_live and version not in line:
        place.policies.activate(version, reason="chosen by a training phase")
    if version in line[1:]:
        told = f"version {version}, from which version {line[0]} was made, which speaks"
        return Product(accepted=True, reason=told, version=version)
    return Product(accepted=True, reason=_told(version, place), version=version)


WIDE_GATE = GateConfig(
    max_kl_per_token=1.0, max_perplexity_ratio=1.25, min_length_ratio=0.2, max_length_ratio=4.0
)
"""Limits for what a phase makes: demonstrations may be much shorter than what the base says."""

LESSONS_GATE = GateConfig()
"""What the lessons that follow will be held to."""

DRAFT = ".tmp-"
"""How the folder of a model on its way begins."""

LINEAGE = "twofold.json"
"""In a model folder: what it was made from, and how."""

BEFORE_PERPLEXITY, PERPLEXITY = "before.neutral_perplexity", "neutral_perplexity"


def publish_model(
    place: Place, run: RunFacts, *, kind: str, gate: GateConfig, make_live: bool
) -> Product:
    """The base as it is now becomes a model folder under ``DataFolder.models``.

    Refused where its perplexity on neutral text rose above the gate's limit; a phase that measures
    none of it (a model from scratch has nothing to lose) is not refused. It cannot go live by
    itself: adapters fit one base only, so it is served from a data folder of its own.
    """
    final = model_folder(place, run, kind)
    told = f"a model in {final}: `twofold serve --model {final} --data ANOTHER_FOLDER` runs it"
    if make_live:
        told += "; it cannot go live here, since this folder's versions fit another base"
    if final.is_dir():
        return Product(accepted=True, reason=told, folder=final)
    ratio = run.metrics.get(PERPLEXITY, 1.0) / run.metrics.get(BEFORE_PERPLEXITY, float("inf"))
    if ratio > gate.max_perplexity_ratio:
        return Product(
            accepted=False,
            reason=f"refused: perplexity on neutral text rose to {ratio:.2f} of what it was, "
            f"{gate.max_perplexity_ratio:.2f} is the limit",
        )
    place.folder.models.mkdir(exist_ok=True)
    draft = Path(mkdtemp(prefix=DRAFT, dir=place.folder.models))
    try:
        place.engine.backbone.save_model(draft)
        (draft / LINEAGE).write_text(lineage_of(place, run), encoding="utf-8")
        sync_all(draft)
        draft.rename(final)
        sync(place.folder.models)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return Product(accepted=True, reason=told, folder=final)


def delete_model_drafts(folder: DataFolder) -> None:
    """Delete what a kill left of a model on its way; while no phase runs."""
    for path in folder.models.glob(f"{DRAFT}*"):
        shutil.rmtree(path, ignore_errors=True)


def model_folder(place: Place, run: RunFacts, kind: str) -> Path:
    """Where this run's product is, or goes: an earlier one of the same key keeps its place."""
    final = place.folder.models / f"{kind}-{run.run_key[:8]}"
    if final.is_dir() and _run_of(final) != run.run_id:
        return final.with_name(f"{final.name}-{run.run_id}")
    return final


def made_from(folder: Path) -> str | None:
    """Digest of the base that what is in this folder was made from; None where it does not say."""
    base = _lineage(folder).get("base")
    return base.get("sha256") if isinstance(base, dict) else None


def metrics_of(folder: Path) -> dict[str, float]:
    """What was measured of what is in this folder; empty where it does not say."""
    said = _lineage(folder).get("metrics")
    if not isinstance(said, dict):
        return {}
    return {name: float(v) for name, v in said.items() if isinstance(v, (int, float))}


def _run_of(folder: Path) -> object:
    run = _lineage(folder).get("run")
    return run.get("run_id") if isinstance(run, dict) else None  # none: from before they were named


def _lineage(folder: Path) -> dict[str, Any]:
    """Empty where the folder is not ours."""
    try:
        said = json.loads((folder / LINEAGE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def lineage_of(place: Place, run: RunFacts) -> str:
    """What a folder says of where it comes from, as JSON."""
    said = {
        "base": {"name": place.model.name, "sha256": place.model.sha256},
        "parent": place.parent.id,
        "run": json.loads(run.config_json),
        "metrics": dict(run.metrics),
    }
    return json.dumps(said, indent=1)


def _told(version: PolicyVersionId, place: Place) -> str:
    told = f"version {version} is a candidate: `twofold versions rollback {version}` lets it speak"
    if place.policies.current().id == version:
        told = f"version {version} speaks from the next reply on"
    made, limit = place.policies.get(version), LESSONS_GATE.max_kl_per_token
    kl = made.metrics.get("kl_per_token", 0.0)
    if kl > limit and place.policies.reference_of(made).id != version:
        told += (
            f"; its KL of {kl:.2f} nats a token is more than the {limit} that lessons keep to, so "
            "the first lesson on it will pull it in"
        )
    return told
