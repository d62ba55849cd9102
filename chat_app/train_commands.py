"""``twofold train``: one training phase, from settings to a version."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
import yaml

from chat_app import options as o
from chat_app.errors import ChatError
from chat_app.saved_settings import model_of
from learner.config import EngineConfig, Prompting
from learner.model_source import resolve_model
from storage.database import Reader
from storage.folder import DataFolder
from storage.phases import PhaseReader
from storage.records import PolicyVersionId

EXIT_CODE_FILE = "TWOFOLD_EXIT_CODE_FILE"
"""Where the main one of several processes writes what the command comes to."""
PATIENCE_S = 24 * 3600
"""How long processes may take to end after Ctrl+C: a step and a checkpoint, or a measurement."""
SETTINGS_FOLLOW = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Of the command: what it does not know are settings of the phase."""


def train(
    ctx: typer.Context,
    phase: Annotated[str, typer.Argument(help="pretrain, sft, reward or ppo.")],
    config: Annotated[
        Path | None, typer.Option(help="YAML file of settings; flags win over it.")
    ] = None,
    data: o.Data = None,
    model: o.Model = None,
    parent: Annotated[
        int | None,
        typer.Option("--from", min=0, max=o.MOST, help="Version to go on from, not the live one."),
    ] = None,
    fresh: Annotated[bool, typer.Option(help="Begin anew where it could go on.")] = False,
    show: Annotated[bool, typer.Option(help="Print the settings in full, and end.")] = False,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Folder for TensorBoard, beside the database.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Train in so many processes.")] = 1,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    threads: o.Threads = 0,
    prompting: o.PromptingChoice = Prompting.AUTO,
    as_json: o.AsJson = False,
) -> None:
    """Run a training phase, or go on with it: --SETTING VALUE sets what YAML can set.

    For example: twofold train sft --files talks.jsonl --epochs 2 --lora.rank 8 --make-live true.
    The result is a version of the data folder, which no chat may use meanwhile.
    """
    from learner.phases.settings import merged, plain, read_flags, read_yaml  # noqa: PLC0415

    given: Mapping[str, Any] = read_flags(ctx.args)
    if config is not None:
        given = merged(read_yaml(config), given)
    if processes > 1 and "WORLD_SIZE" not in os.environ:
        _launch(processes)
        return
    from learner.phases.command import TrainRequest, settings_of  # noqa: PLC0415 - torch, seconds
    from learner.phases.command import train as run  # noqa: PLC0415
    from learner.phases.watchers import TensorBoardWatcher, TerminalWatcher  # noqa: PLC0415

    settings = settings_of(phase, given)
    if show:
        typer.echo(yaml.safe_dump(plain(settings), sort_keys=False), nl=False)
        return
    extra = [] if tensorboard is None else [TensorBoardWatcher(tensorboard)]
    root = data or DataFolder.default_root()
    named = model_of(root, model)
    outcome = run(
        TrainRequest(
            kind=phase,
            given=given,
            data=root,
            model=resolve_model(named, progress=lambda line: typer.echo(line, err=True)),
            engine=EngineConfig(device=device, dtype=dtype, threads=threads, prompting=prompting),
            parent=None if parent is None else PolicyVersionId(parent),
            fresh=fresh,
        ),
        [TerminalWatcher(), *extra],
    )
    if os.environ.get("RANK", "0") != "0":
        return
    if as_json:
        said = {
            "phase": phase,
            "accepted": outcome.accepted,
            "reason": outcome.reason,
            "version": outcome.version,
            "folder": None if outcome.folder is None else str(outcome.folder),
            "steps": outcome.steps,
            "seconds": outcome.seconds,
            "metrics": dict(outcome.metrics),
        }
        typer.echo(json.dumps(said))
    else:
        typer.echo(f"{phase}: {outcome.reason}")
    _end_with(0 if outcome.accepted else 1)


def runs(data: o.Data = None, as_json: o.AsJson = False) -> None:
    """List the training phases of a data folder, and what came of them."""
    folder = DataFolder(data or DataFolder.default_root(), make=False)
    with Reader(folder.database) as reader:
        phases = PhaseReader(reader)
        rows = [
            {
                "run": one.id,
                "phase": one.start.kind,
                "began_at": one.began_at.isoformat(timespec="seconds"),
                "parent": one.start.parent,
                "status": one.status.value,
                "version": one.end.version if one.end else None,
                "folder": one.end.product if one.end else None,
                "steps": max((c[-1][0] for c in phases.metrics(one.id).values()), default=0),
                "seconds": round(one.end.seconds, 1) if one.end else None,
            }
            for one in phases.runs()
        ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        typer.echo("No training phase was run here yet: see `twofold train --help`.")
    for row in rows:
        came = row["folder"] or (f"v{row['version']}" if row["version"] is not None else "")
        typer.echo(
            f"{row['run']:<4}{row['phase']:10}from v{row['parent']:<5}{row['steps']:>6} steps  "
            f"{row['status']:10}{came}".rstrip()
        )


def speedrun(
    plan: Annotated[
        str, typer.Option(help="full (over two hours on two cores), short, or a YAML file.")
    ] = "full",
    shared: Annotated[
        Path, typer.Option(envvar="TWOFOLD_DATA", help="Folder of the shared preference data.")
    ] = Path("../shared/data"),
    data: Annotated[
        Path,
        typer.Option(callback=o.at_home, help="Folder of its own; the same command goes on in it."),
    ] = Path("speedrun"),
    out: Annotated[Path, typer.Option(help="Folder for speedrun.md and speedrun.json.")] = Path(
        "docs"
    ),
    model: o.Model = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    threads: o.Threads = 0,
) -> None:
    """All phases in a row on the shared data, pretrain to ppo, and a report on each."""
    from learner.machine import machine_report  # noqa: PLC0415 - torch, seconds
    from learner.phases.speedrun.plan import read_plan  # noqa: PLC0415
    from learner.phases.speedrun.report import as_json, as_markdown  # noqa: PLC0415
    from learner.phases.speedrun.run import speedrun as run  # noqa: PLC0415
    from learner.phases.watchers import TerminalWatcher  # noqa: PLC0415

    settings = read_plan(plan)
    if not out.is_dir():
        raise ChatError(f"There is no folder {out} for the report: make it, or name another.")
    engine = EngineConfig(device=device, dtype=dtype, threads=threads)

    def say(line: str) -> None:
        typer.echo(line, err=True)

    result = run(
        settings,
        shared=shared,
        data=data,
        model=resolve_model(model, progress=say),
        engine=engine,
        watchers=[TerminalWatcher()],
        say=say,
    )
    command = f"twofold speedrun --plan {plan}"
    machine = machine_report(engine)
    text = as_markdown(result, command, machine)
    (out / "speedrun.md").write_text(text, encoding="utf-8")
    (out / "speedrun.json").write_text(as_json(result, command, machine), encoding="utf-8")
    typer.echo(f"The report is in {out / 'speedrun.md'}.")
    typer.echo(f"Chat with what it made: twofold serve --data {data}")


def _launch(processes: int) -> None:
    """The same command line in several processes that train together.

    With PyTorch's launcher, as `accelerate launch` does on graphics cards; on processors that one
    would need MPI. Each takes its share of the cores.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--shutdown_timeout", str(PATIENCE_S)]
    command += ["--nproc_per_node", str(processes), "-m", "app"]
    command += _without_processes(sys.argv[1:])
    cores = max(1, (os.cpu_count() or 1) // processes)
    surroundings = {"OMP_NUM_THREADS": str(cores)} | os.environ
    with TemporaryDirectory() as folder:
        said = Path(folder) / "exit-code"
        surroundings[EXIT_CODE_FILE] = str(said)
        launcher = subprocess.Popen(command, env=surroundings)  # noqa: S603 - our own command
        # Ctrl+C reaches the launcher, too, which tells the processes: they end between two steps.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            failed = launcher.wait() != 0
        finally:
            signal.signal(signal.SIGINT, before)
        if said.is_file():
            raise typer.Exit(int(said.read_text(encoding="utf-8")))
    if failed:
        raise ChatError(
            f"Training in {processes} processes ended early: the lines above say why, and the same "
            "command goes on from the last checkpoint."
        )


def _end_with(code: int) -> None:
    """What the command comes to. To PyTorch's launcher, which only knows success and failure, a
    refused version is none of its business: it is told in a file."""
    told = os.environ.get(EXIT_CODE_FILE)
    if told is not None:
        Path(told).write_text(str(code), encoding="utf-8")
    elif code:
        raise typer.Exit(code)


def _without_processes(arguments: list[str]) -> list[str]:
    kept: list[str] = []
    rest = iter(arguments)
    for one in rest:
        if one == "--processes":
            next(rest, None)
        elif not one.startswith("--processes="):
            kept.append(one)
    return kept
