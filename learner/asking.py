"""From a message to what the person sees: draft, score, decide, stream.

Streaming has to start before every candidate is complete. All candidates draft a short prefix
unseen; the prefixes are scored, and it is decided whether to ask and which one or two replies to
show. Those stream. The others go on in the same batch, which costs little while the shown ones
run, and are finished afterwards for the learner. docs/decisions/0001 has what this costs.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Event

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from learner.acquisition import Asker, Decision, pessimistic_best
from learner.config import AskConfig
from learner.engine.hf import HfBatch, HfEngine
from learner.features import FrozenFeatures
from learner.protocols import Draft, ReplyPlan, Stage
from learner.reward.head import BayesianRewardHead
from storage.records import (
    Choice,
    Completion,
    Message,
    PolicyVersion,
    Preference,
    Sampling,
)

_ANSWERS = (Choice.FIRST, Choice.SECOND, Choice.TIE, Choice.BOTH_BAD)
EVAL_PROMPTS_PER_BATCH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class BestReply:
    """For measuring: what would be shown without asking, beside one plain sample."""

    shown: Completion
    plain: Completion


class AskingReplyMaker:
    """The ReplyMaker of real models."""

    def __init__(
        self,
        *,
        engine: HfEngine,
        features: FrozenFeatures,
        reward: BayesianRewardHead,
        ask: AskConfig,
        sampling: Sampling,
    ) -> None:
        self._engine = engine
        self._features = features
        self._reward = reward
        self._ask = ask
        self._sampling = sampling
        self._asker = Asker(ask, pessimism=reward.config.pessimism)
        self._answers = 0

    @property
    def engine(self) -> HfEngine:
        return self._engine

    @property
    def reward(self) -> BayesianRewardHead:
        return self._reward

    def refit(self, preferences: Sequence[Preference]) -> dict[str, float]:
        """Refit the reward ensemble on all live picks, in milliseconds; returns metrics."""
        self._answers = sum(p.choice in _ANSWERS for p in preferences)
        return self._reward.fit(preferences)

    def reply(
        self,
        prompt: Sequence[Message],
        version: PolicyVersion,
        seed: int,
        emit: Callable[[Draft], None],
        cancel: Event,
    ) -> ReplyPlan:
        """Write a reply or a pair. Raises AdapterLoadError and PromptTooLongError."""
        self._engine.load(version)
        batch = self._engine.start(prompt, self._ask.candidates, self._sampling, seed)
        self._draft(batch, emit, cancel)
        decision = self._decide(prompt, batch, seed)
        self._asker.count_turn(decision, answers=self._answers)
        shown = list(decision.pair or (decision.best,))
        self._stream(batch, shown, emit, cancel)
        question = decision.question
        if question and (cancel.is_set() or self._near_duplicates(batch.texts(), *shown)):
            shown, question = shown[:1], None
        completions = batch.completions()
        replies = self._with_rewards(prompt, [completions[i] for i in shown])

        def finish_others(hurry: Event) -> tuple[Completion, ...]:
            if cancel.is_set():
                return ()
            while batch.running and not hurry.is_set():
                batch.step()
            finished = batch.completions()
            others = [finished[i] for i in range(len(finished)) if i not in shown]
            return tuple(self._with_rewards(prompt, others))

        return ReplyPlan(
            shown=tuple(replies),
            question=question,
            finish_others=finish_others,
            dropped_messages=batch.dropped_messages,
        )

    # -- the four steps ------------------------------------------------------------------------

    def _draft(self, batch: HfBatch, emit: Callable[[Draft], None], cancel: Event) -> None:
        """All candidates, unseen, until the longest has ``commit_after_tokens``."""
        for tokens in range(self._ask.commit_after_tokens):
            if not batch.running or cancel.is_set():
                return
            batch.step()
            emit(Draft(stage=Stage.DRAFTING, drafted_tokens=tokens + 1))

    def _decide(self, prompt: Sequence[Message], batch: HfBatch, seed: int) -> Decision:
        rewards = self._score(prompt, batch.completions())
        return self._asker.decide(
            rewards,
            self._usable(batch),
            answers=self._answers,
            generator=torch.Generator().manual_seed(seed),
        )

    def _stream(
        self, batch: HfBatch, shown: Sequence[int], emit: Callable[[Draft], None], cancel: Event
    ) -> None:
        while True:
            texts = batch.texts()
            emit(Draft(stage=Stage.STREAMING, texts=tuple(texts[i] for i in shown)))
            if cancel.is_set() or all(batch.done(i) for i in shown):
                return
            batch.step()

    def _with_rewards(
        self, prompt: Sequence[Message], completions: Sequence[Completion]
    ) -> list[Completion]:
        """The same completions with feature, mean reward and its standard deviation."""
        if not completions:
            return []
        featured = self._with_features(prompt, completions)
        for completion in featured:
            self._reward.lengths.observe(completion)
        rewards = self._reward.score(prompt, featured)
        mean, std = rewards.mean(dim=0).tolist(), rewards.std(dim=0, correction=0).tolist()
        return [
            replace(c, reward_mean=m, reward_std=s)
            for c, m, s in zip(featured, mean, std, strict=True)
        ]

    # -- helpers -------------------------------------------------------------------------------

    def _score(
        self, prompt: Sequence[Message], completions: Sequence[Completion]
    ) -> Float[Tensor, "E N"]:
        return self._reward.score(prompt, self._with_features(prompt, completions))

    def _with_features(
        self, prompt: Sequence[Message], completions: Sequence[Completion]
    ) -> list[Completion]:
        pooled = self._features.extract(prompt, [c.token_ids for c in completions])
        rows = pooled.half().numpy()
        return [replace(c, feature=row.tobytes()) for c, row in zip(completions, rows, strict=True)]

    def _usable(self, batch: HfBatch) -> Bool[Tensor, "N N"]:
        """Pairs that differ enough to be worth a person's look."""
        texts = batch.texts()
        N = len(texts)
        usable = torch.zeros((N, N), dtype=torch.bool)
        for i in range(N):
            for j in range(i + 1, N):
                usable[i, j] = usable[j, i] = not self._near_duplicates(texts, i, j)
        return usable

    def _near_duplicates(self, texts: Sequence[str], i: int, j: int) -> bool:
        """Equal, nearly equal, or one of them empty: no question worth asking."""
        a, b = (" ".join(texts[k].split()).lower() for k in (i, j))
        if not a or not b:
            return True
        matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
        limit = self._ask.near_duplicate_ratio
        return matcher.quick_ratio() >= limit and matcher.ratio() >= limit

    # -- measuring -----------------------------------------------------------------------------

    def best_many(
        self, prompts: Sequence[Sequence[Message]], version: PolicyVersion, seeds: Sequence[int]
    ) -> list[BestReply]:
        """What each prompt would be shown now without asking, and one plain sample of the policy.

        The same steps as ``reply``, several prompts to a batch; nothing is stored and neither the
        asking threshold nor the length forecast moves.
        """
        self._engine.load(version)
        replies: list[BestReply] = []
        for start in range(0, len(prompts), EVAL_PROMPTS_PER_BATCH):
            some = slice(start, start + EVAL_PROMPTS_PER_BATCH)
            replies += self._best_of(prompts[some], seeds[some])
        return replies

    def _best_of(
        self, prompts: Sequence[Sequence[Message]], seeds: Sequence[int]
    ) -> list[BestReply]:
        N = self._ask.candidates
        batch = self._engine.start_many(prompts, N, self._sampling, seeds)
        for _ in range(self._ask.commit_after_tokens):
            if batch.running:
                batch.step()
        drafts = batch.completions()
        best: list[int] = []
        for p, prompt in enumerate(prompts):
            rewards = self._score(prompt, drafts[p * N : (p + 1) * N])
            best.append(p * N + pessimistic_best(rewards, self._reward.config.pessimism))
        plain = [p * N for p in range(len(prompts))]
        batch.drop([i for i in range(len(drafts)) if i not in {*best, *plain}])
        while batch.running:
            batch.step()
        final = batch.completions()
        return [BestReply(shown=final[b], plain=final[a]) for b, a in zip(best, plain, strict=True)]
