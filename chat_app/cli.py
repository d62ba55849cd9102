"""The ``twofold`` command: parses, builds ``Settings``, and hands over to what does the work.

``simulate`` and ``reward-eval`` are contracts that others script against: their options and what
they write stay. What a person can mend is one sentence on standard error and exit status 2.
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from chat_app import chat_commands, data_commands, safety_commands, train_commands, version_commands
from chat_app import options as o
from chat_app.chat_commands import Start, Starts, unspoken
from chat_app.environment import environment
from chat_app.errors import ChatError
from chat_app.lessons import learn_from_folder
from chat_app.saved_settings import with_saved
from chat_app.settings import Learning, Settings
from chat_app.simulate.errors import SimulationError
from chat_app.simulate.plan import SimulatedAsk, SimulationPlan
from learner.config import (
    AskConfig,
    AskMode,
    EngineConfig,
    OnlineConfig,
    QueryRule,
)
from learner.errors import LearnerError
from learner.evaluation.options import RewardEvalError, RewardEvalOptions
from learner.model_source import resolve_model
from learner.update_config import UpdateConfig, UpdateRuleName
from storage.database import Reader, Store
from storage.errors import StorageError
from storage.folder import DataFolder
from storage.policies import PolicyReader
from storage.policy_registry import PolicyRegistry
from storage.records import PolicyVersionId, Sampling

KNOWN_ERRORS = (ChatError, LearnerError, RewardEvalError, SimulationError, StorageError)
"""Their texts are sentences for the person; anything else is a bug and keeps its traceback."""


class _ServeByDefault(TyperGroup):
    """``twofold`` and ``twofold --port 80`` mean ``twofold serve``."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        is_for_group = args and (not args[0].startswith("-") or args[0] == "--help")
        return super().parse_args(ctx, args if is_for_group else ["serve", *args])


cli = typer.Typer(
    cls=_ServeByDefault,
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=False,
    help="A chat assistant on your own machine that learns from the reply you pick.",
)
versions = typer.Typer(help="The policy versions of a data folder.", no_args_is_help=True)
database = typer.Typer(help="The database of a data folder.", no_args_is_help=True)
cli.command("serve")(chat_commands.serve)
cli.command("chat")(chat_commands.chat)
cli.add_typer(versions, name="versions")
versions.command("export")(version_commands.export)
cli.command("export")(data_commands.export)
cli.command("import")(data_commands.import_)
cli.command("backup")(data_commands.backup)
cli.command("refusals")(safety_commands.refusals)
cli.command("teach-refusals")(safety_commands.teach_refusals)
cli.command("train", context_settings=train_commands.SETTINGS_FOLLOW)(train_commands.train)
cli.command("phases")(train_commands.runs)
cli.command("speedrun")(train_commands.speedrun)
cli.add_typer(database, name="db")


def run(serve_page: Start, args: list[str] | None = None, *, chat: Start | None = None) -> None:
    """Run the command line and exit: 0 when done, 2 where the person has something to mend.

    ``serve_page`` and ``chat`` are given by ``app.py``, which alone knows how to build the whole;
    without ``chat`` the page stands in its place.
    """
    try:
        cli(args, obj=Starts(serve=serve_page, chat=chat or serve_page), prog_name="twofold")
    except KNOWN_ERRORS as error:
        typer.echo(f"twofold: {error}", err=True)
        sys.exit(2)


@cli.command()
def simulate(
    rater: Annotated[Path, typer.Option(help="Python file with prefer(), perhaps score().")],
    prompts: Annotated[Path, typer.Option(help="JSON lines: prompt or messages.")],
    turns: Annotated[int, typer.Option(min=1, help="Messages said.")],
    seed: Annotated[int, typer.Option(help="The run repeats exactly under it.")],
    out: Annotated[Path, typer.Option(help="Folder for summary.json and curve.png.")],
    eval_prompts: Annotated[
        Path | None, typer.Option(help="JSON lines to measure on. Default: shipped ones.")
    ] = None,
    ask: Annotated[SimulatedAsk, typer.Option()] = SimulatedAsk.AUTO,
    query: Annotated[QueryRule, typer.Option()] = QueryRule.REGRET_AWARE,
    learn: Annotated[Learning, typer.Option()] = Learning.ON,
    update: o.Update = UpdateRuleName.DPO,
    max_new_tokens: o.MaxNewTokens = o.SAMPLING.max_new_tokens,
    model: o.Model = None,
) -> None:
    """Let a simulated person chat and pick, and measure what the loop learns."""
    with o.bad_values():
        settings = Settings(
            data=out / "data",
            model=model,
            learning=learn,
            ask=AskConfig(mode=AskMode(ask.value), query=query),
            engine=EngineConfig(sampling=Sampling(max_new_tokens=max_new_tokens), seed=seed),
            online=OnlineConfig(seed=seed, update=UpdateConfig(rule=update)),
        )
        plan = SimulationPlan(
            rater=rater,
            prompts=prompts,
            eval_prompts=eval_prompts,
            turns=turns,
            seed=seed,
            out=out,
        )
    from chat_app.simulate.command import simulate_into  # noqa: PLC0415 - torch, seconds

    simulate_into(plan, settings, resolve_model(model, progress=say), say)


@cli.command("reward-eval")
def reward_eval(
    pairs: Annotated[Path, typer.Option(help="JSON lines, may be gzipped.")],
    query: Annotated[QueryRule, typer.Option(help="How the next pair is chosen.")],
    labels: Annotated[str, typer.Option(help="Label counts to report, as 25,50,100,200.")],
    seeds: Annotated[int, typer.Option(min=2, help="Number of seeds.")],
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    only_set: Annotated[
        str | None, typer.Option("--set", help="Only rows whose set is this.")
    ] = None,
    components: Annotated[
        int | None, typer.Option(min=0, help="Hidden components kept; 0 leaves style alone.")
    ] = None,
    layer: Annotated[
        int | None, typer.Option(min=1, help="Layer the hidden states come from.")
    ] = None,
    model: o.Model = None,
) -> None:
    """Replay recorded choices: how fast does the reward ensemble learn them?"""
    with o.bad_values():
        options = RewardEvalOptions(
            pairs=pairs,
            query=query,
            labels=_counts(labels),
            seeds=seeds,
            out=out,
            only_set=only_set,
            components=components,
            layer=layer,
        )
    from learner.evaluation.replay import replay_into  # noqa: PLC0415 - torch, seconds

    replay_into(options, resolve_model(model, progress=say), say)


@cli.command()
def learn(
    ctx: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="One round, then end.")] = False,
    data: o.Data = None,
    model: o.Model = None,
    seed: o.Seed = 0,
    update: o.Update = UpdateRuleName.DPO,
    keep_versions: o.KeepVersions = False,
) -> None:
    """Learn from the picks of a data folder that no twofold is using."""
    settings = Settings(
        data=data or DataFolder.default_root(),
        model=model,
        keep_versions=keep_versions,
        engine=EngineConfig(seed=seed),
        online=OnlineConfig(seed=seed, update=UpdateConfig(rule=update)),
    )
    # A person who asks for a lesson wants it from whatever there is.
    settings = with_saved(settings, unspoken(ctx, settings.data) | {"min_picks": 1})
    learn_from_folder(
        settings, resolve_model(settings.model, progress=say), once=once, say=typer.echo
    )


@cli.command()
def env(data: o.Data = None, model: o.Model = None, as_json: o.AsJson = False) -> None:
    """Tell versions, hardware, model and data folder, for a bug report."""
    report = environment(Settings(data=data or DataFolder.default_root(), model=model))
    if as_json:
        typer.echo(json.dumps(report, indent=2))
        return
    for name, value in report.items():
        typer.echo(f"{name:14}{value}")


@versions.command("list")
def list_versions(data: o.Data = None, as_json: o.AsJson = False) -> None:
    """List the versions, the live one marked."""
    folder = DataFolder(data or DataFolder.default_root(), make=False)
    with Reader(folder.database) as reader:
        policies = PolicyReader(reader, folder.rounds)
        live, known, pruned = policies.current().id, policies.versions(), policies.pruned()
    rows = [
        {
            "version": version.id,
            "parent": version.parent,
            "live": version.id == live,
            "kept": version.id not in set(pruned),
            "created_at": version.created_at.isoformat(timespec="seconds"),
        }
        for version in known
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        origin = "base model" if row["parent"] is None else f"from v{row['parent']}"
        mark = "live" if row["live"] else "" if row["kept"] else "not kept"
        typer.echo(f"v{row['version']:<5}{origin:12}{row['created_at']}  {mark}".rstrip())


@versions.command("rollback")
def roll_back(
    version: Annotated[int, typer.Argument(min=0, max=o.MOST)], data: o.Data = None
) -> None:
    """Let an earlier (or later) version speak from the next reply on; also while a chat runs."""
    folder = DataFolder(data or DataFolder.default_root(), make=False)
    with Reader(folder.database) as reader:
        reader.read()  # a folder without a chat gets a sentence, not a new database
    with Store(folder.database) as store:
        policies = PolicyRegistry(store, folder.rounds)
        policies.activate(PolicyVersionId(version), reason="chosen on the command line")
    typer.echo(f"Version {version} speaks from the next reply on.")


@database.command("path")
def path_of_database(data: o.Data = None) -> None:
    """Print where the database is."""
    typer.echo(DataFolder(data or DataFolder.default_root(), make=False).database)


def say(line: str) -> None:
    """Tell of progress; standard output is for what a command answers."""
    typer.echo(line, err=True)


def _counts(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(
            f"labels must be numbers with commas, as 25,50,100, got {text!r}"
        ) from error
