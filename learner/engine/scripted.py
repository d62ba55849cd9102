"""The scripted reply maker: canned replies at a human speed, without any model.

It stands where the real asking does (``learner.protocols.ReplyMaker``), for ``twofold serve
--demo``, the documentation and the tests of the page. It learns nothing. What it can do:

- a few topics, found by a word in the message, each with four replies of different style;
- ``Repeat after me: TEXT`` says TEXT back, whatever it is: markup, script, code;
- two replies come as with a real model: one streams, the other appears when it is whole;
- ``Count to N`` gives a reply as long as wanted, to be watched, stopped or reloaded;
- ``What did I say first?`` quotes the first message of the conversation;
- anything else gets an honest line about being a script.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random
from threading import Event

from learner.config import AskConfig, AskMode
from learner.protocols import Draft, ReplyPlan, Stage
from storage.records import (
    AskReason,
    Completion,
    FinishReason,
    Message,
    PolicyVersion,
    Preference,
    Question,
    RatedReply,
    Role,
    Sampling,
)
from storage.slates import Ranking

ORDINALS = ("second", "third")

DRAFT_WORDS = 8
"""Words drafted unseen before it is decided what is shown, as the real asking does."""


class ScriptedAsking(StrEnum):
    NEVER = "never"
    ALWAYS = "always"
    ALTERNATING = "alternating"
    """The first message of a conversation gets a pair, the second a single reply, and so on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    word: str
    """Lower case; the first topic whose word is in the message answers it."""
    replies: tuple[str, str, str, str]


TOPICS = (
    Topic(
        word="sky",
        replies=(
            "Air scatters blue light far more than red light. So blue reaches your eyes from every "
            "direction, and the whole sky looks blue.",
            "Sunlight holds all colours. On its way through the air it meets tiny molecules that "
            "throw the short, blue waves in every direction and let the long, red ones pass. "
            "Wherever you look, some of that scattered blue comes towards you.\n\nAt sunset the "
            "light has crossed much more air: most of the blue is gone, and red is what is left.",
            "In three steps:\n\n1. Sunlight is a mix of colours.\n2. Air molecules scatter the "
            "blue part most.\n3. That scattered light comes to you from all over the sky.",
            "Good question! It is called *Rayleigh scattering*: small molecules bend blue light "
            "about five times as much as red light.",
        ),
    ),
    Topic(
        word="rainy",
        replies=(
            "Bake something slow, sort the photographs of last year, and watch the film you keep "
            "putting off.",
            "Here are three ideas:\n\n- **Cook** a soup that takes all afternoon.\n- **Walk** in "
            "the rain for twenty minutes, then have a hot bath.\n- **Write** a letter by hand to "
            "somebody who does not expect one.",
            "A rainy Sunday is a gift. Begin with a long breakfast, read one chapter more than you "
            "meant to, and ask somebody over for a board game in the evening.",
            "Museum, cinema, or a nap. All three if the rain keeps up.",
        ),
    ),
    Topic(
        word="neighbo",
        replies=(
            "Dear Anna,\n\nthank you for looking after the plants while we were away. They have "
            "never looked better.\n\nWarm regards",
            "Dear Anna,\n\nwe came home to green leaves, fresh post and a warm feeling. Thank you "
            "so much for taking care of everything. Next time it is our turn, and there will be "
            "cake.\n\nYours, from next door",
            "Hi Anna, thanks a lot for your help last week! Coffee on us soon?",
            "Dear neighbour, please accept my sincere thanks for your kind assistance.",
        ),
    ),
    Topic(
        word="shorter",
        replies=(
            "In one line: less is enough.",
            "Of course. Here it is in one sentence: the short version says the same, only sooner.",
            "Sure: short and done.",
            "Shorter it is.",
        ),
    ),
)

OTHERWISE = (
    "I am a script that shows how this page works, so I only know a few topics. Try the sky, a "
    "rainy Sunday or a note to a neighbour.",
    "This is the demo: no model is running. Ask me about the sky, a rainy Sunday or a note to a "
    "neighbour, and I will show you two replies to pick from.",
    "No model is loaded here. The examples above get a proper reply.",
    "I have no script for that one.",
)


class ScriptedReplyMaker:
    """``words_per_s`` 0 writes at once. One object belongs to one thread, as a real engine does."""

    def __init__(
        self,
        asking: ScriptedAsking = ScriptedAsking.ALTERNATING,
        *,
        words_per_s: float = 12.0,
    ) -> None:
        if words_per_s < 0:
            raise ValueError(f"words_per_s must not be negative, got {words_per_s}")
        self._asking = self._began_with = asking
        self._words_per_s = words_per_s

    def reply(
        self,
        prompt: Sequence[Message],
        version: PolicyVersion,
        seed: int,
        emit: Callable[[Draft], None],
        cancel: Event,
        *,
        may_ask: bool = True,
        settle: Event | None = None,
        rival: PolicyVersion | None = None,  # noqa: ARG002 - a script has one version
    ) -> ReplyPlan:
        settle = settle or Event()
        random = Random(seed)  # noqa: S311 - which canned reply comes first is no secret
        texts = random.sample(candidate_texts(prompt), 4)
        asks = may_ask and self._asks(prompt)
        leader = random.randrange(2) if asks else 0

        for word in range(DRAFT_WORDS):
            emit(Draft(stage=Stage.DRAFTING, drafted_tokens=word))
            self._pause(cancel)
        if asks:
            written = self._stream_leader(texts[:2], leader, emit, cancel, settle)
            if settle.is_set() and not cancel.is_set():
                return self._settled(
                    texts, leader, written[1 - leader], emit, cancel, version, seed
                )
        else:
            written = [self._stream(texts[0], emit, cancel)]
        shown = texts[: len(written)]

        completions = [
            _completion(text, whole=text == full, version=version, seed=seed + row)
            for row, (text, full) in enumerate(zip(written, shown, strict=True))
        ]
        if cancel.is_set():
            shown_alone = completions[leader]
            return ReplyPlan(shown=(shown_alone,), question=None, finish_others=lambda _: ())
        others = tuple(
            _completion(text, whole=True, version=version, seed=seed + row)
            for row, text in enumerate(texts[len(shown) :], start=len(shown))
        )
        question = None
        if asks:
            question = Question(
                reason=AskReason.ALWAYS
                if self._asking is ScriptedAsking.ALWAYS
                else AskReason.UNCERTAIN,
                propensity=1.0,
                disagreement=round(random.uniform(0.1, 0.25), 2),
                first_better_prob=round(random.uniform(0.35, 0.65), 2),
            )
        return ReplyPlan(
            shown=tuple(completions), question=question, finish_others=lambda _: others
        )

    def go_on(
        self,
        prompt: Sequence[Message],
        begun: str,
        version: PolicyVersion,
        seed: int,
        emit: Callable[[Draft], None],
        cancel: Event,
    ) -> ReplyPlan:
        """The canned reply that begins so, to its end; the first one where none does."""
        texts = candidate_texts(prompt)
        whole = next((text for text in texts if text.startswith(begun)), f"{begun} {texts[0]}")
        rest = self._stream(
            whole[len(begun) :],
            lambda draft: emit(replace(draft, texts=(begun + draft.texts[0],))),
            cancel,
        )
        text = begun + rest
        completion = _completion(text, whole=text == whole, version=version, seed=seed)
        return ReplyPlan(shown=(completion,), question=None, finish_others=lambda _: ())

    def written(
        self,
        prompt: Sequence[Message],  # noqa: ARG002 - part of the protocol
        text: str,
        version: PolicyVersion,
    ) -> Completion:
        return _completion(text, whole=True, version=version, seed=0)

    def several(
        self,
        prompt: Sequence[Message],
        version: PolicyVersion,
        n: int,
        seed: int,
        emit: Callable[[Draft], None],
        cancel: Event,
    ) -> tuple[Completion, ...]:
        """The four canned replies first, then the same with a postscript each."""
        random = Random(seed)  # noqa: S311 - which canned reply comes first is no secret
        four = random.sample(candidate_texts(prompt), 4)
        later = [f"{text}\n\nP.S. Said for the {turn} time." for turn in ORDINALS for text in four]
        texts = [*four, *later][:n]
        parts = [re.findall(r"\s*\S+", text) for text in texts]
        for words in range(1, 1 + max(map(len, parts))):
            written = tuple("".join(part[:words]) for part in parts)
            emit(Draft(stage=Stage.STREAMING, texts=written))
            self._pause(cancel)
            if cancel.is_set():
                return ()
        return tuple(
            _completion(text, whole=True, version=version, seed=seed + row)
            for row, text in enumerate(texts)
        )

    def prepare(self, version: PolicyVersion, prompt: Sequence[Message], hurry: Event) -> None:
        """Nothing to prepare."""

    def compare(
        self,
        prompt: Sequence[Message],
        versions: tuple[PolicyVersion, PolicyVersion],
        seed: int,
        emit: Callable[[Draft], None],
        cancel: Event,
    ) -> ReplyPlan:
        """Two canned replies, as if each version had said one of them."""
        random = Random(seed)  # noqa: S311 - who comes first is no secret worth keeping
        texts = random.sample(candidate_texts(prompt), 2)
        order = random.sample(versions, 2)
        parts = [re.findall(r"\s*\S+", text) for text in texts]
        written = ["", ""]
        for words in range(1, 1 + max(map(len, parts))):
            if cancel.is_set():
                break
            written = ["".join(part[:words]) for part in parts]
            emit(Draft(stage=Stage.STREAMING, texts=tuple(written)))
            self._pause(cancel)
        shown = tuple(
            _completion(text, whole=text == full, version=version, seed=seed)
            for text, full, version in zip(written, texts, order, strict=True)
        )
        if cancel.is_set():
            return ReplyPlan(shown=shown[:1], question=None, finish_others=lambda _: ())
        question = Question(
            reason=AskReason.COMPARE, propensity=1.0, disagreement=0.1, first_better_prob=0.5
        )
        return ReplyPlan(shown=shown, question=question, finish_others=lambda _: ())

    def configure(self, ask: AskConfig, sampling: Sampling) -> None:  # noqa: ARG002
        """Ask as wished; AUTO is as the script began."""
        self._asking = {
            AskMode.NEVER: ScriptedAsking.NEVER,
            AskMode.ALWAYS: ScriptedAsking.ALWAYS,
            AskMode.AUTO: self._began_with,
        }[ask.mode]

    def taste(self) -> dict[str, float]:
        """A script has learned nothing."""
        return {}

    def refit(
        self,
        preferences: Sequence[Preference],
        rated: Sequence[RatedReply] = (),  # noqa: ARG002
        rankings: Sequence[Ranking] = (),  # noqa: ARG002
    ) -> dict[str, float]:
        """Learn nothing; say how many picks there were."""
        return {"preferences": float(len(preferences))}

    def _asks(self, prompt: Sequence[Message]) -> bool:
        if self._asking is ScriptedAsking.ALTERNATING:
            return sum(message.role is Role.USER for message in prompt) % 2 == 1
        return self._asking is ScriptedAsking.ALWAYS

    def _stream(self, text: str, emit: Callable[[Draft], None], cancel: Event) -> str:
        """Write a reply word by word; what was written when it ended."""
        words = re.findall(r"\s*\S+", text)
        written = ""
        for word in words:
            if cancel.is_set():
                break
            written += word
            emit(Draft(stage=Stage.STREAMING, texts=(written,)))
            self._pause(cancel)
        return written

    def _stream_leader(
        self,
        texts: Sequence[str],
        leader: int,
        emit: Callable[[Draft], None],
        cancel: Event,
        settle: Event,
    ) -> list[str]:
        """Write two replies at one speed and show the leader, until both are whole.

        The other place stays empty till then, as where it is not yet decided who fills it.
        """
        parts = [re.findall(r"\s*\S+", text) for text in texts]
        written = ["", ""]
        for word in range(max(map(len, parts))):
            if cancel.is_set() or settle.is_set():
                return written
            written = ["".join(part[: word + 1]) for part in parts]
            shown = tuple(text if row == leader else "" for row, text in enumerate(written))
            emit(Draft(stage=Stage.STREAMING, texts=shown))
            self._pause(cancel)
        emit(Draft(stage=Stage.STREAMING, texts=tuple(written)))
        return written

    def _settled(
        self,
        texts: Sequence[str],
        leader: int,
        left: str,
        emit: Callable[[Draft], None],
        cancel: Event,
        version: PolicyVersion,
        seed: int,
    ) -> ReplyPlan:
        """The leader alone runs on; the other reply stays as it is."""
        text = self._stream(texts[leader], emit, cancel)
        shown = _completion(text, whole=text == texts[leader], version=version, seed=seed)
        other = _completion(left, whole=False, version=version, seed=seed + 1)
        return ReplyPlan(shown=(shown,), question=None, finish_others=lambda _: (other,))

    def _pause(self, cancel: Event) -> None:
        if self._words_per_s:
            cancel.wait(1.0 / self._words_per_s)


def candidate_texts(prompt: Sequence[Message]) -> tuple[str, str, str, str]:
    """The four replies to the last message of ``prompt``."""
    said = [message.content.strip() for message in prompt if message.role is Role.USER]
    last = said[-1]
    if repeat := re.fullmatch(r"repeat after me:\s*(.+)", last, re.IGNORECASE | re.DOTALL):
        text = repeat[1]
        return text, f"You said: {text}", f"{text}\n\nThere it is.", f"Here you are.\n\n{text}"
    if count := re.fullmatch(r"count to (\d{1,4})", last, re.IGNORECASE):
        up = [str(number) for number in range(1, int(count[1]) + 1)]
        down = up[::-1]
        return " ".join(up), " ".join(down), ", ".join(up), ", ".join(down)
    if last.lower().startswith("what did i say first"):
        return (
            f"You began with: {said[0]}",
            f"Your first message was: {said[0]}",
            f"“{said[0]}”",
            f"It was this: {said[0]}",
        )
    for topic in TOPICS:
        if topic.word in last.lower():
            return topic.replies
    return OTHERWISE


def _completion(text: str, *, whole: bool, version: PolicyVersion, seed: int) -> Completion:
    words = len(text.split())
    return Completion(
        text=text,
        token_ids=tuple(range(words)),  # one stand-in token a word: lengths mean something
        logprobs=(-1.0,) * words,
        finish_reason=FinishReason.STOP if whole else FinishReason.ABORTED,
        policy_version=version.id,
        seed=seed,
        sampling=Sampling(),
        reward_mean=-words / 50,  # as if it had learned that short is liked
        reward_std=0.5,
    )
