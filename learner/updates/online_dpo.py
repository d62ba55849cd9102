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
from learner.losses import dpo_loss
from learner.measures import ScoredText, reply_logps, supervised_ids
from learner.rendering import render
from learner.updates.pairs import TrainingPair
from storage.records import Candidate, CandidateId, Message, PolicyVersion

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
            parameters, lr=self._config.learning_rate, betas=(0.9, 0.99), weight_decay=0.0
        )
        if parent.adapter_path is not None:
            load_moments(optimizer, parameters, parent.adapter_path / OPTIMIZER_FILE)
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
        save_moments(self._optimizer, folder / OPTIMIZER_FILE)

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
        """One step on the mean loss of all pairs, in micro-batches of similar length."""
        optimizer.zero_grad(set_to_none=True)
        ordered = sorted(pairs, key=self._length)
        total_loss, correct, margin = 0.0, 0.0, 0.0
        for start in range(0, len(ordered), self._config.micro_batch):
            some = ordered[start : start + self._config.micro_batch]
            loss, margins = self._loss(some)
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

    def _loss(
        self, pairs: Sequence[TrainingPair]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Loss and implicit reward margin of each pair."""
        B = len(pairs)
        chosen = [self._text(p.prompt, p.chosen) for p in pairs]
        rejected = [self._text(p.prompt, p.rejected) for p in pairs]
        logp = reply_logps(self._backbone, [*chosen, *rejected])
        ref_chosen = logp.new_tensor([self._ref_logp[p.chosen.id] for p in pairs])
        ref_rejected = logp.new_tensor([self._ref_logp[p.rejected.id] for p in pairs])
        prob = logp.new_tensor([p.chosen_prob for p in pairs])
        loss = dpo_loss(logp[:B], logp[B:], ref_chosen, ref_rejected, prob, self._config.beta)
        margins = (logp[:B] - ref_chosen) - (logp[B:] - ref_rejected)
        return loss, self._config.beta * margins.detach()

    @torch.no_grad()
    def _cache_reference(self, pairs: Sequence[TrainingPair]) -> None:
        """Reference log-probabilities never change: computed once per candidate."""
        missing = {
            c.id: self._text(p.prompt, c)
            for p in pairs
            for c in (p.chosen, p.rejected)
            if c.id not in self._ref_logp
        }
        ids = sorted(missing, key=lambda i: len(missing[i].prompt_ids) + len(missing[i].reply_ids))
        with self._backbone.reference():
            for start in range(0, len(ids), 2 * self._config.micro_batch):
                some = ids[start : start + 2 * self._config.micro_batch]
                logps = reply_logps(self._backbone, [missing[i] for i in some]).tolist()
                self._ref_logp.update(zip(some, logps, strict=True))

    def _text(self, prompt: Sequence[Message], candidate: Candidate) -> ScoredText:
        rendered = render(self._backbone.tokenizer, prompt, self._max_prompt_tokens)
        return ScoredText(
            prompt_ids=rendered.token_ids,
            reply_ids=supervised_ids(self._backbone, candidate.completion),
        )

    def _length(self, pair: TrainingPair) -> int:
        return max(len(pair.chosen.completion.token_ids), len(pair.rejected.completion.token_ids))


def save_moments(optimizer: torch.optim.AdamW, path: Path) -> None:
    """AdamW's moments as safetensors, by the parameter's place."""
    state: dict[str, Tensor] = {}
    for place, parameter in enumerate(optimizer.param_groups[0]["params"]):
        for key, value in optimizer.state[parameter].items():
            state[f"{place}.{key}"] = value.detach().cpu().contiguous()
    save_file(state, path)


def load_moments(optimizer: torch.optim.AdamW, parameters: list[nn.Parameter], path: Path) -> None:
    """Take up the moments written by ``save_moments``."""
    for name, value in load_file(path).items():
        place, key = name.split(".")
        parameter = parameters[int(place)]
        device = "cpu" if key == "step" else parameter.device
        optimizer.state[parameter][key] = value.to(device)
