"""One person, one seed, one arm: turn by turn, as the app would do it, on stored candidates.

The reward head, the asker and their settings are the product's own; only sampling is replaced by
drawing from the pool. Measured from outside are, on test prompts with all eight candidates of the
arm, the reply that pessimistic best-of-N would show, and, along the way, what was shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from benchmarks.learning.arms import Arm, Commit, Gate
from benchmarks.learning.raters import Behaviour, pick
from benchmarks.learning.world import Scene, World
from learner.acquisition import Asker
from learner.config import AskMode
from learner.query_rules import pessimistic_best, value_of_answer
from learner.reward.head import BayesianRewardHead
from learner.reward.taste import Taste
from learner.style_bandit import StyleBandit
from learner.styles import STYLES

LABEL_MARKS = (0, 5, 10, 15, 20, 30, 40, 60, 80, 100, 150, 200)
RECENT = 32
VALUE_SCALE = 2.0
"""The controller works on values up to 0.5; a knowledge gradient is hundredths of a logit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    taste: str
    behaviour: Behaviour = field(default_factory=Behaviour)
    later: str | None = None
    """The taste after ``behaviour.changes_at``."""

    def taste_at(self, turn: int) -> str:
        at = self.behaviour.changes_at
        return (
            self.later if self.later is not None and at is not None and turn >= at else self.taste
        )


@dataclass(slots=True)
class _Answers:
    """What was answered so far, as differences of features, winner minus loser."""

    style: list[torch.Tensor] = field(default_factory=list)
    hidden: list[torch.Tensor] = field(default_factory=list)
    position: list[float] = field(default_factory=list)
    tie: list[bool] = field(default_factory=list)


def note_styles(bandit: StyleBandit, scene: Scene, chosen: list[int]) -> None:
    """Tell the product's bandit what the styles of this turn did."""
    plain = [i for i in chosen if scene.rungs[i] == "plain"]
    for i in chosen:
        if scene.rungs[i] in STYLES:
            style = scene.style[i] - scene.style[plain].mean(dim=0)
            bandit.note(scene.rungs[i], style, scene.hidden[i] - scene.hidden[plain].mean(dim=0))


def candidates_of(
    scene: Scene, arm: Arm, rng: np.random.Generator, worth: dict[str, float] | None = None
) -> list[int]:
    """The arm's candidates of one turn: on a ladder half plain, the rest hot and styled.

    Styles of the highest ``worth`` come first, unknown ones before them.
    """
    n = arm.candidates
    plain = rng.permutation(scene.of_kind("plain")).tolist()
    if not arm.ladder:
        return plain[:n]
    hot = rng.permutation(scene.of_kind("hot")).tolist()[: n // 8]
    styled = rng.permutation(scene.of_kind("styled")).tolist()
    if worth is not None:
        styled.sort(key=lambda i: -worth.get(scene.rungs[i], np.inf))
    styled = styled[: n // 2]
    return [*plain[: n - len(hot) - len(styled)], *hot, *styled]


def run_episode(
    world: World,
    taste: Taste | None,
    arm: Arm,
    person: Person,
    *,
    turns: int,
    labels: int,
    seed: int,
) -> dict[str, list[list[float]]]:
    """Until ``turns`` turns or ``labels`` answers.

    Returns ``marks``: rows of turn, answers, questions, mean utility of the shown reply on test
    prompts in standard deviations of plain samples above their mean (best of the arm's own
    kind, and best of eight plain ones), the share of the gain possible among the latter, expected
    win rate against a plain sample, calibration error; and ``turns``: per turn whether it was a
    question, the utility of the (better) shown reply on the same scale, and how probable a change
    of taste is held to be.
    """
    rng = np.random.default_rng([seed, 7])
    generator = torch.Generator().manual_seed(seed)
    head = BayesianRewardHead(arm.reward, seed=seed, taste=_shipped(taste, arm))
    asker = Asker(arm.ask, pessimism=arm.reward.pessimism)
    answers, questions, recent_asks = _Answers(), 0, [0] * 10
    styles = StyleBandit(head)
    order = _order(len(world.train), turns, rng)
    recent: list[tuple[torch.Tensor, torch.Tensor]] = []
    marks, log = [], []
    for turn in range(turns):
        now = person.taste_at(turn)
        if _due(turn, len(answers.tie), marks, arm, person.behaviour.changes_at):
            worth = styles.worth(None) if arm.adaptive else None
            at = (turn, len(answers.tie), questions)
            marks.append([*at, *_measure(world, arm, head, now, worth, seed)])
        scene = world.train[order[turn]]
        worth = styles.worth(generator) if arm.adaptive else None
        chosen = candidates_of(scene, arm, rng, worth)
        note_styles(styles, scene, chosen)
        style, hidden = scene.style[chosen], scene.hidden[chosen]
        rewards = head.margin_draws(style, hidden)
        counted = head.answers if arm.second_burn_in else len(answers.tie)
        recent = [*recent, (style, hidden)][-RECENT:]
        match arm.gate:
            case Gate.DISAGREEMENT:
                asked = _ask(asker, head, rewards, arm, scene, chosen, counted, generator)
            case Gate.VALUE:
                asked = _ask_by_value(
                    asker, head, rewards, scene, chosen, recent, counted, generator
                )
            case Gate.COIN:
                coin = rng.random()
                asked = _ask_by_coin(asker, head, rewards, scene, chosen, coin, counted, generator)
        best = pessimistic_best(rewards, arm.reward.pessimism)
        utility = scene.utility[now][chosen]
        shown = [best] if asked is None else list(asked[:2])
        better = chosen[max(shown, key=lambda i: utility[i])]
        gained = over_others(scene.utility[now], better, scene.of_kind("plain")).mean()
        log.append(
            [
                float(asked is not None),
                gained / world.spread[now],
                head.change_prob,
            ]
        )
        said = None
        if asked is not None:
            questions += 1
            tired = 1.0 - (1.0 - person.behaviour.fatigue) ** sum(recent_asks)
            if rng.random() >= tired:
                first, second, _ = asked
                said = pick(float(utility[first] - utility[second]), person.behaviour, rng)
                sign = -1.0 if said == "second" else 1.0
                answers.style.append(sign * (style[first] - style[second]))
                answers.hidden.append(sign * (hidden[first] - hidden[second]))
                answers.position.append(sign)
                answers.tie.append(said == "tie")
        recent_asks = [*recent_asks[1:], int(asked is not None)]
        asker.count_turn(
            asked=asked is not None,
            answers=counted + (said is not None),
            disagreement=None if asked is None else asked[2].disagreement,
        )
        if said is not None:
            _refit(head, answers)
        if len(answers.tie) >= labels:
            break
    worth = styles.worth(None) if arm.adaptive else None
    at = (len(log), len(answers.tie), questions)
    marks.append([*at, *_measure(world, arm, head, person.taste_at(len(log) - 1), worth, seed)])
    return {"marks": marks, "turns": [[round(float(x), 3) for x in row] for row in log]}


def _shipped(taste: Taste | None, arm: Arm) -> Taste | None:
    return taste if arm.directed or taste is None else taste.without("")


def _refit(head: BayesianRewardHead, answers: _Answers) -> None:
    head.fit_differences(
        style=torch.stack(answers.style),
        hidden=torch.stack(answers.hidden),
        position=torch.tensor(answers.position),
        tie=torch.tensor(answers.tie),
        may_tie=True,
    )


def _ask(asker, head, rewards, arm, scene, chosen, answers, generator):  # noqa: ANN001, ANN202
    """The product's two steps, each on what the arm knows by then."""
    usable = scene.usable[chosen][:, chosen]
    opening_rewards = partner_rewards = rewards
    if arm.commit is not Commit.END:
        if scene.drafts is None:
            raise RuntimeError("there are no drafts: python -m benchmarks.learning.drafts")
        drafts = scene.drafts
        opening_rewards = head.margin_draws(drafts.style[chosen], drafts.hidden[chosen])
        if arm.commit is Commit.PAIR:
            partner_rewards, usable = opening_rewards, usable & drafts.usable[chosen][:, chosen]
    opening = asker.open(opening_rewards, answers=answers, generator=generator)
    return asker.ask(opening, partner_rewards, usable, generator)


def _ask_by_value(asker, head, rewards, scene, chosen, recent, n, generator):  # noqa: ANN001, ANN202
    """The same turn with the knowledge gradient of the rule's pair in place of the disagreement."""
    asked = _pair_of_the_rule(asker, head, rewards, scene, chosen, n, generator)
    if asked is None:
        return None
    past = torch.stack([head.margin_draws(s, h) for s, h in recent])
    value = VALUE_SCALE * value_of_answer(rewards, asked[0], asked[1], past)
    question = replace(asked[2], disagreement=value)
    if n < asker.config.burn_in or asker.would_ask(value, answers=n):
        return asked[0], asked[1], question
    return None


def _ask_by_coin(asker, head, rewards, scene, chosen, coin, n, generator):  # noqa: ANN001, ANN202
    """The same turn, a question with the probability that the budget allows."""
    asked = _pair_of_the_rule(asker, head, rewards, scene, chosen, n, generator)
    return asked if n < asker.config.burn_in or coin < asker.config.share_after(n) else None


def _pair_of_the_rule(asker, head, rewards, scene, chosen, n, generator):  # noqa: ANN001, ANN202
    """The question that would be asked on this turn if every turn were one."""
    always = Asker(replace(asker.config, mode=AskMode.ALWAYS), pessimism=head.config.pessimism)
    opening = always.open(rewards, answers=n, generator=generator)
    return always.ask(opening, rewards, scene.usable[chosen][:, chosen], generator)


def _order(n: int, turns: int, rng: np.random.Generator) -> list[int]:
    """Prompts in shuffled cycles."""
    cycles = [rng.permutation(n) for _ in range(turns // n + 1)]
    return np.concatenate(cycles)[:turns].tolist()


def _due(
    turn: int, labels: int, marks: list[list[float]], arm: Arm, changes_at: int | None
) -> bool:
    """At certain counts of answers; by turns where asking is optional and after a change."""
    seen = {int(m[1]) for m in marks}
    by_turn = arm.ask.mode is AskMode.AUTO and turn % 25 == 0 and turn > 0
    if changes_at is not None and turn >= changes_at - 1:
        by_turn = turn < changes_at or (turn - changes_at) % 10 == 0
    return by_turn or (labels in LABEL_MARKS and labels not in seen)


def _measure(
    world: World,
    arm: Arm,
    head: BayesianRewardHead,
    taste: str,
    worth: dict[str, float] | None,
    seed: int,
) -> list[float]:
    rng = np.random.default_rng([seed, 11])  # the same candidates at every mark
    own, plain_best, possible, wins = [], [], [], []
    said, true = [], []
    for scene in world.test:
        utility = scene.utility[taste]
        plain = scene.of_kind("plain")
        chosen = candidates_of(scene, arm, rng, worth)
        rewards = head.margin_draws(scene.style[chosen], scene.hidden[chosen])
        shown = chosen[pessimistic_best(rewards, arm.reward.pessimism)]
        own.append(over_others(utility, shown, plain).mean())
        wins.append(np.mean(_logistic(over_others(utility, shown, plain))))
        draws = head.margin_draws(scene.style[plain], scene.hidden[plain])
        best = plain[pessimistic_best(draws, arm.reward.pessimism)]
        plain_best.append(over_others(utility, best, plain).mean())
        best_there_is = plain[int(utility[plain].argmax())]
        possible.append(over_others(utility, best_there_is, plain).mean())
        i, j = np.triu_indices(len(chosen), 1)
        said.append(torch.sigmoid(rewards[:, i] - rewards[:, j]).mean(dim=0).numpy())
        true.append(_logistic(utility[chosen][i] - utility[chosen][j]))
    spread = world.spread[taste]
    row = [
        np.mean(own) / spread, np.mean(plain_best) / spread,
        np.sum(plain_best) / max(1e-9, np.sum(possible)), np.mean(wins),
        _calibration(np.concatenate(said), np.concatenate(true)),
    ]  # fmt: skip
    return [round(float(x), 4) for x in row]


def over_others(utility: np.ndarray, shown: int, plain: Sequence[int]) -> np.ndarray:
    """By how much the reply shown is better than each plain sample but itself.

    Were it set against itself, an arm that shows plain samples would seem worse than it is.
    """
    return utility[shown] - utility[[i for i in plain if i != shown]]


def _calibration(said: np.ndarray, true: np.ndarray) -> float:
    """Expected calibration error against the true choice probabilities, both orders, 10 bins."""
    p, q = np.concatenate([said, 1 - said]), np.concatenate([true, 1 - true])
    bins = np.minimum((p * 10).astype(int), 9)
    return float(np.abs(np.bincount(bins, weights=q - p, minlength=10)).sum() / len(p))


def _logistic(margin: np.ndarray) -> np.ndarray:
    """The sigmoid without overflow: a rater of whole numbers may be a thousand logits apart."""
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(margin)))
