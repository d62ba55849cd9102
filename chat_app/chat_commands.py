"""``twofold serve`` and ``twofold chat``: the page, and the terminal.

The two functions' parameters are the command line; what was given of them is read from the context,
once for both (``_settings_of``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from chat_app import options as o
from chat_app.guard import LOCAL_NAMES
from chat_app.saved_settings import read_saved, with_saved
from chat_app.settings import Language, Learning, ServeOptions, Settings
from learner.config import (
    AskConfig,
    AskMode,
    Decoder,
    EngineConfig,
    OnlineConfig,
    Prompting,
    QueryRule,
)
from learner.update_config import UpdateConfig, UpdateRuleName
from storage.folder import SETTINGS_FILE, DataFolder
from storage.records import Sampling

Start = Callable[[Settings, ServeOptions], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Starts:
    """What a command hands over to, once it knows the settings; ``app.py`` gives them."""

    serve: Start
    chat: Start


def serve(
    ctx: typer.Context,
    data: o.Data = None,
    model: o.Model = None,
    port: o.Port = 7860,
    host: o.Host = "127.0.0.1",
    language: o.PageLanguage = Language.AUTO,
    open_browser: o.Open = True,
    demo: o.Demo = False,
    api: o.Api = False,
    api_log: o.ApiLog = False,
    ask: o.Ask = AskMode.AUTO,
    budget: o.Budget = o.ASKING.budget_share,
    query: o.Query = QueryRule.REGRET_AWARE,
    learn: o.Learn = Learning.ON,
    update: o.Update = UpdateRuleName.DPO,
    min_picks: o.MinPicks = o.ONLINE.min_preferences,
    keep_versions: o.KeepVersions = False,
    candidates: o.Candidates = o.ASKING.candidates,
    temperature: o.Temperature = o.SAMPLING.temperature,
    top_k: o.TopK = o.SAMPLING.top_k,
    top_p: o.TopP = o.SAMPLING.top_p,
    max_new_tokens: o.MaxNewTokens = o.SAMPLING.max_new_tokens,
    seed: o.Seed = 0,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    threads: o.Threads = 0,
    decoder: o.DecoderChoice = Decoder.AUTO,
    vllm_memory: o.VllmMemory = o.ENGINE.vllm_memory,
    prompting: o.PromptingChoice = Prompting.AUTO,
) -> None:
    """Chat in the browser; the default command."""
    if host not in LOCAL_NAMES:
        raise typer.BadParameter(
            "twofold answers only to this computer: leave --host out, or name 127.0.0.1."
        )
    starts: Starts = ctx.find_root().obj
    options = ServeOptions(port=port, open_browser=open_browser, demo=demo)
    starts.serve(_settings_of(ctx), options)


def chat(
    ctx: typer.Context,
    data: o.Data = None,
    model: o.Model = None,
    language: o.PageLanguage = Language.AUTO,
    demo: o.Demo = False,
    ask: o.Ask = AskMode.AUTO,
    budget: o.Budget = o.ASKING.budget_share,
    query: o.Query = QueryRule.REGRET_AWARE,
    learn: o.Learn = Learning.ON,
    update: o.Update = UpdateRuleName.DPO,
    min_picks: o.MinPicks = o.ONLINE.min_preferences,
    keep_versions: o.KeepVersions = False,
    candidates: o.Candidates = o.ASKING.candidates,
    temperature: o.Temperature = o.SAMPLING.temperature,
    top_k: o.TopK = o.SAMPLING.top_k,
    top_p: o.TopP = o.SAMPLING.top_p,
    max_new_tokens: o.MaxNewTokens = o.SAMPLING.max_new_tokens,
    seed: o.Seed = 0,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    threads: o.Threads = 0,
    decoder: o.DecoderChoice = Decoder.AUTO,
    vllm_memory: o.VllmMemory = o.ENGINE.vllm_memory,
    prompting: o.PromptingChoice = Prompting.AUTO,
) -> None:
    """Chat in this terminal; where two replies are shown, a key picks one.

    What is said and chosen is kept as on the page, and learned from.
    """
    starts: Starts = ctx.find_root().obj
    starts.chat(_settings_of(ctx), ServeOptions(demo=demo))


def _settings_of(ctx: typer.Context) -> Settings:
    """What was given, over what was saved on the Settings page, over the defaults."""
    given = ctx.params
    with o.bad_values():
        settings = Settings(
            data=given["data"] or DataFolder.default_root(),
            learning=given["learn"],
            ask=AskConfig(
                mode=given["ask"],
                candidates=given["candidates"],
                budget_share=given["budget"],
                query=given["query"],
            ),
            engine=EngineConfig(
                sampling=Sampling(
                    **_given(given, "temperature", "top_k", "top_p", "max_new_tokens")
                ),
                **_given(
                    given,
                    "seed",
                    "device",
                    "dtype",
                    "threads",
                    "decoder",
                    "vllm_memory",
                    "prompting",
                ),
            ),
            online=OnlineConfig(
                seed=given["seed"],
                min_preferences=given["min_picks"],
                update=UpdateConfig(rule=given["update"]),
            ),
            **_given(given, "model", "language", "api", "api_log", "keep_versions"),
        )
        return settings if given["demo"] else with_saved(settings, unspoken(ctx, settings.data))


def _given(given: dict[str, Any], *names: str) -> dict[str, Any]:
    """Those of ``names`` that the command has as options."""
    return {name: given[name] for name in names if name in given}


def unspoken(ctx: typer.Context, data: Path) -> dict[str, object]:
    """What was set on the Settings page and neither by a flag nor by the environment."""
    saved = read_saved(data / SETTINGS_FILE).given
    return {name: one for name, one in saved.items() if _is_unspoken(ctx, name)}


def _is_unspoken(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is None or source.name == "DEFAULT"  # None: the command has no such option
