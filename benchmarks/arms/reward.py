"""R6 and R7, our side: refitting the reward ensemble, extracting its features, scoring with it."""

import json
import time
from pathlib import Path

from benchmarks.arms.ours import engine_of
from benchmarks.arms.records import messages_of, preferences_of
from benchmarks.material import DIGEST
from learner.config import RewardConfig
from learner.features import FrozenFeatures
from learner.reward.head import BayesianRewardHead
from learner.reward.taste import load_taste


class Update:
    """Seconds a pair: all ``count`` answers refitted, and ``extracted`` pairs pooled anew."""

    def __init__(
        self, model: str, pairs: str, count: int, extracted: int, engine: dict[str, object]
    ) -> None:
        self._engine = engine_of(model, engine)
        self._features = FrozenFeatures(self._engine)
        width = self._engine.backbone.base.config.hidden_size
        self._pairs, self._count, self._extracted = pairs, count, extracted
        self._answers = preferences_of(pairs, 64 * count, width)

    def round(self, number: int) -> dict[str, float]:
        first = number * self._count % len(self._answers)
        answers = self._answers[first : first + self._count]
        head = BayesianRewardHead(RewardConfig(), seed=0)
        began = time.perf_counter()
        head.fit(answers)
        fit = (time.perf_counter() - began) / self._count
        again = time.perf_counter()
        head.fit(answers)  # a pick comes in: all picks are fitted again, their style known
        refit = time.perf_counter() - again
        found = json.loads(Path(self._pairs).read_text(encoding="utf-8"))
        began = time.perf_counter()
        for place in range(self._extracted):
            one = found[(number * self._extracted + place) % len(found)]
            self._features.extract(messages_of(one), [one["chosen"], one["rejected"]])
        extract = (time.perf_counter() - began) / self._extracted
        return {
            "pair_cached_s": fit,
            "pair_s": fit + extract,
            "refit_ms": 1000 * refit,
            "extract_pair_s": extract,
        }


class Head:
    """The head alone: one pick more than ``picks``, and ``candidates`` scored; features are there.

    Texts are as many words as real replies have tokens, hidden states are noise.
    """

    def __init__(self, model: str, pairs: str, picks: int, candidates: int) -> None:
        config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
        sha256 = (Path(model) / DIGEST).read_text(encoding="utf-8").strip()
        self._picks, self._candidates = picks, candidates
        self._answers = preferences_of(pairs, 2 * picks, config["hidden_size"])
        self._head = BayesianRewardHead(RewardConfig(), seed=0, taste=load_taste(sha256))
        self._head.fit(self._answers[:picks])

    def round(self, number: int) -> dict[str, float]:
        count = self._picks + number + 1
        began = time.perf_counter()
        self._head.fit(self._answers[:count])
        fitted = time.perf_counter()
        fresh = self._answers[-1 - number].comparison
        others = self._answers[-50 - self._candidates * number :][: self._candidates]
        replies = [one.comparison.first.completion for one in others]
        scoring = time.perf_counter()
        self._head.score(fresh.prompt, replies)
        return {
            "refit_ms": 1000 * (fitted - began),
            "score_ms": 1000 * (time.perf_counter() - scoring),
        }
