"""What replies are written with."""

from collections.abc import Sequence
from dataclasses import dataclass

from learner.engine.local import ServingEngine
from learner.protocols import DecodingBatch
from learner.scorer import Scorer
from learner.styles import Style
from storage.records import Message, PolicyVersion, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Who samples replies, who scores them, and how they are sampled."""

    engine: ServingEngine
    scorer: Scorer
    sampling: Sampling

    def start(
        self, prompt: Sequence[Message], n: int, seed: int, styles: Sequence[Style] = ()
    ) -> DecodingBatch:
        """So many replies by the version that speaks. Raises PromptTooLongError."""
        return self.engine.start(prompt, n, self.sampling, seed, styles)

    def begin(self, prompt: Sequence[Message], version: PolicyVersion, seed: int) -> DecodingBatch:
        """One reply by ``version``. Raises AdapterLoadError and PromptTooLongError."""
        self.engine.load(version)
        return self.start(prompt, 1, seed)
