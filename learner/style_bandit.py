"""Which hidden styles to try next: a bandit over what the reward ensemble expects of each.

No answer is needed to know what a style does to a reply, only to know whether that pleases. So a
style's effect is measured on every turn that tries it and is not cut by an early choice, and
Thompson sampling (one member of the ensemble, drawn anew each turn) says how much it should please.
docs/learning-results.md has what this is worth.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from learner.reward.head import BayesianRewardHead
from learner.styles import STYLES, Style
from storage.records import Completion, Message


@dataclass(slots=True)
class _Effect:
    """How replies in a style differ from plain ones to the same prompt, summed over ``seen``."""

    style: Float[Tensor, " S"]
    hidden: Float[Tensor, " H"]
    seen: int = 1


class StyleBandit:
    """Which styles to try next. Not thread-safe."""

    def __init__(self, head: BayesianRewardHead) -> None:
        self._head = head
        self._effects: dict[str, _Effect] = {}

    def choose(self, count: int, generator: torch.Generator | None) -> list[Style]:
        """``count`` different styles: unknown ones first, then those that one member likes best.

        The member is drawn anew each time (Thompson sampling). Without a generator the mean of all
        members decides and nothing is explored: for measuring.
        """
        if count == 0:
            return []
        names = list(STYLES)
        worth = self.worth(generator)
        if generator is not None:
            order = torch.randperm(len(names), generator=generator).tolist()
            names = [names[i] for i in order]
        unknown = float("inf") if generator is not None else float("-inf")
        names.sort(key=lambda name: -worth.get(name, unknown))
        return [STYLES[name] for name in names[:count]]

    def observe(self, prompt: Sequence[Message], completions: Sequence[Completion]) -> None:
        """Take note of a turn's candidates, which carry their features, in any order.

        Also where an early choice cut them: one that stops at 64 tokens counts as long as it was
        going to be, and shows its style nearly as well as a whole one (docs/LOG.md).
        """
        worded = [c for c in completions if c.text.strip()]
        worded.sort(key=lambda c: c.seed)  # sums come out the same to the last bit
        plain = [c for c in worded if c.style is None]
        styled = [c for c in worded if c.style in STYLES]
        if not plain or not styled:
            return
        style, hidden = self._head.features(prompt, [*plain, *styled])
        usual_style, usual_hidden = style[: len(plain)].mean(0), hidden[: len(plain)].mean(0)
        for i, completion in enumerate(styled, start=len(plain)):
            self.note(completion.style or "", style[i] - usual_style, hidden[i] - usual_hidden)

    def note(self, name: str, style: Float[Tensor, " S"], hidden: Float[Tensor, " H"]) -> None:
        """A reply in this style differed so from plain ones to the same prompt."""
        known = self._effects.get(name)
        if known is None:
            self._effects[name] = _Effect(style, hidden)
        else:
            known.style, known.hidden = known.style + style, known.hidden + hidden
            known.seen += 1

    def worth(self, generator: torch.Generator | None) -> dict[str, float]:
        """Reward that each known style adds, in logits, by a random member or the mean of all."""
        if not self._effects:
            return {}
        rewards = self._head.margin_draws(
            torch.stack([e.style / e.seen for e in self._effects.values()]),
            torch.stack([e.hidden / e.seen for e in self._effects.values()]),
        )
        if generator is None:
            said = rewards.mean(dim=0)
        else:
            said = rewards[int(torch.randint(len(rewards), (), generator=generator))]
        return dict(zip(self._effects, said.tolist(), strict=True))
