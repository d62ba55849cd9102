"""From a message to what the person sees: draft, score, open, stream, ask.

Streaming has to start before every candidate is complete. All candidates draft a short prefix
unseen; the prefixes are scored, and it is decided whether to ask. If not, the best one streams, and
the others are finished afterwards for the learner. If so, the pair is chosen from the prefixes too:
both stream side by side, the others decode beside them, and the person may choose at any moment.
docs/decisions/0001 has what it costs to decide so early.
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
from learner.continuing import go_on
from learner.duplicates import different_pairs, near_duplicates
from learner.early_pick import EarlyPick
from learner.engine.local import ServingEngine
from learner.presentable import presentable
from learner.protocols import DecodingBatch, Draft, FeatureExtractor, ReplyPlan
from learner.reward.head import BayesianRewardHead
from learner.reward.signals import orders_of, thumbs_of
from learner.scorer import Scorer
from learner.seeds import generator_for
from learner.several import write_several
from learner.style_bandit import StyleBandit
from learner.viewer import Viewer
from learner.writer import Writer
from learner.written import as_completion
from storage.records import (
    Author,
    CandidatePool,
    Choice,
    Completion,
    Message,
    PolicyVersion,
    Preference,
    RatedReply,
    Sampling,
)
from storage.slates import Ranking
from storage.trends import AskDecision


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
        self._writer = Writer(engine=engine, scorer=Scorer(features, reward), sampling=sampling)
        self._scorer = self._writer.scorer
        self._reward = reward
        self._ask = ask
        self._asker = Asker(ask, pessimism=reward.config.pessimism)
        self._styles = StyleBandit(reward)

    @property
    def engine(self) -> ServingEngine:
        return self._writer.engine

    @property
    def features(self) -> FeatureExtractor:
        return self._scorer.features

    @property
    def reward(self) -> BayesianRewardHead:
        return self._reward

    def prepare(self, version: PolicyVersion, prompt: Sequence[Message], hurry: Event) -> None:
        """Load ``version`` and encode ``prompt`` under it. Raises AdapterLoadError."""
        self._writer.engine.load(version)
        if prompt:
            self._writer.engine.warm(prompt, self._writer.sampling, hurry)

    def resume(self, decisions: Sequence[AskDecision], pools: Sequence[CandidatePool]) -> None:
        """Take up again after a restart: when it was asked, how long replies become, and what the
        styles came to."""
        self._asker.resume(decisions)
        for pool in pools:
            own = [c.completion for c in pool.candidates if c.author is Author.POLICY]
            completions = [one for one in own if one.reward_mean is not None]  # drawn here
            for completion in completions:
                self._reward.lengths.observe(completion)
            self._styles.observe(pool.prompt, completions)

    def refit(
        self,
        preferences: Sequence[Preference],
        rated: Sequence[RatedReply] = (),
        rankings: Sequence[Ranking] = (),
    ) -> dict[str, float]:
        """Refit the reward ensemble on all live picks, thumbs and rankings; returns metrics."""
        return self._reward.fit(preferences, [*thumbs_of(rated), *orders_of(rankings)])

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
        rival: PolicyVersion | None = None,
    ) -> ReplyPlan:
        """Write a reply or a pair. Raises AdapterLoadError and PromptTooLongError."""
        viewer = Viewer(emit=emit, cancel=cancel, early=early or EarlyPick())
        generator = generator_for("decide", seed)
        self._writer.engine.load(version)
        styles = self._styles.choose(self._ask.styled_candidates, generator)
        batch = self._writer.start(prompt, self._ask.candidates, seed, styles)
        viewer.draft(batch, self._ask.commit_after_tokens)
        completions = batch.completions()
        fit = presentable(completions)
        drafts = self.score(prompt, [completions[row] for row in fit])
        batch.drop([row for row in range(len(completions)) if row not in fit])
        opening = self._asker.open(drafts, answers=self._reward.answers, generator=generator)
        if not may_ask:
            opening = replace(opening, leader=opening.best, reason=None)
        asks = opening.reason is not None
        duel_share = self._ask.duel_share if rival is not None and 0 in fit else 0.0
        dares = float(torch.rand((), generator=generator)) < duel_share
        if asks and rival is not None and dares:
            plan = self._duel(prompt, batch, opening, (version, rival), seed, viewer)
        else:
            plan = self._plan(prompt, batch, fit, drafts, opening, generator, viewer)
            plan = _if_drawn(plan, 1.0 - duel_share)
        if may_ask:
            self._count(plan, asked=asks and viewer.early.choice is Choice.SKIP)
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
        viewer = Viewer(emit=emit, cancel=cancel, early=EarlyPick())
        return go_on(self._writer, prompt, begun, version, seed, viewer)

    def written(self, prompt: Sequence[Message], text: str, version: PolicyVersion) -> Completion:
        """A person's reply as a completion. Raises AdapterLoadError and PromptTooLongError."""
        self._writer.engine.load(version)
        completion = as_completion(self._writer.engine, prompt, text)
        return self._scorer.read(prompt, [completion])[0]

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
        self._writer.engine.load(version)
        viewer = Viewer(emit=emit, cancel=cancel, early=EarlyPick())
        found = write_several(self._writer, prompt, n, seed, viewer)
        return tuple(self._scorer.scored(prompt, found)) if found else ()

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
        """Let two versions reply, blind. Raises AdapterLoadError and PromptTooLongError."""
        viewer = Viewer(emit=emit, cancel=cancel, early=early or EarlyPick())
        return compare(self._writer, prompt, versions, seed, viewer)

    def configure(self, ask: AskConfig, sampling: Sampling) -> None:
        """Write with these settings from the next reply on; the asking threshold stays."""
        self._ask, self._writer = ask, replace(self._writer, sampling=sampling)
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
        self._writer.engine.load(version)
        styles = self._styles.choose(self._ask.styled_candidates, None)
        return best_replies(self._writer, styles, prompts, self._ask, seeds)

    # -- the steps -----------------------------------------------------------------------------

    def _plan(
        self,
        prompt: Sequence[Message],
        batch: DecodingBatch,
        fit: Sequence[int],
        drafts: Float[Tensor, "E N"],
        opening: Opening,
        generator: torch.Generator,
        viewer: Viewer,
    ) -> ReplyPlan:
        """One reply streams to its end, or two of which one may be chosen meanwhile.

        Candidate n of ``drafts`` and ``opening`` is row ``fit[n]`` of the batch.
        """
        texts = [batch.text(row) for row in fit]
        usable = different_pairs(texts, self._ask.near_duplicate_ratio)
        asked = self._asker.ask(opening, drafts, usable, generator)
        if asked is None or viewer.cancelled:
            viewer.one(batch, fit[opening.best])
            return self._single(prompt, batch, fit[opening.best], viewer.cancel)
        *pair, question = asked
        first, second = (fit[n] for n in pair)
        others = [row for row in fit if row not in (first, second)]
        said = viewer.pair(batch, (first, second), others)
        if said is Choice.SKIP:  # as where both are whole: the first one goes on
            batch.drop([second, *others])
            viewer.one(batch, first)
            return self._single(prompt, batch, first, viewer.cancel)
        if not self._asks(batch, (first, second), said, viewer):
            return self._single(prompt, batch, fit[opening.leader], viewer.cancel)
        replies = batch.completions()
        return ReplyPlan(
            shown=tuple(self._scorer.scored(prompt, [replies[first], replies[second]])),
            question=question,
            finish_others=self._others(prompt, batch, (first, second), viewer.cancel),
            dropped_messages=batch.dropped_messages,
            picked=said,
        )

    def _asks(
        self, batch: DecodingBatch, pair: tuple[int, int], said: Choice | None, viewer: Viewer
    ) -> bool:
        """Whether what was streamed side by side is a question: chosen already, or worth one."""
        if said is not None:
            return True
        first, second = (batch.text(row) for row in pair)
        alike = near_duplicates(first, second, self._ask.near_duplicate_ratio)
        return not viewer.cancelled and not alike

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
        plan = duel(self._writer, prompt, batch, opening, versions, viewer, self._ask, seed)
        if plan is None:
            viewer.one(batch, 0)
            plan = self._single(prompt, batch, 0, viewer.cancel)
        return plan

    def _count(self, plan: ReplyPlan, *, asked: bool) -> None:
        """``asked``: there would have been a question, had the person not skipped it."""
        self._asker.count_turn(
            asked=plan.question is not None or asked,
            answers=self._reward.answers,
            disagreement=plan.question and plan.question.disagreement,
        )

    def _single(
        self, prompt: Sequence[Message], batch: DecodingBatch, row: int, cancel: Event
    ) -> ReplyPlan:
        """The reply is complete, or was stopped; the others may still run."""
        return ReplyPlan(
            shown=tuple(self._scorer.scored(prompt, [batch.completions()[row]])),
            question=None,
            finish_others=self._others(prompt, batch, (row,), cancel),
            dropped_messages=batch.dropped_messages,
        )

    def _others(
        self, prompt: Sequence[Message], batch: DecodingBatch, shown: Sequence[int], cancel: Event
    ) -> Callable[[Event], tuple[Completion, ...]]:
        """What finishes the candidates that nobody saw, and tells the bandit of their styles."""

        def finish_others(hurry: Event) -> tuple[Completion, ...]:
            if cancel.is_set():
                return ()
            while batch.running and not hurry.is_set():
                batch.step()
            completions = batch.completions()
            fit = presentable(completions)
            rated = self._scorer.scored(prompt, [completions[i] for i in fit])
            self._styles.observe(prompt, rated)
            return tuple(reply for i, reply in zip(fit, rated, strict=True) if i not in shown)

        return finish_others


def _if_drawn(plan: ReplyPlan, share: float) -> ReplyPlan:
    """The plan of a turn that goes so with probability ``share``, and by a duel otherwise."""
    if plan.question is None:
        return plan
    question = replace(plan.question, propensity=share * plan.question.propensity)
    return replace(plan, question=question)
