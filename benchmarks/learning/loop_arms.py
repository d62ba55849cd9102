"""The arms of the full loop: how each asks, and how it learns."""

from dataclasses import dataclass, field

from learner.config import AskConfig, AskMode, DpoConfig, GateConfig, OnlineConfig, QueryRule
from learner.update_config import UpdateConfig, UpdateRuleName

_PASSIVE = AskConfig(mode=AskMode.ALWAYS, query=QueryRule.RANDOM, styled=0)

_OFFLINE_GATE = GateConfig(lesson_pairs=0, pull_ins=8)
"""An offline method has no second round for what our own check refuses: a refused lesson would
leave the base, which is no baseline. How far it may drift is limited as in every arm."""

OFFLINE = {"offline-6": 6, "offline": 18, "offline-36": 36}
"""Steps of sixteen pairs, five of which see all: one epoch and a bit, three and a half, seven."""


RULES = tuple(rule.value for rule in UpdateRuleName if rule is not UpdateRuleName.DPO)
"""The update rules beside ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopArm:
    about: str
    ask: AskConfig
    online: OnlineConfig = field(default_factory=OnlineConfig)
    offline: bool = False
    """One lesson on all picks after the last turn, and none before. The answers are the same in
    all arms that differ in the lesson alone, and are gathered once."""


ARMS: dict[str, LoopArm] = (
    {
        "ours": LoopArm(
            about="everything at its default, a question every turn",
            ask=AskConfig(mode=AskMode.ALWAYS),
        ),
        "ours-auto": LoopArm(
            about="everything at its default, asking when unsure", ask=AskConfig()
        ),
        "no-styles": LoopArm(
            about="ours without hidden styles", ask=AskConfig(mode=AskMode.ALWAYS, styled=0)
        ),
        "weaker-pull": LoopArm(
            about="ours with a third of DPO's pull to the reference (decision 0019)",
            ask=AskConfig(mode=AskMode.ALWAYS),
            online=OnlineConfig(dpo=DpoConfig(beta=0.03)),
        ),
        "passive": LoopArm(about="plain samples, random pairs, every turn", ask=_PASSIVE),
    }
    | {
        name: LoopArm(
            about=f"plain samples, random pairs; after the last turn {steps} steps of DPO on all",
            ask=_PASSIVE,
            online=OnlineConfig(dpo=DpoConfig(steps=steps, minibatch=16), gate=_OFFLINE_GATE),
            offline=True,
        )
        for name, steps in OFFLINE.items()
    }
    | {
        rule: LoopArm(
            about=f"ours with {rule} as the update rule",
            ask=AskConfig(mode=AskMode.ALWAYS),
            online=OnlineConfig(update=UpdateConfig(rule=UpdateRuleName(rule))),
        )
        for rule in RULES
    }
)
