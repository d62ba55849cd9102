"""The simulated person: two functions in a Python file of the user's own.

``prefer(messages, reply_a, reply_b, rng)`` returns "a", "b", "tie", "both_bad" or "skip";
``messages`` are dicts with ``role`` and ``content``, ``rng`` a seeded numpy Generator. A file may
also define two functions for measuring, which the learner never sees: ``score(messages, reply)``, a
utility, and ``win_prob(messages, reply, rival)``, the share that ``prefer`` would give ``reply`` in
the mean over both orders, a tie counting half, which spares a win rate the noise of single picks.
Two examples are in ``chat_app/examples/raters``.
"""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chat_app.simulate.errors import SimulationError
from storage.records import Choice, Message

ChatMessages = list[dict[str, str]]

_CHOICES = {
    "a": Choice.FIRST,
    "b": Choice.SECOND,
    "tie": Choice.TIE,
    "both_bad": Choice.BOTH_BAD,
    "skip": Choice.SKIP,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rater:
    prefer: Callable[[ChatMessages, str, str, np.random.Generator], str]
    utility: Callable[[ChatMessages, str], float] | None
    """None where the file has no ``score``."""
    win_prob: Callable[[ChatMessages, str, str], float] | None = None
    """None where the file has no ``win_prob``."""

    def choose(
        self, prompt: Sequence[Message], first: str, second: str, rng: np.random.Generator
    ) -> Choice:
        """Pick between two replies in the order shown. Raises SimulationError."""
        said = self.prefer(chat_messages(prompt), first, second, rng)
        if said not in _CHOICES:
            raise SimulationError(
                f"The rater's prefer() returned {said!r}; allowed are {', '.join(_CHOICES)}."
            )
        return _CHOICES[said]

    def win_share(
        self, prompt: Sequence[Message], reply: str, rival: str, rng: np.random.Generator
    ) -> float:
        """How often ``reply`` beats ``rival``; no winner counts half.

        As the rater's ``win_prob`` has it, else judged once in each order.
        """
        if self.win_prob is not None:
            return self.win_prob(chat_messages(prompt), reply, rival)
        shares = {Choice.FIRST: 1.0, Choice.SECOND: 0.0}
        there = shares.get(self.choose(prompt, reply, rival, rng), 0.5)
        back = shares.get(self.choose(prompt, rival, reply, rng), 0.5)
        return (there + 1.0 - back) / 2

    def mean_score(
        self, prompts: Sequence[Sequence[Message]], replies: Sequence[str]
    ) -> float | None:
        """Mean utility of one reply to each prompt, None where the rater has no ``score``."""
        if self.utility is None:
            return None
        scores = [
            self.utility(chat_messages(prompt), reply)
            for prompt, reply in zip(prompts, replies, strict=True)
        ]
        return float(np.mean(scores))


def load_rater(path: Path) -> Rater:
    """Run the rater's file and take its functions. Raises SimulationError."""
    spec = importlib.util.spec_from_file_location("twofold_rater", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise SimulationError(f"There is no rater file {path} (a Python file with prefer()).")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    functions = vars(module)
    if "prefer" not in functions:
        raise SimulationError(f"{path} does not define prefer(messages, reply_a, reply_b, rng).")
    return Rater(
        prefer=functions["prefer"],
        utility=functions.get("score"),
        win_prob=functions.get("win_prob"),
    )


def chat_messages(prompt: Sequence[Message]) -> ChatMessages:
    return [{"role": message.role.value, "content": message.content} for message in prompt]
