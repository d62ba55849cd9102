"""The ladder: ways of drawing candidates of one prompt that differ on purpose.

A rung is a sampling temperature and, for some, one of the product's hidden styles
(``learner/styles.py``). The instruction is left out of the prompt under which features are taken,
so a reply counts as an ordinary reply to the ordinary prompt. Each prompt gets all plain rungs and
some of the styles, by turns.
"""

from dataclasses import dataclass

from learner.styles import STYLES, Style
from storage.records import Message, Sampling

STYLED_PER_PROMPT = 6
PLAIN = 8
HOT = 2
HOT_TEMPERATURE = 1.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    name: str
    temperature: float
    style: Style | None = None

    def prompt(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """What the model reads."""
        return messages if self.style is None else tuple(self.style.told(messages))

    def sampling(self, base: Sampling) -> Sampling:
        return Sampling(
            temperature=self.temperature,
            top_k=base.top_k,
            top_p=base.top_p,
            max_new_tokens=base.max_new_tokens,
        )


def rungs_of(prompt_number: int, base: Sampling) -> list[Rung]:
    """The rungs of one prompt: plain, hot, and ``STYLED_PER_PROMPT`` styles in rotation."""
    styles = list(STYLES.values())
    turn = [styles[(prompt_number * 3 + i) % len(styles)] for i in range(STYLED_PER_PROMPT)]
    return [
        *[Rung(name="plain", temperature=base.temperature)] * PLAIN,
        *[Rung(name="hot", temperature=HOT_TEMPERATURE)] * HOT,
        *(Rung(name=one.name, temperature=base.temperature, style=one) for one in turn),
    ]
