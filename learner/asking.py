"""From a message to what the person sees: draft, score, open, stream, ask.

Streaming has to start before every candidate is complete. All candidates draft a short prefix
unseen; the prefixes are scored, the best one becomes the leader and streams, and it is decided
whether to ask. If so, the others run on beside it, and the reply to compare it with is chosen when
all are complete: a person reads the leader meanwhile, and what makes a pair worth asking about,
its length above all, is often known only at the end. If not, the leader is all that is shown, and
the others are finished afterwards for the learner. docs/decisions/0001 has what this costs.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Event

import torch
from jaxtyping import Float
from torch import Tensor

from learner.acquisition import Asker, Opening
from learner.best_reply import BestReply, best_replies
from learner.comparing import compare, duel
from learner.config import AskConfig
from learner.duplicates import different_pairs
from learner.engine.local import ServingEngine
from learner.protocols import DecodingBatch, Draft, FeatureExtractor, ReplyPlan, Stage
from learner.reward.head import BayesianRewardHead
from learner.reward.signals import orders_of, thumbs_of
from learner.scorer import Scorer
from learner.several import write_several
from learner.style_bandit import StyleBandit
from learner.viewer import Viewer
from learner.written import as_completion
from storage.records import (
    Choice,
    Completion,
    Message,
    PolicyVersion,
    Preference,
    RatedReply,
    Role,
    Sampling,
)
from storage.slates import Ranking

_ANSWERS = (Choice.FIRST, Choice.SECOND, Choice.TIE, Choice.BOTH_BAD)
_DECISIONS = 1 << 40  # far from the seeds of the candidates' own draws


class AskingReplyMaker:
    """The ReplyMaker of real models."""

    def __init__(
        self,
        *,
        engine: ServingEngine,
        features: FeatureExtractor,
        reward: BayesianRewardHead,
        ask: AskConfig,
        sampling: Sampling,
    ) -> None:
        self._engine = engine
        self._scorer = Scorer(features, reward)
        self._reward = reward
        self._ask = ask
        self._sampling = sampling
        self._asker = Asker(ask, pessimism=reward.config.pessimism)
        self._styles = StyleBandit(reward)
        self._answers = 0

    @property
    def engine(self) -> ServingEngine:
        return self._engine

    @property
    def features(self) -> FeatureExtractor:
        return self._scorer.features

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
        viewer = Viewer(emit=emit, cancel=cancel, settle=settle or Event())
        generator = torch.Generator().manual_seed(_DECISIONS + seed)
        self._engine.load(version)
        styles = self._styles.choose(self._ask.styled_candidates, generator)
        batch = self._engine.start(prompt, self._ask.candidates, self._sampling, seed, styles)
        viewer.draft(batch, self._ask.commit_after_tokens)
        drafts = self.score(prompt, batch.completions())
        opening = self._asker.open(drafts, answers=self._answers, generator=generator)
        if not may_ask:
            opening = replace(opening, leader=opening.best, reason=None)
        asks = opening.reason is not None
        dares = float(torch.rand((), generator=generator)) < self._ask.duel_share
        if asks and rival is not None and dares:
            plan = self._duel(prompt, batch, opening, (version, rival), seed, viewer)
        else:
            plan = self._plan(prompt, batch, opening, generator, viewer)
        if may_ask:
            self._count(plan, asked=asks and viewer.settled)
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
            shown=tuple(self._scorer.scored(prompt, [whole])),
            question=None,
            finish_others=lambda _: (),
            dropped_messages=batch.dropped_messages,
        )

    def written(self, prompt: Sequence[Message], text: str, version: PolicyVersion) -> Completion:
        """A person's reply as a completion. Raises AdapterLoadError and PromptTooLongError."""
        self._engine.load(version)
        completion = as_completion(self._engine, prompt, text)
        return self._scorer.scored(prompt, [completion])[0]

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
        return tuple(self._scorer.scored(prompt, found)) if found else ()

    def compare(
        self,
        prompt: Sequence[Message],
        versions: tuple[PolicyVersion, PolicyVersion],
        seed: int,
        emit: Callable[[Draft], None],
        cancel: Event,
    ) -> ReplyPlan:
        """Let two versions reply, blind. Raises AdapterLoadError and PromptTooLongError."""
        return compare(
            self._engine, self._scorer, prompt, versions, self._sampling, seed, emit, cancel
        )

    def configure(self, ask: AskConfig, sampling: Sampling) -> None:
        """Write with these settings from the next reply on; the asking threshold stays."""
        self._ask, self._sampling = ask, sampling
        self._asker.config = ask

    def taste(self) -> dict[str, float]:
        """Mean weight of each style feature, in logits per typical difference."""
        return self._reward.style_weights

    def score(
        self, prompt: Sequence[Message], completions: Sequence[Completion]
    ) -> Float[Tensor, "E N"]:
        """Every member's reward of each completion, features extracted anew; drafts may be cut."""
        return self._scorer.score(prompt, completions)

    def best_many(
        self, prompts: Sequence[Sequence[Message]], version: PolicyVersion, seeds: Sequence[int]
    ) -> list[BestReply]:
        """What each prompt would be shown now without asking, and one plain sample of the policy.

        For measuring: nothing is stored and nothing moves.
        """
        self._engine.load(version)
        styles = self._styles.choose(self._ask.styled_candidates, None)
        return best_replies(
            self._engine, self._scorer, styles, prompts, self._ask, self._sampling, seeds
        )

    # -- the steps -----------------------------------------------------------------------------

    def _plan(
        self,
        prompt: Sequence[Message],
        batch: DecodingBatch,
        opening: Opening,
        generator: torch.Generator,
        viewer: Viewer,
    ) -> ReplyPlan:
        """The leader streams to its end, and a pair is made of it if one is to be asked about."""
        viewer.stream(batch, opening)
        if opening.reason is not None and viewer.settled and not viewer.cancelled:
            opening = replace(opening, reason=None)
            batch.drop([row for row in range(self._ask.candidates) if row != opening.leader])
            viewer.stream(batch, opening)
        if opening.reason is None or viewer.cancelled:
            return self._single(prompt, batch, opening.leader, viewer.cancel)
        plan = self._pair(prompt, batch, opening, generator)
        viewer.see(tuple(c.text for c in plan.shown))
        return plan

    def _pair(
        self,
        prompt: Sequence[Message],
        batch: DecodingBatch,
        opening: Opening,
        generator: torch.Generator,
    ) -> ReplyPlan:
        """All are complete: choose whom to compare the leader with."""
        finished = self._scorer.featured(prompt, batch.completions())
        self._styles.observe(prompt, finished)
        rewards = self._reward.score(prompt, finished)
        usable = different_pairs([c.text for c in finished], self._ask.near_duplicate_ratio)
        asked = self._asker.ask(opening, rewards, usable, generator)
        shown = [opening.leader] if asked is None else list(asked[:2])
        rated = self._scorer.with_rewards(finished, rewards)
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
        opening: Opening,
        versions: tuple[PolicyVersion, PolicyVersion],
        seed: int,
        viewer: Viewer,
    ) -> ReplyPlan:
        """A question between two versions; the live one's reply alone where nothing is asked."""
        plan = duel(
            self._engine, self._scorer, prompt, batch, opening, versions, viewer,
            self._ask, self._sampling, seed,
        )  # fmt: skip
        if plan is None:
            viewer.stream(batch, replace(opening, leader=0, reason=None))
            plan = self._single(prompt, batch, 0, viewer.cancel)
        return plan

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
            rated = self._scorer.scored(prompt, batch.completions())
            self._styles.observe(prompt, rated)
            return tuple(c for i, c in enumerate(rated) if i != leader)

        return ReplyPlan(
            shown=tuple(self._scorer.scored(prompt, [batch.completions()[leader]])),
            question=None,
            finish_others=finish_others,
            dropped_messages=batch.dropped_messages,
        )
