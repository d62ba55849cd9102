"""R6, our side: refitting the reward ensemble on cached features, and extracting them first."""

import json
import time
from pathlib import Path

from benchmarks.arms.ours import engine_of
from benchmarks.arms.records import messages_of, preferences_of
from learner.config import RewardConfig
from learner.features import FrozenFeatures
from learner.reward.head import BayesianRewardHead


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
