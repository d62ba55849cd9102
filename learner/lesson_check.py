"""Did the update do what it was for? Looked at before the gate, on the whole step.

The gate asks whether a version is still fit to speak; it can't know what the version was to learn.
The lesson does: whatever rule learned from its pairs has made what was picked likelier against what
was not, and has not made it improbable. A step that went wrong drifts far, and after it has been
shortened until the gate's limits hold, little of what is wrong with it shows; on the whole step it
does (docs/learning-results.md, "Planted harm").
"""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from learner.config import GateConfig
from learner.engine.backbone import Backbone
from learner.measures import supervised_ids, tree_logps
from learner.protocols import Verdict
from learner.updates.groves import Reply
from learner.updates.pairs import TrainingPair, prompt_rooms
from learner.updates.passes import Passes
from storage.records import CandidateId, Message, PolicyVersion

LEAST_SURE = 0.2
"""A pair whose label says less, 2p - 1, is next to a tie: nothing was to be learned from it."""


class LessonCheck:
    """Compares the adapter in training with its parent on what it has just learned from."""

    def __init__(
        self,
        backbone: Backbone,
        config: GateConfig,
        *,
        row_tokens: int,
        max_prompt_tokens: int,
        known: Mapping[CandidateId, float] | None = None,
    ) -> None:
        """``known``: log P under the parent where the update rule has seen it, in nats."""
        self._backbone = backbone
        self._config = config
        self._known = {} if known is None else known
        self._passes = Passes(backbone, row_tokens=row_tokens, max_prompt_tokens=max_prompt_tokens)

    def judge(self, parent: PolicyVersion, pairs: Sequence[TrainingPair]) -> Verdict:
        """Accepts where there is nothing to look at. The adapter in training speaks.

        Metrics, each label weighing as much as it is sure: ``lesson_lift``, by how much the update
        raised log P(chosen) - log P(rejected), in nats a pair; ``chosen_gain``, by how much it
        raised log P(chosen), in nats a token.
        """
        rooms = prompt_rooms(pairs)  # of all, as the update rule has it
        told = [pair for pair in pairs if 2.0 * pair.chosen_prob - 1.0 >= LEAST_SURE]
        pairs = told[: self._config.lesson_pairs]
        if not pairs:
            return Verdict(accepted=True, reason="no pair to look at", metrics={})
        gain = self._gain(parent, pairs, rooms)  # (pairs, 2)
        sure = torch.tensor([2.0 * pair.chosen_prob - 1.0 for pair in pairs])
        tokens = torch.tensor([float(max(1, len(p.chosen.completion.token_ids))) for p in pairs])
        lift = float(sure @ (gain[:, 0] - gain[:, 1]) / sure.sum())
        chosen = float(sure @ gain[:, 0] / (sure @ tokens))
        metrics = {"lesson_lift": lift, "chosen_gain": chosen}
        c = self._config
        if not (math.isfinite(lift) and math.isfinite(chosen)):
            reason = "what it learned from has no probability any more"
            return Verdict(accepted=False, reason=reason, metrics={})
        if lift <= c.min_lesson_lift:
            reason = f"what it learned from became less likely, by {-lift:.1f} nats a pair"
            return Verdict(accepted=False, reason=reason, metrics=metrics)
        if chosen < c.min_chosen_gain:
            reason = (
                f"what was picked became improbable, by {-chosen:.2f} nats a token, "
                f"{-c.min_chosen_gain:.2f} is the limit"
            )
            return Verdict(accepted=False, reason=reason, metrics=metrics)
        return Verdict(accepted=True, reason="it learned its lesson", metrics=metrics)

    @torch.no_grad()
    def _gain(
        self,
        parent: PolicyVersion,
        pairs: Sequence[TrainingPair],
        rooms: Mapping[tuple[Message, ...], int],
    ) -> Float[Tensor, "pairs 2"]:
        """log P under the update less log P under its parent, of chosen and rejected, in nats."""
        replies = {
            candidate.id: Reply(
                name=candidate.id,
                prompt_ids=self._passes.prompt_ids(pair.prompt, rooms[pair.prompt]),
                reply_ids=supervised_ids(self._backbone, candidate.completion),
            )
            for pair in pairs
            for candidate in (pair.chosen, pair.rejected)
        }
        new = self._logps(list(replies.values()))
        self._backbone.ensure_resident(parent)
        with self._backbone.speaking(parent.id):
            old = self._logps([one for name, one in replies.items() if name not in self._known])
        before = {**self._known, **old}
        gain = {name: logp - before[name] for name, logp in new.items()}
        return torch.tensor([[gain[p.chosen.id], gain[p.rejected.id]] for p in pairs])

    def _logps(self, replies: Sequence[Reply]) -> dict[int, float]:
        """log P of each under the version that speaks, in nats."""
        return {
            name: logp
            for row in self._passes.rows(replies)
            for name, logp in zip(
                row.names, tree_logps(self._backbone, row.trees).tolist(), strict=True
            )
        }
