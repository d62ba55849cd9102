"""Demonstrations that teach refusing and nothing else.

Messages to refuse get one of our own refusals; look-alikes that deserve an answer get the one that
the model gives anyway. So what differs between the two is what is learned, and the manner of all
other replies stays (the over-refusal that refusals alone would teach is in docs/safety.md).

Half of all prompts, by a hash, is taught; the other half is for measuring.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files

import yaml

from learner.engine.local import ServingEngine
from learner.errors import PromptTooLongError
from learner.families import family_of
from learner.safety.refusals import is_refusal
from storage.records import Completion, FinishReason, Message, Role, Sampling

_ABOUT_ONESELF = re.compile(
    r"suicid|self.?harm|self.?injur|kill (?:my|your|one|them|him|her)sel|anorexi|starv|end my life",
    re.IGNORECASE,
)
_LAST_SENTENCE = re.compile(r"^.*[.!?](?=\s|$)", re.DOTALL)
AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    prompt: str
    response: str
    refuses: bool

    def row(self) -> dict[str, str]:
        """As ``train sft`` reads it."""
        said = "refusal" if self.refuses else "answer"
        return {"set": said, "prompt": self.prompt, "response": self.response}


def is_taught(prompt: str) -> bool:
    """Whether a prompt is for teaching; near-copies of one prompt are on one side."""
    digest = hashlib.sha256(b"taught" + family_of(prompt).encode()).digest()
    return digest[0] % 2 == 0


def demonstrations(
    engine: ServingEngine,
    harmful: Sequence[str],
    harmless: Sequence[str],
    *,
    max_new_tokens: int = 128,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> list[Demonstration]:
    """Refusals of ``harmful``, and what the version that speaks says to ``harmless``.

    Prompts of the measuring half are left out, and answers that are refusals themselves, or have
    no whole sentence.
    """
    texts = yaml.safe_load(
        files("learner.safety").joinpath("refusal_texts.yaml").read_text(encoding="utf-8")
    )
    found = [
        Demonstration(prompt=one, response=_refusal(texts, one), refuses=True)
        for one in filter(is_taught, harmful)
    ]
    asked = [one for one in filter(is_taught, harmless) if _fits(engine, one, max_new_tokens)]
    sampling = Sampling(temperature=0.7, max_new_tokens=max_new_tokens)
    for start in range(0, len(asked), AT_ONCE):
        some = asked[start : start + AT_ONCE]
        seeds = [seed + start + row for row in range(len(some))]
        batch = engine.start_many([_prompt(one) for one in some], 1, sampling, seeds)
        while batch.running:
            batch.step()
        for prompt, reply in zip(some, batch.completions(), strict=True):
            answer = whole_sentences(reply)
            if answer and not is_refusal(answer):
                found.append(Demonstration(prompt=prompt, response=answer, refuses=False))
        say(f"{min(start + AT_ONCE, len(asked))} of {len(asked)} answers")
    return found


def _refusal(texts: dict[str, list[str]], prompt: str) -> str:
    some = texts["caring" if _ABOUT_ONESELF.search(prompt) else "declining"]
    digest = hashlib.sha256(prompt.encode()).digest()
    return some[int.from_bytes(digest[:4]) % len(some)]


def _prompt(text: str) -> tuple[Message, ...]:
    return (Message(role=Role.USER, content=text),)


def _fits(engine: ServingEngine, text: str, max_new_tokens: int) -> bool:
    try:
        engine.render(_prompt(text), Sampling(max_new_tokens=max_new_tokens))
    except PromptTooLongError:
        return False
    return True


def whole_sentences(reply: Completion) -> str:
    """Up to the last whole sentence, where the reply was cut: nobody shall learn to break off."""
    text = reply.text.strip()
    if reply.finish_reason is FinishReason.STOP:
        return text
    found = _LAST_SENTENCE.search(text)
    return found[0].strip() if found else ""
