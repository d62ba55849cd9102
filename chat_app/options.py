"""The command line's options, each once: its flag, its ``TWOFOLD_*`` variable, its help."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from chat_app.settings import Language, Learning
from learner.config import (
    AskConfig,
    AskMode,
    Decoder,
    EngineConfig,
    OnlineConfig,
    Prompting,
    QueryRule,
)
from learner.update_config import UpdateRuleName
from storage.records import Sampling

_REPLIES = "How replies are written"
MOST = 2**63 - 1
"""The largest number that the database can hold."""


def at_home(path: Path | None) -> Path | None:
    """``~`` is the person's folder, also where no shell has said so, as in --data=~/chats."""
    try:
        return None if path is None else path.expanduser()
    except RuntimeError as error:
        raise typer.BadParameter(f"{path} names nobody's folder here.") from error


Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        envvar="TWOFOLD_HOME",
        callback=at_home,
        help="Folder for chats, picks and versions. Default: where this system keeps user data.",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        envvar="TWOFOLD_MODEL",
        help="A folder or a Hugging Face id with safetensors and a chat template. "
        "Default: built-in, which is SmolLM2-135M-Instruct.",
        show_default=False,
    ),
]
PageLanguage = Annotated[
    Language,
    typer.Option(
        "--language", envvar="TWOFOLD_LANGUAGE", help="Of the page; auto is the system's."
    ),
]
Ask = Annotated[
    AskMode,
    typer.Option(envvar="TWOFOLD_ASK", help="When to show two replies instead of one."),
]
Query = Annotated[
    QueryRule, typer.Option(envvar="TWOFOLD_QUERY", help="Which pair is worth asking about.")
]
Learn = Annotated[
    Learning,
    typer.Option(
        envvar="TWOFOLD_LEARN",
        help="Learn with policy and reward ensemble, with the ensemble only, or not at all.",
    ),
]
Update = Annotated[
    UpdateRuleName,
    typer.Option(
        "--update",
        envvar="TWOFOLD_UPDATE",
        help="How picks move the policy's weights (docs/how-it-learns.md, section 4).",
    ),
]
Budget = Annotated[
    float,
    typer.Option(
        envvar="TWOFOLD_BUDGET",
        min=0.0,
        max=1.0,
        help="Ceiling on the share of replies that become questions, after the first dozen picks; "
        "one in twenty is asked about in any case, to check.",
    ),
]
MinPicks = Annotated[
    int,
    typer.Option(envvar="TWOFOLD_MIN_PICKS", min=1, max=32, help="New picks that start a lesson."),
]
Port = Annotated[
    int,
    typer.Option(
        envvar="TWOFOLD_PORT", min=0, max=65535, help="Port of the page; 0 takes a free one."
    ),
]
Host = Annotated[
    str,
    typer.Option(envvar="TWOFOLD_HOST", help="Only this computer may be named: 127.0.0.1."),
]
Open = Annotated[
    bool,
    typer.Option("--open/--no-open", envvar="TWOFOLD_OPEN", help="Open the page in the browser."),
]
Api = Annotated[
    bool,
    typer.Option(
        "--api/--no-api",
        envvar="TWOFOLD_API",
        help="Answer programs on this computer under /v1, as OpenAI's chat completions; the key "
        "is the file api-key in the data folder.",
    ),
]
ApiLog = Annotated[
    bool,
    typer.Option(
        "--api-log/--no-api-log",
        envvar="TWOFOLD_API_LOG",
        help="Keep what those programs say, as chats that are not learned from.",
    ),
]
KeepVersions = Annotated[
    bool,
    typer.Option(
        "--keep-versions/--no-keep-versions",
        envvar="TWOFOLD_KEEP_VERSIONS",
        help="Keep every version on disk, some 60 MB each with the built-in model, instead of "
        "fewer and fewer of the older ones.",
    ),
]
Demo = Annotated[
    bool,
    typer.Option("--demo", help="Canned replies without a model, nothing is kept."),
]
Candidates = Annotated[
    int,
    typer.Option(
        envvar="TWOFOLD_CANDIDATES",
        help="Replies drafted for each message.",
        rich_help_panel=_REPLIES,
    ),
]
Temperature = Annotated[
    float,
    typer.Option(
        envvar="TWOFOLD_TEMPERATURE", help="0 is greedy, 5 is wild.", rich_help_panel=_REPLIES
    ),
]
TopK = Annotated[
    int,
    typer.Option(
        envvar="TWOFOLD_TOP_K", help="Likeliest tokens drawn from.", rich_help_panel=_REPLIES
    ),
]
TopP = Annotated[
    float,
    typer.Option(
        envvar="TWOFOLD_TOP_P",
        help="Share of probability drawn from.",
        rich_help_panel=_REPLIES,
    ),
]
MaxNewTokens = Annotated[
    int,
    typer.Option(
        envvar="TWOFOLD_MAX_NEW_TOKENS",
        help="Longest reply, in tokens.",
        rich_help_panel=_REPLIES,
    ),
]
Seed = Annotated[int, typer.Option(envvar="TWOFOLD_SEED", help="All randomness follows from it.")]
Device = Annotated[str, typer.Option(envvar="TWOFOLD_DEVICE", help="auto, cpu, cuda or mps.")]
Dtype = Annotated[str, typer.Option(envvar="TWOFOLD_DTYPE", help="auto, float32 or bfloat16.")]
DecoderChoice = Annotated[
    Decoder,
    typer.Option(
        "--engine",
        "--decoder",
        envvar=["TWOFOLD_ENGINE", "TWOFOLD_DECODER"],
        help="What writes replies. native is compiled for this processor; auto takes it where it "
        "fits the model; vllm is for GPUs, if it is installed.",
    ),
]
PromptingChoice = Annotated[
    Prompting,
    typer.Option(
        "--prompting",
        envvar="TWOFOLD_PROMPTING",
        help="few-shot has the model go on writing a dialogue, as a base model reads it; auto does "
        "so where a model has no chat template.",
    ),
]
VllmMemory = Annotated[
    float,
    typer.Option(
        "--vllm-memory",
        envvar="TWOFOLD_VLLM_MEMORY",
        help="Share of the GPU's memory for vLLM; learning needs some of the rest.",
    ),
]
Threads = Annotated[
    int, typer.Option(envvar="TWOFOLD_THREADS", min=0, help="CPU threads; 0 takes all cores.")
]
AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]

SAMPLING = Sampling()
"""The defaults shown in the help, so that they are written down once."""
ASKING = AskConfig()
ENGINE = EngineConfig()
ONLINE = OnlineConfig()


@contextmanager
def bad_values() -> Generator[None]:
    """A value that the settings refuse is a mistake on the command line."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
