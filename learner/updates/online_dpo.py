"""Online DPO: a few AdamW steps on LoRA weights from a round's pairs (arXiv 2305.18290).

Departures from the paper: the labels are soft (the person may err, the ensemble says how sure it
is), pairs come from earlier versions of the same policy, and the optimizer's moments travel from
version to version with the adapter, so that a chain of small rounds is one long run.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from learner.config import DpoConfig
from learner.engine.backbone import Backbone
from learner.engine.trees import Tree
from learner.losses import dpo_loss
from learner.measures import supervised_ids, tree_logps
from learner.moments import moments_of, set_moments
from learner.rendering import render
from learner.updates.pairs import TrainingPair
from storage.records import CandidateId, PolicyVersion

OPTIMIZER_FILE = "optimizer.safetensors"


class OnlineDpo:
    """The update rule; leaves the new adapter in training on the backbone for gate and ``save``."""

    name = "online_dpo"

    def __init__(self, backbone: Backbone, config: DpoConfig, *, max_prompt_tokens: int) -> None:
        self._backbone = backbone
        self._config = config
        self._max_prompt_tokens = max_prompt_tokens
        self._ref_logp: dict[CandidateId, float] = {}
        self._optimizer: torch.optim.AdamW | None = None
        self._parameters: list[nn.Parameter] = []

    def update(
        self, parent: PolicyVersion, pairs: Sequence[TrainingPair], seed: int
    ) -> dict[str, float]:
        """Train a copy of ``parent`` on ``pairs``; returns metrics of the last step.

        Raises FloatingPointError if the loss or a gradient is not finite.
        """
        self._cache_reference(pairs)
        parameters = self._backbone.open_training(parent, self._config.lora, seed)
        self._parameters = parameters
        optimizer = torch.optim.AdamW(
            parameters,
            lr=self._config.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=0.0,
            fused=True,
        )
        if parent.adapter_path is not None:
            moments = parent.adapter_path / OPTIMIZER_FILE
            if moments.is_file():  # a training phase leaves none: its moments are of another loss
                set_moments(optimizer, load_file(moments))
        metrics: dict[str, float] = {}
        for _ in range(self._config.steps):
            metrics = self._optimizer_step(optimizer, parameters, pairs)
        self._optimizer = optimizer
        return metrics | {"pairs": float(len(pairs)), "steps": float(self._config.steps)}

    @torch.no_grad()
    def pull_in(self, share: float) -> None:
        """Leave this share of the adapter's distance to the reference: B A times ``share``."""
        for parameter in self._parameters:
            parameter.mul_(share**0.5)

    def save(self, folder: Path) -> None:
        """Write the adapter in training and its optimizer's moments."""
        if self._optimizer is None:
            raise RuntimeError("there is no update to save")
        self._backbone.save_training(folder)
        save_file(moments_of(self._optimizer), folder / OPTIMIZER_FILE)

    def close(self) -> None:
        """Forget the adapter in training."""
        self._optimizer = None
        self._parameters = []
        self._backbone.close_training()

    def _optimizer_step(
        self,
        optimizer: torch.optim.AdamW,
        parameters: list[nn.Parameter],
        pairs: Sequence[TrainingPair],
    ) -> dict[str, float]:
        """One step on the mean loss of all pairs, a row of trees at a time."""
        optimizer.zero_grad(set_to_none=True)
        total_loss, correct, margin = 0.0, 0.0, 0.0
        for grove in self._groves(pairs):
            loss, margins = self._loss(grove)
            (loss.sum() / len(pairs)).backward()
            total_loss += float(loss.detach().sum())
            correct += float((margins > 0).sum())
            margin += float(margins.sum())
        norm = nn.utils.clip_grad_norm_(
            parameters, self._config.grad_clip, error_if_nonfinite=False
        )
        if not torch.isfinite(norm):
            raise FloatingPointError(f"gradient norm is {float(norm)}; the round is given up")
        optimizer.step()
        return {
            "dpo_loss": total_loss / len(pairs),
            "dpo_accuracy": correct / len(pairs),
            "dpo_margin": margin / len(pairs),
            "grad_norm": float(norm),
        }

    def _loss(self, grove: "_Grove") -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Loss and implicit reward margin of each pair whose replies stand in ``grove``."""
        pairs = grove.pairs
        logps = tree_logps(self._backbone, grove.trees)
        place = {candidate: i for i, candidate in enumerate(grove.candidates)}
        chosen = logps[[place[pair.chosen.id] for pair in pairs]]
        rejected = logps[[place[pair.rejected.id] for pair in pairs]]
        ref_chosen = logps.new_tensor([self._ref_logp[pair.chosen.id] for pair in pairs])
        ref_rejected = logps.new_tensor([self._ref_logp[pair.rejected.id] for pair in pairs])
        prob = logps.new_tensor([pair.chosen_prob for pair in pairs])
        loss = dpo_loss(chosen, rejected, ref_chosen, ref_rejected, prob, self._config.beta)
        margins = (chosen - ref_chosen) - (rejected - ref_rejected)
        return loss, self._config.beta * margins.detach()

    @torch.no_grad()
    def _cache_reference(self, pairs: Sequence[TrainingPair]) -> None:
        """Reference log-probabilities never change: computed once per candidate."""
        unknown = [
            pair
            for pair in pairs
            if not {pair.chosen.id, pair.rejected.id} <= self._ref_logp.keys()
        ]
        with self._backbone.reference():
            for grove in self._groves(unknown):
                logps = tree_logps(self._backbone, grove.trees).tolist()
                self._ref_logp.update(zip(grove.candidates, logps, strict=True))

    def _groves(self, pairs: Sequence[TrainingPair]) -> list["_Grove"]:
        """All pairs, those of one prompt together, in rows of ``row_tokens`` where they fit."""
        by_prompt: dict[tuple[int, ...], list[TrainingPair]] = {}
        for pair in pairs:
            rendered = render(self._backbone.tokenizer, pair.prompt, self._max_prompt_tokens)
            by_prompt.setdefault(rendered.token_ids, []).append(pair)
        groves: list[_Grove] = []
        for prompt_ids, some in by_prompt.items():
            candidates = {c.id: c.completion for pair in some for c in (pair.chosen, pair.rejected)}
            replies = tuple(supervised_ids(self._backbone, c) for c in candidates.values())
            tree = Tree(prompt_ids, replies)
            if not groves or groves[-1].tokens + len(tree) > self._config.row_tokens:
                groves.append(_Grove())
            groves[-1].add(tree, list(candidates), some)
        return groves


class _Grove:
    """Trees that run as one row, and the pairs whose replies they hold."""

    def __init__(self) -> None:
        self.trees: list[Tree] = []
        self.candidates: list[CandidateId] = []
        """Whose reply is which, in the order of the row."""
        self.pairs: list[TrainingPair] = []
        self.tokens = 0

    def add(
        self, tree: Tree, candidates: Sequence[CandidateId], pairs: Sequence[TrainingPair]
    ) -> None:
        self.trees.append(tree)
        self.candidates += candidates
        self.pairs += pairs
        self.tokens += len(tree)
