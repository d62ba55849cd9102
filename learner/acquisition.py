"""Whether to ask, about which pair, and why: one small controller over the rules.

All rewards are (E, N) in logits, one row per ensemble member. See docs/how-it-learns.md section 3.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from learner.config import RESUMED, AskConfig, AskMode
from learner.query_rules import Probs, any_partner, anyone, pessimistic_best, rule_of, win_probs
from storage.records import AskReason, Question
from storage.trends import AskDecision

CONTROLLER_GAIN = 0.25
"""How fast the threshold follows the budget: change per question too many, in log units."""
MAX_DISAGREEMENT = 0.5
"""No standard deviation of a probability is larger."""
REMEMBERED = 20
"""Past disagreements from which the first threshold is taken."""
PATIENCE = 3
"""Questions in a row without an answer, after which a burn-in no longer asks on every turn."""

_OPTIONAL = (AskReason.UNCERTAIN, AskReason.RANDOM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Decided on drafts: which reply streams, and whether a second one will be asked about."""

    leader: int
    reason: AskReason | None
    """None: the leader is all that is shown."""
    best: int
    """The reply that is shown without asking."""
    leader_first: bool
    """Whether the leader takes the first place of the pair; a coin toss."""
    rule_asks: float
    """How likely the rule alone was to ask."""
    leader_probs: Probs
    """How likely the rule alone was to take each reply as the leader."""
    at_random: bool
    """Whether the pair is drawn from all, whatever the rule says."""


class Asker:
    """Decides turn by turn, and holds the budget.

    A question is asked where the ensemble disagrees by at least a threshold about the leader. The
    threshold begins at the level that the budget would have let through so far, rises with every
    question and falls with every turn without one. It never falls below ``min_disagreement``: the
    budget is a ceiling and never forces a question.

    Until there are ``burn_in`` answers every turn is to be a question, but not to a person who lets
    them pass: after ``PATIENCE`` in a row only a share of turns is, which falls as the budget's
    does, until there is an answer again.
    """

    def __init__(self, config: AskConfig, *, pessimism: float) -> None:
        self.config = config
        self.threshold: float | None = None
        """None until the first turn on which asking is optional."""
        self._seen: list[float] = []
        self._past: Sequence[AskDecision] = ()
        self._asked = False
        self._answers = 0
        self._unanswered = 0
        """Questions in a row without an answer, but for one that is still open."""
        self._pessimism = pessimism
        self._rule = rule_of(config, pessimism)

    def resume(self, past: Sequence[AskDecision]) -> None:
        """Take up again after a restart, from the stored decisions, oldest first."""
        self._past = past

    def open(
        self, rewards: Float[Tensor, "E N"], *, answers: int, generator: torch.Generator
    ) -> Opening:
        """Decide on the rewards of drafts.

        ``answers`` counts the past ones that still say something of the present taste
        (``BayesianRewardHead.answers``), so that a change of taste brings a second burn-in.
        """
        self._catch_up(answers)
        self._notice(answered=answers != self._answers)
        self._answers = answers
        best = pessimistic_best(rewards, self._pessimism)
        chance = float(torch.rand((), generator=generator))
        leader_first = float(torch.rand((), generator=generator)) < 0.5
        anybody = _draw(anyone(rewards), generator)
        leader_probs = self._rule.leader(rewards)
        by_rule = _draw(leader_probs, generator)
        disagreement = float(win_probs(rewards).std(dim=0, correction=0)[best].max())
        rule_asks = self._rule_asks(disagreement, answers)
        reason = self._reason(rule_asks, chance, answers)
        asked_about = anybody if reason is AskReason.RANDOM else by_rule
        return Opening(
            leader=best if reason is None else asked_about,
            reason=reason,
            best=best,
            leader_first=leader_first,
            rule_asks=rule_asks,
            leader_probs=leader_probs,
            at_random=reason is AskReason.RANDOM,
        )

    def ask(
        self,
        opening: Opening,
        rewards: Float[Tensor, "E N"],
        usable: Bool[Tensor, "N N"],
        generator: torch.Generator,
    ) -> tuple[int, int, Question] | None:
        """The pair as shown and its question, decided on the finished replies.

        ``usable`` marks pairs that differ enough to be shown; None if no pair of the leader does.
        """
        partners = usable[opening.leader]
        if opening.reason is None or not partners.any():
            return None
        choose = any_partner if opening.at_random else self._rule.partner
        partner = _draw(choose(rewards, opening.leader, partners), generator)
        pair = (opening.leader, partner) if opening.leader_first else (partner, opening.leader)
        p = torch.sigmoid(rewards[:, pair[0]] - rewards[:, pair[1]])
        question = Question(
            reason=opening.reason,
            propensity=self._propensity(pair, opening, rewards, usable),
            disagreement=float(p.std(correction=0)),
            first_better_prob=float(p.mean()),
        )
        return *pair, question

    def count_turn(self, *, asked: bool, answers: int, disagreement: float | None = None) -> None:
        """Move the threshold after a turn on which asking was optional.

        ``disagreement`` is the question's, if one was asked.
        """
        self._asked = asked
        if self.config.mode is not AskMode.AUTO:
            return
        if answers < self.config.burn_in:
            if self.threshold is not None:  # another burn-in: the old doubts say nothing of it
                self.threshold, self._seen = None, []
            if disagreement is not None:
                self._seen.append(disagreement)
            return
        step = CONTROLLER_GAIN * (asked - self.config.share_after(answers))
        moved = self._threshold(answers) * math.exp(step)
        self.threshold = min(MAX_DISAGREEMENT, max(self.config.min_disagreement, moved))

    def _catch_up(self, answers: int) -> None:
        """Move the threshold as the stored turns did, the last of which left ``answers`` behind.

        From the log alone, so the same whenever the process was started. What lies before the
        latest burn-in says nothing of the present taste. Where the log goes back no further than to
        the middle of a taste, the first questions it has stand for the burn-in.
        """
        past, self._past = self._past, ()
        if not past:
            return
        for one in past:
            self._asked = one.asked
            self._notice(answered=one.answers > 0)
        self._answers = answers
        burn_in, later = _latest_burn_in(past)
        if burn_in or len(past) < RESUMED:
            self._seen = _disagreements(burn_in)
        else:
            self._seen = _disagreements(past)[:REMEMBERED]
        before, ended = answers - sum(one.answers for one in later), False
        for one in later:
            ended = ended or one.reason in _OPTIONAL or before >= self.config.burn_in
            counted = max(before, self.config.burn_in) if ended else before
            self.count_turn(asked=one.asked, answers=counted, disagreement=one.disagreement)
            before += one.answers
        self._asked = False

    def _notice(self, *, answered: bool) -> None:
        """Whether an answer came, to whichever question, between two decisions."""
        if answered:
            self._unanswered = 0
        elif self._asked:
            self._unanswered += 1
        self._asked = False

    def would_ask(self, value: float, *, answers: int) -> bool:
        """Whether the budget has room for a question worth ``value``."""
        return value >= self._threshold(answers)

    def _threshold(self, answers: int) -> float:
        """The present one; the first is what the budget would have let through of those seen."""
        if self.threshold is None:
            recent = torch.tensor(self._seen[-REMEMBERED:] or [self.config.min_disagreement])
            first = float(recent.quantile(1.0 - self.config.share_after(answers)))
            self.threshold = max(self.config.min_disagreement, first)
        return self.threshold

    def _rule_asks(self, disagreement: float, answers: int) -> float:
        """How likely the rule alone is to ask on this turn; not sure only of who is silent."""
        match self.config.mode:
            case AskMode.NEVER:
                return 0.0
            case AskMode.ALWAYS:
                return 1.0
            case AskMode.AUTO:
                pass
        if answers >= self.config.burn_in:
            return float(self.would_ask(disagreement, answers=answers))
        if self._unanswered < PATIENCE:
            return 1.0
        spent = self.config.burn_in + self._unanswered - PATIENCE
        return max(self.config.random_share, self.config.share_after(spent))

    def _reason(self, rule_asks: float, chance: float, answers: int) -> AskReason | None:
        """``chance``: of [0, 1), what the turn drew."""
        if self.config.mode is AskMode.AUTO and answers >= self.config.burn_in:
            if chance < self.config.random_share:
                return AskReason.RANDOM
            return AskReason.UNCERTAIN if rule_asks else None
        if chance >= rule_asks:
            return None
        return AskReason.BURN_IN if self.config.mode is AskMode.AUTO else AskReason.ALWAYS

    def _propensity(
        self,
        pair: tuple[int, int],
        opening: Opening,
        rewards: Float[Tensor, "E N"],
        usable: Bool[Tensor, "N N"],
    ) -> float:
        """P(this pair is asked about, in either order), by the random share or by the rule.

        A leader without a usable partner asks nothing.
        """
        if self.config.mode is not AskMode.AUTO or opening.reason is AskReason.BURN_IN:
            share = 0.0  # asked in any case; the random share has no turn
        else:
            share = self.config.random_share
        propensity = 0.0
        for leader, partner in (pair, pair[::-1]):
            drawn = anyone(rewards)[leader] * any_partner(rewards, leader, usable[leader])[partner]
            chosen = self._rule.partner(rewards, leader, usable[leader])[partner]
            by_rule = opening.rule_asks * opening.leader_probs[leader] * chosen
            propensity += float(share * drawn + (1.0 - share) * by_rule)
        return propensity


def _latest_burn_in(
    past: Sequence[AskDecision],
) -> tuple[Sequence[AskDecision], Sequence[AskDecision]]:
    """The decisions of the latest burn-in up to its last own question, and those after it.

    Duels and replies without a question do not say whether it lasted: between two questions of a
    burn-in they are of it.
    """
    end = 1 + max((i for i, d in enumerate(past) if d.reason is AskReason.BURN_IN), default=-1)
    start = 1 + max((i for i, d in enumerate(past[:end]) if d.reason in _OPTIONAL), default=-1)
    return past[start:end], past[end:]


def _disagreements(decisions: Sequence[AskDecision]) -> list[float]:
    return [one.disagreement for one in decisions if one.disagreement is not None]


def _draw(probs: Probs, generator: torch.Generator) -> int:
    """An index with these probabilities; one draw of the generator, whatever they are."""
    place = torch.rand((), generator=generator, dtype=torch.float64)
    upto = probs.cumsum(dim=0)
    drawn = int(torch.searchsorted(upto, place * upto[-1], right=True))
    return min(drawn, int(probs.nonzero().max()))
