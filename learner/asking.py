"""From a message to what the person sees: draft, score, open, stream, ask.

Streaming has to start before every candidate is complete. All candidates draft a short prefix
unseen; the prefixes are scored, the best one becomes the leader and streams, and it is decided
whether to ask. If so, the others run on beside it, and the reply to compare it with is chosen when
all are complete: a person reads the leader meanwhile, and what makes a pair worth asking about,
its length above all, is often known only at the end. If not, the leader is all that is shown, and
the others are finished afterwards for the learner. docs/decisions/0001 has what this costs.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Event

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from learner.acquisition import Asker, Opening
from learner.comparing import InStep, write_both
from learner.config import AskConfig
from learner.engine.local import LocalEngine
from learner.protocols import DecodingBatch, Draft, FeatureExtractor, ReplyPlan, Stage
from learner.query_rules import pessimistic_best
from learner.reward.head import BayesianRewardHead
from learner.reward.signals import orders_of, thumbs_of
from learner.several import write_several
from learner.style_bandit import StyleBandit
from learner.written import as_completion
from storage.records import (
    AskReason,
    Choice,
    Completion,
    Message,
    PolicyVersion,
    Preference,
    Question,
    RatedReply,
    Role,
    Sampling,
)
from storage.slates import Ranking

_ANSWERS = (Choice.FIRST, Choice.SECOND, Choice.TIE, Choice.BOTH_BAD)
_DECISIONS = 1 << 40  # far from the seeds of the candidates' own draws
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
        engine: LocalEngine,
        features: FeatureExtractor,
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
        self._styles = StyleBandit(reward)
        self._answers = 0

    @property
    def engine(self) -> LocalEngine:
        return self._engine

    @property
    def features(self) -> FeatureExtractor:
        return self._features

    @property
    def reward(self) -> BayesianRewardHead:
        return self._reward

    def prepare(self, version: PolicyVersion, prompt: Sequence[Message], hurry: Event) -> None:
        """Load ``version`` and encode ``prompt`` under it. Raises AdapterLoadError."""
        self._engine.load(version)
        if prompt:
            self._engine.warm(prompt, self._sampling, hurry)

    def refit(
        self,
        preferences: Sequence[Preference],
        rated: Sequence[RatedReply] = (),
        rankings: Sequence[Ranking] = (),
    ) -> dict[str, float]:
        """Refit the reward ensemble on all live picks, thumbs and rankings; returns metrics."""
        self._answers = sum(p.choice in _ANSWERS for p in preferences)
        self._asker.resume([p.comparison.question.disagreement for p in preferences])
        metrics = self._reward.fit(preferences, [*thumbs_of(rated), *orders_of(rankings)])
        self._styles.resume(preferences)
        return metrics

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
        rival: PolicyVersion | None = None,
    ) -> ReplyPlan:
        """Write a reply or a pair. Raises AdapterLoadError and PromptTooLongError."""
        settle = settle or Event()
        generator = torch.Generator().manual_seed(_DECISIONS + seed)
        self._engine.load(version)
        styles = self._styles.choose(self._ask.styled_candidates, generator)
        batch = self._engine.start(prompt, self._ask.candidates, self._sampling, seed, styles)
        self._draft(batch, emit, cancel)
        drafts = self.score(prompt, batch.completions())
        opening = self._asker.open(drafts, answers=self._answers, generator=generator)
        if not may_ask:
            opening = replace(opening, leader=opening.best, reason=None)
        asks = opening.reason is not None
        dares = float(torch.rand((), generator=generator)) < self._ask.duel_share
        if asks and rival is not None and dares:
            return self._duel(prompt, batch, version, rival, seed, opening, emit, cancel, settle)
        self._stream(batch, opening, emit, cancel, settle)
        if asks and settle.is_set() and not cancel.is_set():
            opening = replace(opening, reason=None)
            batch.drop([row for row in range(self._ask.candidates) if row != opening.leader])
            self._stream(batch, opening, emit, cancel, settle)
        if opening.reason is None or cancel.is_set():
            plan = self._single(prompt, batch, opening.leader, cancel)
        else:
            plan = self._pair(prompt, batch, opening, generator)
            emit(Draft(stage=Stage.STREAMING, texts=tuple(c.text for c in plan.shown)))
        if may_ask:
            self._count(plan, asked=asks and settle.is_set())
        return plan

    def go_on(
        self,
        prompt: Sequence[Message],
        begun: str,
        version: PolicyVersion,
        seed: int,
        emit: Callable[[Draft], None],
        cancel: Event,
    ) -> ReplyPlan:
        """Write on where a reply was cut off. Raises AdapterLoadError and PromptTooLongError."""
        self._engine.load(version)
        begun = begun.rstrip()
        so_far = Message(role=Role.ASSISTANT, content=begun)
        batch = self._engine.start([*prompt, so_far], 1, self._sampling, seed)
        while batch.running and not cancel.is_set():
            batch.step()
            emit(Draft(stage=Stage.STREAMING, texts=(begun + batch.text(0),)))
        more = batch.completions()[0]
        whole = as_completion(
            self._engine, prompt, begun + more.text, finish_reason=more.finish_reason, seed=seed
        )
        return ReplyPlan(
            shown=tuple(self._rated(prompt, [whole])),
            question=None,
            finish_others=lambda _: (),
            dropped_messages=batch.dropped_messages,
        )

    def written(self, prompt: Sequence[Message], text: str, version: PolicyVersion) -> Completion:
        """A person's reply as a completion. Raises AdapterLoadError and PromptTooLongError."""
        self._engine.load(version)
        completion = as_completion(self._engine, prompt, text)
        return self._rated(prompt, [completion])[0]

    def several(
        self,
        prompt: Sequence[Message],
        version: PolicyVersion,
        n: int,
        seed: int,
        emit: Callable[[Draft], None],
        cancel: Event,
    ) -> tuple[Completion, ...]:
        """Whole replies for a ranking. Raises AdapterLoadError and PromptTooLongError."""
        self._engine.load(version)
        found = write_several(self._engine, prompt, n, self._sampling, seed, emit, cancel)
        return tuple(self._rated(prompt, found)) if found else ()

    def compare(
        self,
        prompt: Sequence[Message],
        versions: tuple[PolicyVersion, PolicyVersion],
        seed: int,
        emit: Callable[[Draft], None],
        cancel: Event,
    ) -> ReplyPlan:
        """Let two versions reply, blind. Raises AdapterLoadError and PromptTooLongError."""
        both = write_both(self._engine, prompt, versions, self._sampling, seed, emit, cancel)
        shown = tuple(self._rated(prompt, both.completions))
        return ReplyPlan(
            shown=shown[:1] if cancel.is_set() else shown,
            question=(
                None if cancel.is_set() else self._versus(prompt, shown, AskReason.COMPARE, 1.0)
            ),
            finish_others=lambda _: (),
            dropped_messages=both.dropped_messages,
        )

    def configure(self, ask: AskConfig, sampling: Sampling) -> None:
        """Write with these settings from the next reply on; the asking threshold stays."""
        self._ask, self._sampling = ask, sampling
        self._asker.config = ask

    def taste(self) -> dict[str, float]:
        """Mean weight of each style feature, in logits per typical difference."""
        return self._reward.style_weights

    # -- the steps -----------------------------------------------------------------------------

    def _draft(self, batch: DecodingBatch, emit: Callable[[Draft], None], cancel: Event) -> None:
        """All candidates, unseen, until the longest has ``commit_after_tokens``."""
        for tokens in range(self._ask.commit_after_tokens):
            if not batch.running or cancel.is_set():
                return
            batch.step()
            emit(Draft(stage=Stage.DRAFTING, drafted_tokens=tokens + 1))

    def _stream(
        self,
        batch: DecodingBatch | InStep,
        opening: Opening,
        emit: Callable[[Draft], None],
        cancel: Event,
        settle: Event,
    ) -> None:
        """The leader, until it is complete; in a pair, until all are or the person settles.

        The other place of a pair is empty.
        """
        leader = opening.leader
        while True:
            text = batch.text(leader)
            if opening.reason is None:
                texts: tuple[str, ...] = (text,)
            else:
                texts = (text, "") if opening.leader_first else ("", text)
            emit(Draft(stage=Stage.STREAMING, texts=texts))
            complete = batch.done(leader) if opening.reason is None else not batch.running
            settled = opening.reason is not None and settle.is_set()
            if complete or settled or cancel.is_set():
                return
            batch.step()

    def _pair(
        self,
        prompt: Sequence[Message],
        batch: DecodingBatch,
        opening: Opening,
        generator: torch.Generator,
    ) -> ReplyPlan:
        """All are complete: choose whom to compare the leader with."""
        finished = self._with_features(prompt, batch.completions())
        self._styles.observe(prompt, finished)
        rewards = self._reward.score(prompt, finished)
        asked = self._asker.ask(
            opening, rewards, self._usable([c.text for c in finished]), generator
        )
        shown = [opening.leader] if asked is None else list(asked[:2])
        rated = self._with_rewards(finished, rewards)
        others = tuple(c for i, c in enumerate(rated) if i not in shown)
        return ReplyPlan(
            shown=tuple(rated[i] for i in shown),
            question=None if asked is None else asked[2],
            finish_others=lambda _: others,
            dropped_messages=batch.dropped_messages,
        )

    def _duel(
        self,
        prompt: Sequence[Message],
        batch: DecodingBatch,
        version: PolicyVersion,
        rival: PolicyVersion,
        seed: int,
        opening: Opening,
        emit: Callable[[Draft], None],
        cancel: Event,
        settle: Event,
    ) -> ReplyPlan:
        """The first candidate against one of the rival's, both as sampled; looks like any pair."""
        batch.drop(range(1, self._ask.candidates))
        self._engine.load(rival)
        rivals = self._engine.start(prompt, 1, self._sampling, seed + self._ask.candidates)
        self._engine.load(version)
        duel = replace(opening, leader=0)
        self._stream(InStep(batch, rivals), duel, emit, cancel, settle)
        ended = settle.is_set() or cancel.is_set()
        if ended or self._near_duplicates([batch.text(0), rivals.text(0)], 0, 1):
            self._stream(batch, replace(duel, reason=None), emit, cancel, settle)
            plan = self._single(prompt, batch, 0, cancel)
        else:
            live, other = self._rated(prompt, [batch.completions()[0], *rivals.completions()])
            shown = (live, other) if opening.leader_first else (other, live)
            plan = ReplyPlan(
                shown=shown,
                question=self._versus(prompt, shown, AskReason.DUEL, self._ask.duel_share),
                finish_others=lambda _: (),
                dropped_messages=batch.dropped_messages,
            )
            emit(Draft(stage=Stage.STREAMING, texts=tuple(c.text for c in plan.shown)))
        self._count(plan, asked=settle.is_set())
        return plan

    def _versus(
        self,
        prompt: Sequence[Message],
        shown: Sequence[Completion],
        reason: AskReason,
        propensity: float,
    ) -> Question:
        """About two replies of two versions, whatever the ensemble thinks of them."""
        rewards = self._reward.score(prompt, shown)
        p = torch.sigmoid(rewards[:, 0] - rewards[:, 1])
        return Question(
            reason=reason,
            propensity=propensity,
            disagreement=float(p.std(correction=0)),
            first_better_prob=float(p.mean()),
        )

    def _count(self, plan: ReplyPlan, *, asked: bool) -> None:
        """``asked``: there would have been a question, had the person not settled."""
        self._asker.count_turn(
            asked=plan.question is not None or asked,
            answers=self._answers,
            disagreement=plan.question and plan.question.disagreement,
        )

    def _single(
        self, prompt: Sequence[Message], batch: DecodingBatch, leader: int, cancel: Event
    ) -> ReplyPlan:
        """The leader is complete, or was stopped; the others may still run."""

        def finish_others(hurry: Event) -> tuple[Completion, ...]:
            if cancel.is_set():
                return ()
            while batch.running and not hurry.is_set():
                batch.step()
            rated = self._rated(prompt, batch.completions())
            self._styles.observe(prompt, rated)
            return tuple(c for i, c in enumerate(rated) if i != leader)

        return ReplyPlan(
            shown=tuple(self._rated(prompt, [batch.completions()[leader]])),
            question=None,
            finish_others=finish_others,
            dropped_messages=batch.dropped_messages,
        )

    # -- helpers -------------------------------------------------------------------------------

    def score(
        self, prompt: Sequence[Message], completions: Sequence[Completion]
    ) -> Float[Tensor, "E N"]:
        """Every member's reward of each completion, features extracted anew; drafts may be cut."""
        return self._reward.score(prompt, self._with_features(prompt, completions))

    def _rated(
        self, prompt: Sequence[Message], completions: Sequence[Completion]
    ) -> list[Completion]:
        """The same completions with their features and rewards."""
        featured = self._with_features(prompt, completions)
        return self._with_rewards(featured, self._reward.score(prompt, featured))

    def _with_rewards(
        self, completions: Sequence[Completion], rewards: Float[Tensor, "E N"]
    ) -> list[Completion]:
        """Mean and standard deviation over the members, as they were when the person looked."""
        for completion in completions:
            self._reward.lengths.observe(completion)
        mean, std = rewards.mean(dim=0).tolist(), rewards.std(dim=0, correction=0).tolist()
        return [
            replace(c, reward_mean=m, reward_std=s)
            for c, m, s in zip(completions, mean, std, strict=True)
        ]

    def _with_features(
        self, prompt: Sequence[Message], completions: Sequence[Completion]
    ) -> list[Completion]:
        pooled = self._features.extract(prompt, [c.token_ids for c in completions])
        rows = pooled.half().numpy()
        return [replace(c, feature=row.tobytes()) for c, row in zip(completions, rows, strict=True)]

    def _usable(self, texts: Sequence[str]) -> Bool[Tensor, "N N"]:
        """Pairs that differ enough to be worth a person's look."""
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
        styles = self._styles.choose(self._ask.styled_candidates, None)
        batch = self._engine.start_many(prompts, N, self._sampling, seeds, styles)
        for _ in range(self._ask.commit_after_tokens):
            if batch.running:
                batch.step()
        drafts = batch.completions()
        best: list[int] = []
        for p, prompt in enumerate(prompts):
            rewards = self.score(prompt, drafts[p * N : (p + 1) * N])
            best.append(p * N + pessimistic_best(rewards, self._reward.config.pessimism))
        plain = [p * N for p in range(len(prompts))]
        batch.drop([i for i in range(len(drafts)) if i not in {*best, *plain}])
        while batch.running:
            batch.step()
        final = batch.completions()
        return [BestReply(shown=final[b], plain=final[a]) for b, a in zip(best, plain, strict=True)]
