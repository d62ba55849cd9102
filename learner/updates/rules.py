"""The update rules by name."""

from learner.config import OnlineConfig
from learner.engine.local import LocalEngine
from learner.features import frozen_features
from learner.protocols import RewardEnsemble, UpdateRule
from learner.reward.featured import FeaturedReward
from learner.update_config import UpdateRuleName
from learner.updates.grpo import Grpo
from learner.updates.kto import Kto
from learner.updates.lesson import Lesson
from learner.updates.npg import Npg
from learner.updates.online_dpo import OnlineDpo
from learner.updates.ppo import Ppo
from learner.updates.rloo import Rloo

LEARN_FROM_PAIRS = frozenset({UpdateRuleName.DPO, UpdateRuleName.NPG})
"""Rules whose step must raise what was picked against what was not: it is their loss. The others
learn from single verdicts or new samples."""


def make_rule(
    engine: LocalEngine, reward: RewardEnsemble, config: OnlineConfig, *, max_prompt_tokens: int
) -> UpdateRule[Lesson]:
    """The rule that ``config.update.rule`` names; it trains adapters on the engine's backbone."""
    update, backbone, limit = config.update, engine.backbone, max_prompt_tokens
    match update.rule:
        case UpdateRuleName.DPO:
            return OnlineDpo(backbone, config.dpo, max_prompt_tokens=limit)
        case UpdateRuleName.NPG:
            return Npg(backbone, update.npg, max_prompt_tokens=limit)
        case UpdateRuleName.KTO:
            return Kto(backbone, update.kto, max_prompt_tokens=limit)
    sampled = FeaturedReward(frozen_features(engine), reward)
    match update.rule:
        case UpdateRuleName.PPO:
            return Ppo(engine, sampled, update.ppo, max_prompt_tokens=limit)
        case UpdateRuleName.RLOO:
            return Rloo(engine, sampled, update.group, max_prompt_tokens=limit)
        case UpdateRuleName.GRPO:
            return Grpo(engine, sampled, update.group, max_prompt_tokens=limit)
