"""The arms of the comparison: ours, ours minus each part, and the rules of others."""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from learner.config import AskConfig, AskMode, QueryRule, RewardConfig

PLAIN_REWARD = RewardConfig(flip_rates=(0.1,), hidden_prior_stds=(0.5,), picks_between_changes=None)
"""One flat prior, one flip rate, a taste that never changes."""


class Commit(StrEnum):
    """When it is settled what is shown (docs/decisions/0001)."""

    END = "end"
    """The pair when all candidates are complete."""
    LEADER = "leader"
    """One of the pair from drafts, the other when all are complete."""
    PAIR = "pair"
    """Both from drafts."""


class Gate(StrEnum):
    """What decides, after the burn-in, whether a turn is a question."""

    DISAGREEMENT = "disagreement"
    """The product's."""
    VALUE = "value"
    """The knowledge gradient of the rule's pair, against the same threshold."""
    COIN = "coin"
    """A coin that falls for a question as often as the budget allows; the pair is the rule's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """How candidates are drawn, rewards learned and questions asked."""

    name: str
    about: str
    candidates: int = 8
    ladder: bool = True
    """Hidden styles and a high temperature among the candidates; else plain samples only."""
    adaptive: bool = True
    """Hidden styles that a random member of the ensemble expects to please are drawn first."""
    directed: bool = True
    """Whether the shipped directions of taste are a prior."""
    reward: RewardConfig = field(default_factory=RewardConfig)
    ask: AskConfig = field(default_factory=AskConfig)
    gate: Gate = Gate.DISAGREEMENT
    commit: Commit = Commit.END
    second_burn_in: bool = True
    """Whether answers from before a believed change of taste no longer count as asked."""


def _always(query: QueryRule) -> AskConfig:
    return AskConfig(mode=AskMode.ALWAYS, query=query)


OURS = Arm(name="ours", about="everything at its default")
ALWAYS = replace(
    OURS,
    name="ours-always",
    about="ours, asking every turn; the taste is taken to be constant",
    ask=_always(QueryRule.REGRET_AWARE),
    reward=RewardConfig(picks_between_changes=None),
)

ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in [
        OURS,
        ALWAYS,
        Arm(
            name="passive",
            about="plain samples, random pairs, every turn; one flat prior",
            ladder=False,
            directed=False,
            reward=PLAIN_REWARD,
            ask=_always(QueryRule.RANDOM),
        ),
        Arm(
            name="passive-infomax",
            about="plain samples, infomax pairs, every turn; one flat prior",
            ladder=False,
            directed=False,
            reward=PLAIN_REWARD,
            ask=_always(QueryRule.INFOMAX),
        ),
        replace(ALWAYS, name="random", about="ours, random pairs", ask=_always(QueryRule.RANDOM)),
        replace(
            ALWAYS, name="infomax", about="ours, plain infomax", ask=_always(QueryRule.INFOMAX)
        ),
        replace(
            ALWAYS,
            name="double-thompson",
            about="ours, double Thompson sampling",
            ask=_always(QueryRule.DOUBLE_THOMPSON),
        ),
        replace(
            ALWAYS, name="delta-ucb", about="ours, delta-UCB", ask=_always(QueryRule.DELTA_UCB)
        ),
        replace(ALWAYS, name="entropy", about="ours, entropy", ask=_always(QueryRule.ENTROPY)),
        replace(OURS, name="blind-ladder", about="ours, hidden styles at random", adaptive=False),
        replace(OURS, name="no-ladder", about="ours, plain samples only", ladder=False),
        replace(OURS, name="no-directions", about="ours, flat prior only", directed=False),
        replace(
            OURS,
            name="no-averaging",
            about="ours, but one flat prior, one flip rate, no change of taste",
            directed=False,
            reward=PLAIN_REWARD,
        ),
        replace(
            OURS,
            name="no-change-points",
            about="ours, a taste that never changes",
            reward=RewardConfig(picks_between_changes=None),
        ),
        replace(
            OURS,
            name="no-second-burn-in",
            about="ours, but after a change of taste no more is asked than before",
            second_burn_in=False,
        ),
        *(
            replace(
                OURS,
                name=f"half-life-{n}",
                about=f"ours, older picks fade (half after {n}) instead of change points",
                reward=RewardConfig(picks_between_changes=None, half_life_picks=float(n)),
            )
            for n in (30, 100)
        ),
        replace(
            OURS,
            name="style-only",
            about="ours, no hidden states",
            reward=RewardConfig(hidden_components=0),
        ),
        replace(
            OURS, name="value-gate", about="ours, gated by the knowledge gradient", gate=Gate.VALUE
        ),
        replace(OURS, name="coin-gate", about="ours, asking at random moments", gate=Gate.COIN),
        replace(OURS, name="four", about="ours with four candidates", candidates=4),
        *(
            replace(
                ALWAYS,
                name=f"commit-{commit}",
                about=f"ours with four candidates, asking every turn; settled early: {commit}",
                candidates=4,
                commit=commit,
            )
            for commit in Commit
        ),
    ]
}
