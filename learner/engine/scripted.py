"""The scripted reply maker: canned replies at a human speed, without any model.

It stands where the real asking does (``learner.protocols.ReplyMaker``), for ``twofold serve
--demo``, the documentation and the tests of the page. It learns nothing. What it can do:

- a few topics, found by a word in the message, each with four replies of different style;
- ``Repeat after me: TEXT`` says TEXT back, whatever it is: markup, script, code;
- two replies come as with a real model: side by side, and one can be chosen meanwhile;
- ``Count to N`` gives a reply as long as wanted, to be watched, stopped or reloaded;
- ``What did I say first?`` quotes the first message of the conversation;
- anything else gets an honest line about being a script.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from random import Random
from threading import Event

from learner.config import AskConfig, AskMode
from learner.early_pick import EarlyPick
from learner.engine.script import candidate_texts
from learner.protocols import Draft, ReplyPlan, Stage
from storage.records import (
    AskReason,
    CandidatePool,
    Choice,
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
from storage.trends import AskDecision

ORDINALS = ("second", "third")

DRAFT_WORDS = 8
"""Words drafted unseen before it is decided what is shown, as the real asking does."""


class ScriptedAsking(StrEnum):
    NEVER = "never"
    ALWAYS = "always"
    ALTERNATING = "alternating"
    """The first message of a conversation gets a pair, the second a single reply, and so on."""


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
        early: EarlyPick | None = None,
        rival: PolicyVersion | None = None,  # noqa: ARG002 - a script has one version
    ) -> ReplyPlan:
        early = early or EarlyPick()
        random = Random(seed)  # noqa: S311 - which canned reply comes first is no secret
        texts = random.sample(candidate_texts(prompt), 4)
        asks = may_ask and self._asks(prompt)
        for word in range(DRAFT_WORDS):
            emit(Draft(stage=Stage.DRAFTING, drafted_tokens=word))
            self._pause(cancel)
        if asks:
            written = self._stream_both(texts[:2], emit, cancel, early)
        else:
            written = [self._stream(texts[0], emit, cancel)]

        completions = [
            _completion(text, whole=text == full, version=version, seed=seed + row)
            for row, (text, full) in enumerate(zip(written, texts, strict=False))
        ]
        picked = early.choice if asks else None
        if picked is Choice.SKIP or (cancel.is_set() and picked is None):
            left = tuple(completions[1:]) if picked is Choice.SKIP else ()
            return ReplyPlan(shown=(completions[0],), question=None, finish_others=lambda _: left)
        others = tuple(
            _completion(text, whole=True, version=version, seed=seed + row)
            for row, text in enumerate(texts[len(written) :], start=len(written))
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
            shown=tuple(completions),
            question=question,
            finish_others=lambda _: () if picked else others,
            picked=picked,
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
        text = self._stream_on(whole, begun, emit, cancel)
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
        *,
        early: EarlyPick | None = None,
    ) -> ReplyPlan:
        """Two canned replies, as if each version had said one of them."""
        random = Random(seed)  # noqa: S311 - who comes first is no secret worth keeping
        texts = random.sample(candidate_texts(prompt), 2)
        order = random.sample(versions, 2)
        early = early or EarlyPick()
        written = self._stream_both(texts, emit, cancel, early)
        shown = tuple(
            _completion(text, whole=text == full, version=version, seed=seed)
            for text, full, version in zip(written, texts, order, strict=True)
        )
        picked = early.choice
        if picked is Choice.SKIP or (cancel.is_set() and picked is None):
            return ReplyPlan(shown=shown[:1], question=None, finish_others=lambda _: ())
        question = Question(
            reason=AskReason.COMPARE, propensity=1.0, disagreement=0.1, first_better_prob=0.5
        )
        return ReplyPlan(shown=shown, question=question, finish_others=lambda _: (), picked=picked)

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

    def resume(self, decisions: Sequence[AskDecision], pools: Sequence[CandidatePool]) -> None:
        """A script knows where it is."""

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

    def _stream_both(
        self,
        texts: Sequence[str],
        emit: Callable[[Draft], None],
        cancel: Event,
        early: EarlyPick,
    ) -> list[str]:
        """Write two replies at one speed; one that is chosen meanwhile goes on alone."""
        parts = [re.findall(r"\s*\S+", text) for text in texts]
        written = ["", ""]
        for word in range(1, 1 + max(map(len, parts))):
            if cancel.is_set():
                break
            written = ["".join(part[:word]) for part in parts]
            emit(Draft(stage=Stage.STREAMING, texts=tuple(written)))
            early.shown()
            if early.choice is not None:
                chosen = 1 if early.choice is Choice.SECOND else 0
                written[chosen] = self._stream_on(texts[chosen], written[chosen], emit, cancel)
                break
            self._pause(cancel)
        return written

    def _stream_on(
        self, text: str, begun: str, emit: Callable[[Draft], None], cancel: Event
    ) -> str:
        """The rest of a reply that has begun; all that was written when it ended."""

        def whole(draft: Draft) -> None:
            emit(replace(draft, texts=(begun + draft.texts[0],)))

        return begun + self._stream(text[len(begun) :], whole, cancel)

    def _pause(self, cancel: Event) -> None:
        if self._words_per_s:
            cancel.wait(1.0 / self._words_per_s)


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
