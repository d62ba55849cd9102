"""One line of the learning curve: what the loop is worth after some turns, against its base."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from statistics import fmean
from typing import Protocol

import numpy as np

from chat_app.simulate.prompts import Prompt
from chat_app.simulate.rater import Rater
from learner.evaluation.exam import Exam
from learner.evaluation.intervals import bootstrap_interval
from storage.records import Completion, PolicyVersion, PolicyVersionId, Preference

BASE_ANSWERS = 4
"""Answers of the base to each prompt, all of which a reply is set against. With a single one its
luck was the opponent of every run: the base itself won 54 % against it (docs/LOG.md)."""


class Examiner(Protocol):
    """Answers evaluation prompts without storing anything (``learner/evaluation/examiner.py``)."""

    def base_replies(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> list[Completion]: ...

    def examine(
        self, prompts: Sequence[Prompt], version: PolicyVersion, seeds: Sequence[int]
    ) -> Exam: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A measurement; field names are the contract of summary.json."""

    turn: int
    picks: int
    """Answers so far that named a better reply."""
    asked: int
    """Pairs shown so far."""
    ask_rate: float
    """``asked`` per turn; 0 at turn 0."""
    win_rate_vs_base: float
    """Share of evaluation prompts on which the reply shown now beats a base sample, 0 to 1."""
    win_rate_ci: tuple[float, float]
    """95 % interval of it: percentile bootstrap over the evaluation prompts."""
    win_rate_weights_only: float
    """The same with one plain sample of the live policy."""
    mean_score_base: float | None
    """Mean utility by the rater's score(); None, as the next two, where it defines none."""
    mean_score_policy: float | None
    """Of plain samples of the live policy."""
    mean_score_shown: float | None
    reward_accuracy: float | None
    """Prequential: share of ``picks``, the burn-in left out, that the ensemble had foreseen, each
    predicted before it was made; a prediction of exactly one half counts half. Pairs are asked
    about because they are uncertain, so this lies below the accuracy on random pairs. None before
    the first such pick."""
    kl_to_base: float
    """Nats per token, mean over the plain samples."""
    mean_length_tokens: float
    """Of the replies shown."""
    distinct_2: float
    """Share of different ones among all pairs of neighbouring words in the plain samples
    (arXiv 1510.03055, distinct-2), 0 to 1: it falls where replies become alike."""
    live_version: PolicyVersionId
    seconds: float
    """Wall-clock time of the run, measuring included. Of a start that was cut off, the time up to
    its last checkpoint counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What has happened so far."""

    turn: int
    asked: int
    picks: Sequence[Preference]
    """Answers that named a better reply, oldest first."""
    live: PolicyVersion
    seconds: float


class Measuring:
    """Compares the loop with its base on fixed prompts."""

    def __init__(
        self, examiner: Examiner, rater: Rater, prompts: list[Prompt], *, seed: int, burn_in: int
    ) -> None:
        """``burn_in``: first picks whose predictions are not counted."""
        self._examiner = examiner
        self._rater = rater
        self._prompts = prompts
        self._seed = seed
        self._burn_in = burn_in
        # Not of the run's seed: runs with other seeds meet the same opponents.
        self._base: list[list[str]] = []
        for n in range(BASE_ANSWERS):
            seeds = [_prompt_seed(f"base {n}", index) for index in range(len(prompts))]
            self._base.append([reply.text for reply in examiner.base_replies(prompts, seeds)])
        self._live_seeds = [_prompt_seed(f"live {seed}", index) for index in range(len(prompts))]

    def measure(self, progress: Progress) -> Checkpoint:
        """Sample, judge and sum up; the loop is left as it was."""
        exam = self._examiner.examine(self._prompts, progress.live, self._live_seeds)
        shown = [reply.text for reply in exam.shown]
        plain = [reply.text for reply in exam.plain]
        rng = np.random.default_rng([self._seed, 2, progress.turn])  # the judge's own noise
        shares = self._win_shares(shown, rng)
        return Checkpoint(
            turn=progress.turn,
            picks=len(progress.picks),
            asked=progress.asked,
            ask_rate=progress.asked / progress.turn if progress.turn else 0.0,
            win_rate_vs_base=float(shares.mean()),
            win_rate_ci=bootstrap_interval(shares, rng),
            win_rate_weights_only=float(self._win_shares(plain, rng).mean()),
            mean_score_base=self._mean_score_base(),
            mean_score_policy=self._rater.mean_score(self._prompts, plain),
            mean_score_shown=self._rater.mean_score(self._prompts, shown),
            reward_accuracy=foreseen_share(progress.picks[self._burn_in :]),
            kl_to_base=exam.kl_to_base,
            mean_length_tokens=fmean(len(reply.token_ids) for reply in exam.shown),
            distinct_2=distinct_2(plain),
            live_version=progress.live.id,
            seconds=progress.seconds,
        )

    def _win_shares(self, replies: list[str], rng: np.random.Generator) -> np.ndarray:
        """Win share of each prompt's reply against the base's answers, (P,), 0 to 1."""
        return np.mean(
            [
                [
                    self._rater.win_share(*trio, rng)
                    for trio in zip(self._prompts, replies, answers, strict=True)
                ]
                for answers in self._base
            ],
            axis=0,
        )

    def _mean_score_base(self) -> float | None:
        scores = [self._rater.mean_score(self._prompts, answers) for answers in self._base]
        known = [score for score in scores if score is not None]
        return fmean(known) if known else None


def foreseen_share(picks: Sequence[Preference]) -> float | None:
    """Share of picks whose winner had been given more than even odds; None without picks."""
    if not picks:
        return None
    return fmean(_foreseen(pick) for pick in picks)


def distinct_2(texts: Sequence[str]) -> float:
    """Different pairs of neighbouring words over all of them; 1 where there is none."""
    words = [text.lower().split() for text in texts]
    pairs = [pair for one in words for pair in pairwise(one)]
    return len(set(pairs)) / len(pairs) if pairs else 1.0


def checkpoint_turns(turns: int) -> list[int]:
    """0, 10, 20, 50, 100, every 100 after, and the last."""
    regular = [0, 10, 20, 50, *range(100, turns + 1, 100)]
    return sorted({turn for turn in regular if turn <= turns} | {turns})


def _foreseen(pick: Preference) -> float:
    first_better_prob = pick.comparison.question.first_better_prob
    if first_better_prob == 0.5:
        return 0.5
    return float((first_better_prob > 0.5) == (pick.chosen == pick.comparison.first))


def _prompt_seed(salt: str, index: int) -> int:
    """31 bits, so far apart that the candidates of two prompts share no seed."""
    return int.from_bytes(blake2b(f"{salt}/{index}".encode(), digest_size=4).digest()) >> 1
