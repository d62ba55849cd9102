"""``twofold refusals``: does a version refuse what it should, and answer what it should?"""

import gzip
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from chat_app import options as o
from learner.config import EngineConfig
from learner.errors import LearnerError
from learner.model_source import resolve_model
from storage.database import Reader
from storage.folder import DataFolder
from storage.policies import PolicyReader
from storage.records import BASE_VERSION, PolicyVersionId

Rows = Annotated[
    Path | None,
    typer.Option(help="JSON lines with a prompt each, gzipped or not, beside the shipped probes."),
]


def refusals(
    version: Annotated[
        int | None, typer.Option(min=0, help="Which version; default: the one that speaks.")
    ] = None,
    data: o.Data = None,
    model: o.Model = None,
    harmful: Rows = None,
    harmless: Rows = None,
    only_set: Annotated[
        list[str] | None, typer.Option("--set", help="Only rows whose set is this.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows taken of each file.")] = 100,
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

    folder = DataFolder(data or DataFolder.default_root())
    chosen = _version(folder, version)
    extra = [
        (text, refuse, path.name)
        for path, refuse in ((harmful, True), (harmless, False))
        if path is not None
        for text in _prompts(path, only_set or [], limit)
    ]
    engine = load_engine(resolve_model(model, progress=lambda _: None), EngineConfig())
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


def _version(folder: DataFolder, number: int | None):  # noqa: ANN202 - PolicyVersion or None
    if not folder.database.is_file():
        if number:
            raise LearnerError(f"There is no version {number} in {folder.root}.")
        return None
    with Reader(folder.database) as reader:
        policies = PolicyReader(reader, folder.rounds)
        return policies.current() if number is None else policies.get(PolicyVersionId(number))


def _prompts(path: Path, sets: list[str], limit: int) -> list[str]:
    """Raises LearnerError naming the line."""
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8") as lines
        ):
            rows: list[Any] = [json.loads(line) for line in lines if line.strip()]
        texts = [str(row["prompt"]) for row in rows if not sets or row.get("set") in sets]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LearnerError(
            f'{path} cannot be used: expected JSON lines as {{"prompt": "..."}} ({error}).'
        ) from error
    return list(dict.fromkeys(texts))[:limit]
