"""The real parts of the loop, put together: what replies, and what learns.

The app builds the first in its own process; the second is built in the learner's process, so it
travels there as a small picklable value. Simulation and tests build both in one process: they
share no model, as in life.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from learner.asking import AskingReplyMaker
from learner.config import AskConfig, EngineConfig, OnlineConfig, RewardConfig
from learner.engine.backbone import Backbone
from learner.engine.hf import HfEngine
from learner.features import FrozenFeatures
from learner.gate import Gate
from learner.model_folder import ModelFolder
from learner.online import OnlineLearner
from learner.progress import LearnerState, write_progress
from learner.reward.head import BayesianRewardHead
from learner.updates.online_dpo import OnlineDpo
from storage.database import Reader
from storage.feedback import FeedbackReader
from storage.folder import DataFolder
from storage.policies import PolicyReader
from storage.records import Preference


class UntaughtRewardHead(BayesianRewardHead):
    """Stays at its prior: the control arm of a simulation, and ``--learn off``."""

    def fit(self, preferences: Sequence[Preference]) -> dict[str, float]:  # noqa: ARG002
        return {}


def build_engine(model: ModelFolder, config: EngineConfig) -> HfEngine:
    """Load the model, about a second. Raises ModelError."""
    return HfEngine(Backbone(model.path, config), config)


def build_replies(
    engine: HfEngine,
    *,
    ask: AskConfig,
    config: EngineConfig,
    reward: RewardConfig,
    taught: bool = True,
) -> AskingReplyMaker:
    """What answers a message. Not ``taught``: its reward ensemble ignores all picks."""
    head = BayesianRewardHead if taught else UntaughtRewardHead
    return AskingReplyMaker(
        engine=engine,
        features=FrozenFeatures(engine),
        reward=head(reward, seed=config.seed),
        ask=ask,
        sampling=config.sampling,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildLearner:
    """Builds a learner over a data folder; picklable, called in the process that learns."""

    data: Path
    model: ModelFolder
    engine: EngineConfig
    online: OnlineConfig

    def __call__(self) -> OnlineLearner:
        """Open a reader and load the model. Raises ModelError or StorageError."""
        folder = DataFolder(self.data)
        reader = Reader(folder.database)
        engine = build_engine(self.model, self.engine)
        max_prompt_tokens = self.engine.max_prompt_tokens
        return OnlineLearner(
            feedback=FeedbackReader(reader),
            policies=PolicyReader(reader, folder.rounds),
            round_folder=folder.rounds,
            reward=BayesianRewardHead(self.online.reward, seed=self.online.seed),
            rule=OnlineDpo(engine.backbone, self.online.dpo, max_prompt_tokens=max_prompt_tokens),
            gate=Gate(engine, self.online.gate, seed=self.online.seed),
            config=self.online,
            base_sha256=self.model.sha256,
            announce=partial(_announce, folder.progress),
        )


def _announce(progress: Path, number: int) -> None:
    write_progress(progress, LearnerState.LEARNING, number=number)
