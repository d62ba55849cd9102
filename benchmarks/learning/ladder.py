"""The ladder: ways of drawing candidates of one prompt that differ on purpose.

A rung is a sampling temperature and, for some, a hidden style instruction that the candidate was
sampled under. The instruction is left out of the prompt under which features are taken, so a reply
counts as an ordinary reply to the ordinary prompt. Each prompt gets all plain rungs and some of
the instructions, by turns.
"""

from dataclasses import dataclass

from storage.records import Message, Role, Sampling

INSTRUCTIONS: dict[str, str] = {
    "short": "Answer in one short sentence.",
    "detailed": "Answer in detail, with several paragraphs.",
    "list": "Answer with a list of bullet points only.",
    "prose": "Answer in flowing prose, without any list.",
    "formal": "Answer in formal, polite language.",
    "cheerful": "Answer with great enthusiasm and exclamation marks!",
    "asks_back": "Answer briefly, then ask the person a question about what they need.",
    "unsure": "Answer, and say honestly what you are not sure about or do not know.",
    "quoting": "Begin your answer by repeating the words of the question.",
    "simple": "Answer in very simple, short words, as to a child.",
}
STYLED_PER_PROMPT = 6
PLAIN = 8
HOT = 2
HOT_TEMPERATURE = 1.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    name: str
    temperature: float
    instruction: str | None

    def prompt(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """What the model reads: the instruction, if any, before everything else."""
        if self.instruction is None:
            return messages
        return (Message(role=Role.SYSTEM, content=self.instruction), *messages)

    def sampling(self, base: Sampling) -> Sampling:
        return Sampling(
            temperature=self.temperature,
            top_k=base.top_k,
            top_p=base.top_p,
            max_new_tokens=base.max_new_tokens,
        )


def rungs_of(prompt_number: int, base: Sampling) -> list[Rung]:
    """The rungs of one prompt: plain, hot, and ``STYLED_PER_PROMPT`` instructions in rotation."""
    names = list(INSTRUCTIONS)
    styled = [names[(prompt_number * 3 + i) % len(names)] for i in range(STYLED_PER_PROMPT)]
    plain = [Rung(name="plain", temperature=base.temperature, instruction=None)] * PLAIN
    hot = [Rung(name="hot", temperature=HOT_TEMPERATURE, instruction=None)] * HOT
    return [
        *plain,
        *hot,
        *(
            Rung(name=name, temperature=base.temperature, instruction=INSTRUCTIONS[name])
            for name in styled
        ),
    ]
