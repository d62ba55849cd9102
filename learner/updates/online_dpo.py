"""Online DPO: a few AdamW steps on LoRA weights from a round's pairs (arXiv 2305.18290).

Departures from the paper: the labels are soft (the person may err, the ensemble says how sure it
is), pairs come from earlier versions of the same policy, and the optimizer's moments travel from
version to version with the adapter, so that a chain of small rounds is one long run.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from learner.engine.backbone import Backbone
from learner.engine.local import render_beside_reply
from learner.losses import dpo_loss
from learner.measures import supervised_ids, tree_logps
from learner.update_config import DpoConfig
from learner.updates.groves import Grove, Reply, groves
from learner.updates.lesson import Lesson
from learner.updates.pairs import TrainingPair, prompt_rooms
from learner.updates.tuning import AdapterTuning
from storage.records import Candidate, CandidateId, Message, PolicyVersion, PolicyVersionId


class OnlineDpo:
    """The update rule; leaves the new adapter in training on the backbone for gate and ``save``."""

    name = "online_dpo"

    def __init__(self, backbone: Backbone, config: DpoConfig, *, max_prompt_tokens: int) -> None:
        self._backbone = backbone
        self._config = config
        self._max_prompt_tokens = max_prompt_tokens
        self._ref_logp: dict[tuple[PolicyVersionId, CandidateId, int], float] = {}
        """Of each candidate under the reference policy of that version, with so much room."""
        self._rooms: dict[tuple[Message, ...], int] = {}
        self.parent_logp: dict[CandidateId, float] = {}
        """Of each reply of the last update under its parent, in nats."""
        self._tuning = AdapterTuning(backbone, config)
        self.shorten = self._tuning.shorten
        self.start_afresh = self._tuning.start_afresh
        self.pull_in = self._tuning.pull_in
        self.close = self._tuning.close

    def update(self, parent: PolicyVersion, lesson: Lesson, seed: int) -> dict[str, float]:
        """Train a copy of ``parent`` on the lesson's pairs; returns metrics of the last step.

        Raises FloatingPointError if the loss or a gradient is not finite.
        """
        pairs = lesson.pairs
        self._rooms = prompt_rooms(pairs)
        self._cache_reference(pairs)
        self._tuning.open(parent, seed)
        self.parent_logp.clear()
        metrics: dict[str, float] = {}
        minibatches = self._minibatches(pairs, torch.Generator().manual_seed(seed))
        for _ in range(self._config.steps):
            metrics = self._optimizer_step(next(minibatches))
        return metrics | {"pairs": float(len(pairs)), "steps": float(self._config.steps)}

    def save(self, folder: Path) -> None:
        """Write the adapter in training and its optimizer's moments."""
        self._tuning.save(folder)

    def _minibatches(
        self, pairs: Sequence[TrainingPair], generator: torch.Generator
    ) -> Iterator[Sequence[TrainingPair]]:
        """What each step sees, without an end: all pairs, or shares of shuffled orders."""
        size = self._config.minibatch
        if size is None or size >= len(pairs):
            while True:
                yield pairs
        self._note_parent(pairs)  # the later steps see an adapter that has left it
        while True:
            for chosen in torch.randperm(len(pairs), generator=generator).split(size):
                yield [pairs[i] for i in chosen.tolist()]

    @torch.no_grad()
    def _note_parent(self, pairs: Sequence[TrainingPair]) -> None:
        for grove in self._groves(pairs):
            self._note(grove, tree_logps(self._backbone, grove.trees))

    def _note(self, grove: Grove, logps: Float[Tensor, " N"]) -> None:
        """The first time that a reply is seen in a round, the adapter is still the parent's."""
        for name, logp in zip(grove.names, logps.tolist(), strict=True):
            self.parent_logp.setdefault(CandidateId(name), logp)

    def _optimizer_step(self, pairs: Sequence[TrainingPair]) -> dict[str, float]:
        """One step on the mean loss of these pairs, a row of trees at a time."""
        self._tuning.clear()
        total_loss, correct, margin = 0.0, 0.0, 0.0
        for grove in self._groves(pairs):
            loss, margins = self._loss(grove, [pair for pair in pairs if pair.chosen.id in grove])
            (loss.sum() / len(pairs)).backward()
            total_loss += float(loss.detach().sum())
            correct += float((margins > 0).sum())
            margin += float(margins.sum())
        norm = self._tuning.step()
        return {
            "dpo_loss": total_loss / len(pairs),
            "dpo_accuracy": correct / len(pairs),
            "dpo_margin": margin / len(pairs),
            "grad_norm": norm,
        }

    def _loss(
        self, grove: Grove, pairs: Sequence[TrainingPair]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Loss and implicit reward margin of the pairs whose replies stand in ``grove``."""
        logps = tree_logps(self._backbone, grove.trees)
        self._note(grove, logps)
        place = {candidate: i for i, candidate in enumerate(grove.names)}
        chosen = logps[[place[pair.chosen.id] for pair in pairs]]
        rejected = logps[[place[pair.rejected.id] for pair in pairs]]
        known = self._ref_logp
        ref_chosen = logps.new_tensor([known[self._ref_key(p, p.chosen)] for p in pairs])
        ref_rejected = logps.new_tensor([known[self._ref_key(p, p.rejected)] for p in pairs])
        prob = logps.new_tensor([pair.chosen_prob for pair in pairs])
        loss = dpo_loss(chosen, rejected, ref_chosen, ref_rejected, prob, self._config.beta)
        margins = (chosen - ref_chosen) - (rejected - ref_rejected)
        return loss, self._config.beta * margins.detach()

    @torch.no_grad()
    def _cache_reference(self, pairs: Sequence[TrainingPair]) -> None:
        """Log-probabilities of a reference policy never change: computed once per candidate."""
        keys = {
            candidate.id: self._ref_key(pair, candidate)
            for pair in pairs
            for candidate in (pair.chosen, pair.rejected)
        }
        unknown = [
            pair
            for pair in pairs
            if not {keys[pair.chosen.id], keys[pair.rejected.id]} <= self._ref_logp.keys()
        ]
        with self._backbone.reference():
            for grove in self._groves(unknown):
                logps = tree_logps(self._backbone, grove.trees).tolist()
                names = [keys[CandidateId(name)] for name in grove.names]
                self._ref_logp.update(zip(names, logps, strict=True))

    def _ref_key(
        self, pair: TrainingPair, candidate: Candidate
    ) -> tuple[PolicyVersionId, CandidateId, int]:
        return self._backbone.reference_id, candidate.id, self._rooms[pair.prompt]

    def _groves(self, pairs: Sequence[TrainingPair]) -> list[Grove]:
        """Both replies of all pairs in rows; those of one prompt are never apart."""
        replies: list[Reply] = []
        for pair in pairs:
            room = self._rooms[pair.prompt]
            prompt = render_beside_reply(self._backbone, pair.prompt, room, self._max_prompt_tokens)
            replies += [
                Reply(
                    name=c.id,
                    prompt_ids=prompt.token_ids,
                    reply_ids=supervised_ids(self._backbone, c.completion),
                )
                for c in (pair.chosen, pair.rejected)
            ]
        return groves(replies, self._config.row_tokens)
