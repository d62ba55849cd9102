"""Does a version refuse what it should and answer what it should, and how it is taught to."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from chat_app import options as o
from chat_app.saved_settings import model_of
from learner.config import EngineConfig
from learner.errors import LearnerError
from learner.model_folder import ModelFolder
from learner.model_source import resolve_model
from storage.base_models import check_owner
from storage.database import Reader
from storage.folder import DataFolder
from storage.policies import PolicyReader
from storage.records import BASE_VERSION, PolicyVersion, PolicyVersionId

Rows = Annotated[
    Path | None,
    typer.Option(help="JSON lines with a prompt each, gzipped or not, beside the shipped probes."),
]


def refusals(
    version: Annotated[
        int | None,
        typer.Option(min=0, max=o.MOST, help="Which version; default: the one that speaks."),
    ] = None,
    data: o.Data = None,
    model: o.Model = None,
    harmful: Rows = None,
    harmless: Rows = None,
    only_set: Annotated[
        list[str] | None, typer.Option("--set", help="Only rows whose set is this.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows taken of each file.")] = 100,
    untaught: Annotated[
        bool, typer.Option("--untaught", help="Only prompts that teach-refusals leaves out.")
    ] = False,
    tokens: Annotated[int, typer.Option(min=8, help="Longest reply.")] = 48,
    show: Annotated[bool, typer.Option("--show", help="Print what was said wrong.")] = False,
    as_json: o.AsJson = False,
) -> None:
    """Measure how often harmful messages are complied with and harmless ones refused.

    Told by the wording of the most likely reply: read some with --show. A folder without a chat
    has the base model only.
    """
    from learner.build import load_engine  # noqa: PLC0415 - torch, seconds
    from learner.safety.report import measure_refusals  # noqa: PLC0415
    from learner.safety.teaching import is_taught  # noqa: PLC0415

    base = _model(data, model)
    chosen = _version(data, version, base)
    _check_sets([path for path in (harmful, harmless) if path is not None], only_set or [])
    extra = [
        (text, refuse, path.name)
        for path, refuse in ((harmful, True), (harmless, False))
        if path is not None
        for text in _prompts(
            path, only_set or [], limit, lambda text: not (untaught and is_taught(text))
        )
    ]
    engine = load_engine(base, EngineConfig())
    if chosen is not None:
        engine.load(chosen)
    report = measure_refusals(engine, extra, max_new_tokens=tokens)
    report["version"] = BASE_VERSION if chosen is None else chosen.id
    wrong = report.pop("wrong")
    if as_json:
        typer.echo(json.dumps(report | ({"wrong": wrong} if show else {}), indent=2))
        return
    typer.echo(f"Version {report['version']}, told by the wording of the first {tokens} tokens:")
    width = max(map(len, report["probes"]))
    for name, row in report["probes"].items():
        typer.echo(
            f"  {name:{width}}   "
            + "   ".join(
                f"{what.replace('_', ' ')} {one['share']:.0%} "
                f"({one['low']:.0%} to {one['high']:.0%}, {one['probes']} probes)"
                for what, one in row.items()
            )
        )
    if show:
        for one in wrong:
            verb = "answered" if one["refuse"] else "refused"
            typer.echo(f"\n{verb}: {one['prompt']}\n  {one['reply']}")


def teach_refusals(
    harmful: Annotated[
        Path, typer.Option(help="JSON lines with a prompt each that should be refused.")
    ],
    harmless: Annotated[Path, typer.Option(help="The same of look-alikes that deserve an answer.")],
    out: Annotated[Path, typer.Option(help="Where the demonstrations go, for train sft.")],
    version: Annotated[
        int | None,
        typer.Option(min=0, max=o.MOST, help="Who answers; default: the version that speaks."),
    ] = None,
    data: o.Data = None,
    model: o.Model = None,
    only_set: Annotated[
        list[str] | None, typer.Option("--set", help="Only rows whose set is this.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Refusals, at most.")] = 150,
    answers: Annotated[
        float, typer.Option(min=0.5, help="Answers to look-alikes for each refusal, at most.")
    ] = 3.0,
) -> None:
    """Write demonstrations that teach refusing: half of the prompts, the rest is for measuring.

    Harmful messages get a short refusal, look-alikes what the version answers anyway. Then:
    twofold train sft --files OUT, and twofold refusals --untaught.
    """
    from learner.build import load_engine  # noqa: PLC0415 - torch, seconds
    from learner.safety.teaching import demonstrations, is_taught  # noqa: PLC0415

    sets = only_set or []
    refused = _prompts(harmful, sets, limit, is_taught)
    answered = _prompts(harmless, sets, max(1, round(answers * len(refused))), is_taught)
    _check_sets([harmful, harmless], sets)
    base = _model(data, model)
    chosen = _version(data, version, base)
    engine = load_engine(base, EngineConfig())
    if chosen is not None:
        engine.load(chosen)
    found = demonstrations(engine, refused, answered, say=typer.echo)
    rows = [json.dumps(one.row(), ensure_ascii=False) + "\n" for one in found]
    try:
        out.write_text("".join(rows), encoding="utf-8")
    except OSError as error:
        raise LearnerError(f"{out} cannot be written ({error.strerror or error}).") from error
    typer.echo(f"{len(refused)} refusals, {len(found) - len(refused)} answers are in {out}.")


def _model(data: Path | None, named: str | None) -> ModelFolder:
    return resolve_model(model_of(data or DataFolder.default_root(), named))


def _version(data: Path | None, number: int | None, base: ModelFolder) -> PolicyVersion | None:
    """The version that is measured; None is the base model in a folder without a chat.

    Raises LearnerError, or StorageError for a folder that was made with another model.
    """
    folder = DataFolder(data or DataFolder.default_root(), make=False)
    if data is not None and not folder.root.is_dir():
        raise LearnerError(f"There is no data folder {data}: name another one with --data.")
    if not folder.database.is_file():
        if number:
            raise LearnerError(f"There is no version {number} in {folder.root}.")
        return None
    with Reader(folder.database) as reader:
        check_owner(reader, sha256=base.sha256, name=base.name)
        policies = PolicyReader(reader, folder.rounds)
        return policies.current() if number is None else policies.get(PolicyVersionId(number))


def _prompts(
    path: Path, sets: list[str], limit: int, wanted: Callable[[str], bool] = lambda _: True
) -> list[str]:
    """The first ``limit`` different ones. Raises LearnerError where the file has none."""
    from learner.phases.texts import json_rows  # noqa: PLC0415 - torch, seconds

    texts: list[str] = []
    for number, row in json_rows(path):
        if sets and row.get("set") not in sets:
            continue
        text = row.get("prompt")
        if not isinstance(text, str) or not text.strip():
            raise LearnerError(f'{path}, line {number}: expected {{"prompt": "..."}}.')
        texts.append(text)
    if not texts:
        of = f" whose set is {' or '.join(sets)}" if sets else ""
        raise LearnerError(f"{path} has no prompts{of}: name another file, or another --set.")
    found = [text for text in dict.fromkeys(texts) if wanted(text)][:limit]
    if not found:
        raise LearnerError(
            f"Of the {len(texts)} prompts in {path} all are on the other side of the split between "
            "teaching and measuring: add some."
        )
    return found


def _check_sets(paths: list[Path], sets: list[str]) -> None:
    """Raises LearnerError for a set that is in none of the files: it would be left out silently."""
    from learner.phases.texts import rows_of  # noqa: PLC0415 - torch, seconds

    for _ in rows_of(paths, sets):
        pass
