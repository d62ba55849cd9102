"""Hidden style instructions: candidates that differ on purpose.

Samples of one prompt mostly differ in what they say, seldom in how. A taste for what the model
hardly ever does is then never seen, let alone picked. So some candidates of a turn are sampled
under an instruction that stands nowhere else: the person does not see it, features and training
take the reply as one to the plain prompt. What is liked so is distilled into the weights.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from storage.records import Completion, Message

ECHO_WORDS = 4


@dataclass(frozen=True, slots=True)
class Style:
    name: str
    """As it is stored beside the reply."""
    instruction: str

    def told(self, prompt: Sequence[Message]) -> list[Message]:
        """``prompt`` with the instruction at the end of its last message.

        There, and not in a system message: everything before it is encoded already, and a person's
        own instructions stay where they are.
        """
        *before, last = prompt
        return [*before, replace(last, content=f"{last.content}\n\n{self.instruction}")]

    def echoed_in(self, text: str) -> bool:
        """Whether a reply repeats the instruction instead of following it: four words in a row.

        What stands in quotation marks it is told to say.
        """
        told = _runs(re.sub(r'"[^"]*"', " ", self.instruction))
        return not told.isdisjoint(_runs(text))


def echoing(completions: Sequence[Completion]) -> list[int]:
    """Places of the replies that give their hidden instruction away: not fit to be seen."""
    return [i for i, c in enumerate(completions) if c.style and STYLES[c.style].echoed_in(c.text)]


def _runs(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"[^\W\d_]+", text.lower())
    return set(zip(*(words[i:] for i in range(ECHO_WORDS)), strict=False))


# In words that a model of 135M parameters follows as often as may be; docs/LOG.md has the others.
STYLES: Mapping[str, Style] = {
    name: Style(name, instruction)
    for name, instruction in {
        "short": "Answer in one short sentence.",
        "detailed": "Answer in detail, with several paragraphs.",
        "list": "Answer with a list of bullet points only.",
        "prose": "Answer in flowing prose, without any list.",
        "formal": "Answer politely and formally, as a courteous butler would.",
        "cheerful": "Sound thrilled! Use lots of exclamation marks!",
        "asks_back": "Ask me a question back.",
        "unsure": 'Begin with "I am not sure, but".',
        "warm": "Answer warmly, like a kind friend who cares how I feel.",
        "simple": "Answer in very simple, short words, as to a child.",
    }.items()
}
