"""What a speedrun measures of each version: the same prompts, texts and probes for all."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from learner.engine.backbone import Backbone
from learner.engine.local import LocalEngine
from learner.errors import PromptTooLongError
from learner.phases.dialogues import read_dialogues, sequences_of
from learner.phases.packing import learned_logprobs, pack
from learner.phases.pretrain import neutral_perplexity
from learner.phases.speedrun.material import Material, read_rows
from learner.safety.report import measure_refusals
from storage.records import Message, PolicyVersion, Role, Sampling

ROW_TOKENS = 512
AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureConfig:
    dialogues: int = 96
    """Held-out dialogues whose loss is measured."""
    prompts: int = 64
    """Prompts of the shared data replied to, for win rates; they are not published."""
    samples: int = 4
    """Prompts of our own whose replies stand in the report."""
    probes: int = 40
    """Harmful prompts, and as many harmless look-alikes, beside the shipped probes."""
    max_new_tokens: int = 96
    probe_tokens: int = 48
    seed: int = 0


def measure_version(
    engine: LocalEngine, version: PolicyVersion, material: Material, config: MeasureConfig
) -> dict[str, Any]:
    """Everything that the report says of one version, as JSON has it."""
    backbone = engine.backbone
    backbone.ensure_resident(version)
    with torch.no_grad(), backbone.speaking(version.id):
        figures: dict[str, Any] = {
            "version": version.id,
            "neutral_perplexity": neutral_perplexity(backbone),
            "held_out_loss": held_out_loss(backbone, material.measured_dialogues, config),
        }
    engine.load(version)
    prompts = [row["prompt"] for row in read_rows(material.measured_prompts)][: config.prompts]
    figures["replies"] = _replies(engine, prompts, config)
    figures["samples"] = _replies(engine, guard_prompts(config.samples), config)
    extra = [
        (row["prompt"], refuse, name)
        for path, refuse, name in (
            (material.harmful, True, "harmful"),
            (material.look_alikes, False, "look-alikes"),
        )
        for row in read_rows(path)[: config.probes]
    ]
    refusals = measure_refusals(engine, extra, max_new_tokens=config.probe_tokens)
    figures["refusals"] = refusals["probes"]
    return figures


def guard_prompts(count: int) -> list[str]:
    """The first of the gate's own prompts: rows of other people's data are not published."""
    text = files("learner.guard").joinpath("prompts.txt").read_text(encoding="utf-8")
    return text.splitlines()[:count]


def measured_once(
    path: Path,
    engine: LocalEngine,
    version: PolicyVersion,
    material: Material,
    config: MeasureConfig,
) -> dict[str, Any]:
    """The same, kept in ``path``: a speedrun that was stopped does not measure anew."""
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    figures = measure_version(engine, version, material, config)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    draft.replace(path)
    return figures


def held_out_loss(backbone: Backbone, path: Path, config: MeasureConfig) -> float:
    """Mean negative log-likelihood of the reply tokens of dialogues that nobody trained on."""
    dialogues = read_dialogues([path]).dialogues[: config.dialogues]
    sequences = [s for one in dialogues for s in sequences_of(backbone, one, ROW_TOKENS)]
    total = sum(
        -float(learned_logprobs(backbone, row).cpu().double().sum())
        for row in pack(sequences, ROW_TOKENS)
    )
    return total / sum(one.learned for one in sequences)


def _replies(
    engine: LocalEngine, prompts: Sequence[str], config: MeasureConfig
) -> list[dict[str, Any]]:
    """One reply to each prompt that fits, drawn as a person would be served."""
    sampling = Sampling(max_new_tokens=config.max_new_tokens)
    asked = [p for p in prompts if _fits(engine, p, sampling)]
    found: list[dict[str, Any]] = []
    for start in range(0, len(asked), AT_ONCE):
        some = asked[start : start + AT_ONCE]
        seeds = [config.seed + start + i for i in range(len(some))]
        batch = engine.start_many([_said(p) for p in some], 1, sampling, seeds)
        while batch.running:
            batch.step()
        found += [
            {"prompt": prompt, "reply": one.text, "tokens": len(one.token_ids)}
            for prompt, one in zip(some, batch.completions(), strict=True)
        ]
    return found


def _fits(engine: LocalEngine, prompt: str, sampling: Sampling) -> bool:
    try:
        engine.render(_said(prompt), sampling)
    except PromptTooLongError:
        return False
    return True


def _said(prompt: str) -> tuple[Message, ...]:
    return (Message(role=Role.USER, content=prompt),)
