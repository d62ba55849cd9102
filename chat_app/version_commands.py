"""``twofold versions export``: a version as files that other programs load."""

from pathlib import Path
from typing import Annotated

import typer

from chat_app import options as o
from chat_app.errors import ChatError
from chat_app.saved_settings import model_of
from learner.config import MergedDtype
from learner.model_source import resolve_model
from storage.database import Reader
from storage.folder import DataFolder
from storage.policies import PolicyReader
from storage.records import PolicyVersionId


def export(
    merged: Annotated[
        Path, typer.Option(help="New folder for the whole model: base and adapter in one.")
    ],
    version: Annotated[
        int | None, typer.Option(min=1, max=o.MOST, help="Which version. Default: the live one.")
    ] = None,
    dtype: Annotated[
        MergedDtype, typer.Option(help="Type of the weights; base is that of the base model.")
    ] = MergedDtype.BASE,
    data: o.Data = None,
    model: o.Model = None,
) -> None:
    """Write a version as a model folder that transformers and others load by itself.

    Weights as safetensors, tokenizer, chat template and a model card; also while a chat runs.
    """
    from chat_app.merged_model import write_merged  # noqa: PLC0415 - half a second

    folder = DataFolder(data or DataFolder.default_root(), make=False)
    with Reader(folder.database) as reader:
        policies = PolicyReader(reader, folder.rounds)
        chosen = policies.current().id if version is None else PolicyVersionId(version)
        if chosen == 0:
            raise ChatError("The untrained model speaks, and it needs no export: name a --version.")
        base = resolve_model(
            model_of(folder.root, model), progress=lambda line: typer.echo(line, err=True)
        )
        write_merged(policies, chosen, base, merged.expanduser(), dtype)
    size = sum(path.stat().st_size for path in merged.expanduser().iterdir())
    typer.echo(f"Version {chosen} as a whole model ({size / 2**20:.0f} MB): {merged}")
