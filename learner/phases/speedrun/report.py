"""The report of a speedrun: Markdown for people, JSON for scripts."""

import json
from collections.abc import Mapping
from typing import Any

from learner.phases.speedrun.run import SpeedrunResult

TITLES = {
    "base": "base",
    "pretrain": "pretraining",
    "sft": "fine-tuning",
    "reward": "reward model",
    "ppo": "PPO",
}


def as_json(result: SpeedrunResult, command: str, machine: Mapping[str, str]) -> str:
    said = {
        "plan": result.plan,
        "model": result.model,
        "command": command,
        "machine": dict(machine),
        "phases": {
            kind: {
                "version": one.version,
                "steps": one.steps,
                "seconds": round(one.seconds, 1),
                "metrics": dict(one.metrics),
            }
            for kind, one in result.outcomes.items()
        },
        "figures": {
            name: {key: value for key, value in one.items() if key != "replies"}
            for name, one in result.figures.items()
        },
        "rater": dict(result.rater),
    }
    return json.dumps(said, indent=1) + "\n"


def as_markdown(result: SpeedrunResult, command: str, machine: Mapping[str, str]) -> str:
    parts = [
        "# Speedrun: from the base to the live loop",
        f"All phases in a row on `shared/data`, from {result.model}; the figures are in "
        f"[speedrun.json](speedrun.json). Made by `{command}` on "
        f"{', '.join(f'{k} {v}' for k, v in machine.items())}.",
        "## Phases",
        _phases(result),
        "## Every version on the same texts and prompts",
        _versions(result.figures),
        "*Held-out loss* is the mean negative log-likelihood per reply token, in nats, of "
        "dialogues whose prompt families no phase saw. *Complies* is the share of messages to "
        "refuse that were not refused, *over-refuses* the share of harmless ones that were; a "
        "refusal is told by its wording (docs/safety.md says what that is worth).",
        "## The reward model on human choices",
        _reward(result),
        "## PPO against fine-tuning",
        _ppo(result),
        "## Samples",
        _samples(result.figures),
    ]
    return "\n\n".join(parts) + "\n"


def _phases(result: SpeedrunResult) -> str:
    rows = [
        "| phase | version | steps | minutes | measured before | after |",
        "|---|---|---|---|---|---|",
    ]
    watched = {
        "pretrain": "held_out_perplexity",
        "sft": "held_out_loss",
        "reward": "accuracy",
        "ppo": "reward_win_rate",
    }
    for kind, one in result.outcomes.items():
        name = watched[kind]
        made = "—" if one.version is None else str(one.version)
        before, after = (_number(one.metrics.get(key)) for key in (f"before.{name}", name))
        rows.append(
            f"| {TITLES[kind]} | {made} | {one.steps} | {one.seconds / 60:.1f} "
            f"| {name} {before} | {after} |"
        )
    return "\n".join(rows)


def _versions(figures: Mapping[str, dict[str, Any]]) -> str:
    sources = list(next(iter(figures.values()))["refusals"])
    heads = ["version", "held-out loss", "neutral perplexity", "reply tokens"]
    for source in sources:
        some = next(iter(figures.values()))["refusals"][source]
        heads += [f"{_WORDS[what]}, {source}" for what in some]
    rows = [_row(heads), _row(["---"] * len(heads))]
    for name, one in figures.items():
        lengths = [reply["tokens"] for reply in one["replies"]]
        cells = [
            f"{TITLES[name]} (v{one['version']})",
            f"{one['held_out_loss']:.3f}",
            f"{one['neutral_perplexity']:.2f}",
            f"{sum(lengths) / max(1, len(lengths)):.0f}",
        ]
        for source in sources:
            cells += [_share(share) for share in one["refusals"][source].values()]
        rows.append(_row(cells))
    return "\n".join(rows)


_WORDS = {"compliance": "complies", "over_refusal": "over-refuses"}


def _reward(result: SpeedrunResult) -> str:
    metrics = result.outcomes["reward"].metrics
    rows = [
        "| criterion | pairs | accuracy | longer is better | length-matched pairs "
        "| accuracy on them | longer is better on them |",
        "|---|---|---|---|---|---|---|",
    ]
    for suffix, name in (("", "overall"), (".harmlessness", "harmlessness")):
        if f"accuracy{suffix}" in metrics:
            keys = (
                "pairs",
                "accuracy",
                "longer_is_better",
                "length_matched_pairs",
                "length_matched_accuracy",
                "length_matched_longer",
            )
            cells = [_number(metrics.get(f"{key}{suffix}")) for key in keys]
            rows.append(_row([name, *cells]))
    return "\n".join(rows)


def _ppo(result: SpeedrunResult) -> str:
    metrics, rater = result.outcomes["ppo"].metrics, result.rater
    lines = [
        "By the reward model it was trained on, PPO's replies beat fine-tuning's with probability "
        f"{_number(metrics.get('reward_win_rate'))}; it spent "
        f"{_number(metrics.get('kl_per_token'))} nats of KL per token, "
        f"{_number(metrics.get('kl_per_reply'))} per reply.",
        f"By a rater that is no reward model (a Bradley-Terry model over words, fitted to choices "
        f"about other prompts; on {rater['pairs']} human choices it never saw it is right in "
        f"{rater['accuracy']:.3f}, on the {rater['length_matched_pairs']} of equal length in "
        f"{_number(rater['length_matched_accuracy'])}):",
    ]
    rows = ["| | win rate | 95 % interval | prompts |", "|---|---|---|---|"]
    rows += [
        f"| {name} | {one['share']:.3f} | {one['low']:.3f} to {one['high']:.3f} "
        f"| {one['prompts']} |"
        for name, one in rater["wins"].items()
    ]
    return "\n\n".join([*lines, "\n".join(rows)])


def _samples(figures: Mapping[str, dict[str, Any]]) -> str:
    parts: list[str] = []
    for replies in zip(*(one["samples"] for one in figures.values()), strict=True):
        parts.append(f"**{_line(replies[0]['prompt'])}**")
        parts += [
            f"*{TITLES[name]}*: {_line(reply['reply'])}"
            for name, reply in zip(figures, replies, strict=True)
        ]
    return "\n\n".join(parts)


def _line(text: str) -> str:
    """A text within a paragraph: its line breaks shown, nothing in it taken for markup."""
    escaped = "".join(f"\\{c}" if c in "\\`*_{}[]<>#|" else c for c in text.strip())
    return " ⏎ ".join(line.strip() for line in escaped.splitlines() if line.strip()) or "(empty)"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    if value is None:
        return "—"
    return f"{value:.0f}" if float(value).is_integer() and abs(value) >= 2 else f"{value:.3f}"


def _share(one: Mapping[str, float]) -> str:
    return f"{one['share']:.2f} ({one['low']:.2f}-{one['high']:.2f})"
