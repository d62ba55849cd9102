"""The update rules by name."""

from learner.config import OnlineConfig
from learner.engine.local import LocalEngine
from learner.features import frozen_features
from learner.protocols import RewardEnsemble, UpdateRule
from learner.reward.featured import FeaturedReward
from learner.update_config import UpdateRuleName
from learner.updates.lesson import Lesson
from learner.updates.online_dpo import OnlineDpo
from learner.updates.ppo import Ppo


def make_rule(
    engine: LocalEngine, reward: RewardEnsemble, config: OnlineConfig, *, max_prompt_tokens: int
) -> UpdateRule[Lesson]:
    """The rule that ``config.update.rule`` names; it trains adapters on the engine's backbone."""
    update = config.update
    match update.rule:
        case UpdateRuleName.DPO:
            return OnlineDpo(engine.backbone, config.dpo, max_prompt_tokens=max_prompt_tokens)
        case UpdateRuleName.PPO:
            sampled = FeaturedReward(frozen_features(engine), reward)
            return Ppo(engine, sampled, update.ppo, max_prompt_tokens=max_prompt_tokens)
