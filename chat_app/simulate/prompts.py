"""Prompt files: one JSON object a line, ``{"prompt": "..."}`` or ``{"messages": [...]}``."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from chat_app.simulate.errors import SimulationError
from learner.json_lines import json_lines, message_of
from storage.records import Message, Role

Prompt = tuple[Message, ...]

SHIPPED_EVAL_PROMPTS = 40
"""How many of the shipped evaluation prompts a simulation takes; more would cost most of its time.
The interval of a win rate over 40 prompts judged twice is about 10 points either way."""


def read_prompts(path: Path) -> list[Prompt]:
    """Read prompts, each ending with a user message. Raises SimulationError naming the line."""
    rows = json_lines(path, SimulationError)
    prompts = [_prompt(row, f"{path}, line {number}") for number, row in rows]
    if not prompts:
        raise SimulationError(f"{path} has no prompts.")
    return prompts


def shipped_eval_prompts() -> list[Prompt]:
    """The first ``SHIPPED_EVAL_PROMPTS`` of those that come with twofold."""
    path = Path(str(files("chat_app.examples") / "eval_prompts.jsonl"))
    return read_prompts(path)[:SHIPPED_EVAL_PROMPTS]


def in_shuffled_cycles(prompts: list[Prompt], rng: np.random.Generator) -> Iterator[Prompt]:
    """All prompts in random order, then all again in another, without end."""
    while True:
        for index in rng.permutation(len(prompts)):
            yield prompts[index]


def _prompt(row: dict[str, Any], where: str) -> Prompt:
    try:
        if "prompt" in row:
            return (message_of({"role": Role.USER, "content": row["prompt"]}),)
        messages = tuple(message_of(message) for message in row["messages"])
    except (ValueError, KeyError, TypeError) as error:
        raise SimulationError(
            f'{where}: expected {{"prompt": "..."}} or {{"messages": [...]}} with role and content.'
        ) from error
    roles = [message.role for message in messages]
    if roles != [Role.USER, Role.ASSISTANT] * (len(roles) // 2) + [Role.USER]:
        raise SimulationError(
            f"{where}: messages must take turns, user and assistant, and end with the user."
        )
    return messages
