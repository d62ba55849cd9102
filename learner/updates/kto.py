"""Kahneman-Tversky optimisation on single verdicts (arXiv 2402.01306).

A thumb up is desirable, a thumb down is not; a pair is taken apart into one of each, which weigh as
much as its label is sure, 2p - 1: half a chance says nothing of either reply. Loss aversion is seen
from a reference point, an estimate of KL(policy || reference) made of mismatched texts: the reply
to another prompt behind this one (section 4.1), 0 where there is one prompt only. The rarer kind
may weigh more, so that both kinds count alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from learner.engine.backbone import Backbone
from learner.losses import kto_loss
from learner.measures import reply_room, supervised_ids, tree_logps
from learner.update_config import KtoConfig
from learner.updates.groves import Reply
from learner.updates.lesson import Lesson, Prompt
from learner.updates.passes import Passes
from learner.updates.tuning import AdapterTuning
from storage.records import Completion, PolicyVersion


@dataclass(frozen=True, slots=True)
class _Example:
    reply: Reply
    desirable: bool
    sure: float
    """Its weight beside the others, 0 to 1."""


class Kto:
    """The update rule; leaves the new adapter in training on the backbone for gate and ``save``."""

    name = "kto"

    def __init__(self, backbone: Backbone, config: KtoConfig, *, max_prompt_tokens: int) -> None:
        self._backbone = backbone
        self._config = config
        self._tuning = AdapterTuning(backbone, config, optimizer_file="kto_optimizer.safetensors")
        self._passes = Passes(
            backbone, row_tokens=config.row_tokens, max_prompt_tokens=max_prompt_tokens
        )
        self.shorten = self._tuning.shorten
        self.start_afresh = self._tuning.start_afresh
        self.pull_in = self._tuning.pull_in
        self.close = self._tuning.close

    def update(self, parent: PolicyVersion, lesson: Lesson, seed: int) -> dict[str, float]:
        """Train a copy of ``parent`` on all verdicts; returns metrics of the last step.

        Raises FloatingPointError if the loss or a gradient is not finite.
        """
        examples = self._examples(lesson)
        mismatched = _mismatched([one.reply for one in examples])
        replies = [one.reply for one in examples]
        with self._backbone.reference():
            ref_logp, ref_mismatched = self._logps(replies), self._logps(mismatched)
        self._tuning.open(parent, seed)
        metrics: dict[str, float] = {}
        for _ in range(self._config.steps):
            kl = ref_logp.new_zeros(())
            if mismatched:
                kl = (self._logps(mismatched) - ref_mismatched).mean().clamp(min=0.0)
            metrics = self._optimizer_step(examples, ref_logp, kl)
        return metrics | {"verdicts": float(len(examples))}

    def save(self, folder: Path) -> None:
        """Write the adapter in training and its optimizer's moments."""
        self._tuning.save(folder)

    def _optimizer_step(
        self, examples: Sequence[_Example], ref_logp: Float[Tensor, " B"], kl: Float[Tensor, ""]
    ) -> dict[str, float]:
        desirable = torch.tensor([one.desirable for one in examples], device=ref_logp.device)
        sure = torch.tensor([one.sure for one in examples]).to(ref_logp)
        weight = sure * self._weights(desirable, sure)
        self._tuning.clear()
        total = 0.0
        for grove in self._passes.rows([one.reply for one in examples]):
            some = grove.names
            logp = tree_logps(self._backbone, grove.trees)
            loss = kto_loss(
                logp, ref_logp[some], desirable[some], weight[some], kl, self._config.beta
            ).sum() / len(examples)
            loss.backward()
            total += float(loss.detach())
        return {
            "kto_loss": total,
            "kto_reference_point": float(kl),
            "desirable": float(desirable.sum()),
            "grad_norm": self._tuning.step(),
        }

    def _weights(self, desirable: Tensor, sure: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Section 4.2: with ``balance`` the rarer kind weighs so much that both count alike."""
        c = self._config
        good = float(sure[desirable].sum())
        bad = float(sure[~desirable].sum())
        up, down = c.desirable_weight, c.undesirable_weight
        if c.balance and good and bad:
            up, down = up * max(1.0, bad / good), down * max(1.0, good / bad)
        return torch.where(desirable, up, down).to(sure)

    def _examples(self, lesson: Lesson) -> list[_Example]:
        judged: list[tuple[Prompt, Completion, bool, float]] = [
            (v.prompt, v.completion, v.desirable, 1.0) for v in lesson.verdicts
        ]
        for pair in lesson.pairs:
            sure = max(0.0, 2.0 * pair.chosen_prob - 1.0)
            judged += [
                (pair.prompt, pair.chosen.completion, True, sure),
                (pair.prompt, pair.rejected.completion, False, sure),
            ]
        return [
            _Example(
                Reply(
                    name=i,
                    prompt_ids=self._passes.prompt_ids(prompt, reply_room(completion)),
                    reply_ids=supervised_ids(self._backbone, completion),
                ),
                desirable,
                sure,
            )
            for i, (prompt, completion, desirable, sure) in enumerate(judged)
        ]

    @torch.no_grad()
    def _logps(self, replies: Sequence[Reply]) -> Float[Tensor, " B"]:
        found: dict[int, Tensor] = {}
        for grove in self._passes.rows(replies):
            logps = tree_logps(self._backbone, grove.trees)
            found.update(zip(grove.names, logps, strict=True))
        return torch.stack([found[i] for i in range(len(replies))]) if replies else torch.empty(0)


def _mismatched(replies: Sequence[Reply]) -> list[Reply]:
    """Each prompt with the next reply behind another one, around the end; none if there is one.

    The next but one is tried first. Pairs come as good, bad, good, bad, and the very next behind
    another prompt would be a good one for each: what is taught would look like drift.
    """
    found: list[Reply] = []
    n = len(replies)
    for i, one in enumerate(replies):
        others = (replies[(i + k) % n] for k in (*range(2, n), 1))
        other = next((o for o in others if o.prompt_ids != one.prompt_ids), None)
        if other is not None:
            found.append(
                Reply(name=len(found), prompt_ids=one.prompt_ids, reply_ids=other.reply_ids)
            )
    return found
