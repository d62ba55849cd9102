"""R5, our side: the update rule as the learner calls it, and the check of its gradient."""

import time
from pathlib import Path

import torch
from torch.nn import functional

from benchmarks.arms.ours import version_of
from benchmarks.arms.records import training_pairs
from learner.config import DpoConfig, EngineConfig, LoraSpec
from learner.engine.backbone import Backbone
from learner.measures import supervised_ids
from learner.rendering import prompt_ids
from learner.updates.online_dpo import OnlineDpo

BETA = 0.1


class Step:
    """``update`` on fresh pairs (their reference pass included), then again on the same ones."""

    def __init__(self, model: str, pairs: str, count: int, dtype: str, rank: int = 16) -> None:
        config = EngineConfig(dtype=dtype, device="cpu")
        self._rule = OnlineDpo(
            Backbone(Path(model), config),
            DpoConfig(beta=BETA, label_smoothing=0.0, lora=LoraSpec(rank=rank, alpha=2 * rank)),
            max_prompt_tokens=config.max_prompt_tokens,
        )
        self._pairs, self._count = pairs, count

    def round(self, number: int) -> dict[str, float]:
        pairs = training_pairs(self._pairs, self._count, first=number * self._count)
        seconds = []
        for _ in range(2):
            began = time.perf_counter()
            self._rule.update(version_of(None), pairs, seed=0)
            seconds.append((time.perf_counter() - began) / self._count)
            self._rule.close()
        return {"pair_s": seconds[0], "pair_cached_s": seconds[1]}


class Gradient:
    """Cosine between the gradient that ``update`` leaves and plain torch in float64."""

    def __init__(self, model: str, pairs: str, count: int, dtype: str, rank: int = 16) -> None:
        self._backbone = Backbone(Path(model), EngineConfig(dtype=dtype, device="cpu"))
        # A step of (nearly) nothing keeps the weights where the gradient was taken.
        self._config = DpoConfig(
            beta=BETA,
            label_smoothing=0.0,
            learning_rate=1e-12,
            grad_clip=1e9,
            lora=LoraSpec(rank=rank, alpha=2 * rank),
        )
        self._pairs, self._count = pairs, count

    def round(self, number: int) -> dict[str, float]:
        pairs = training_pairs(self._pairs, self._count, first=number * self._count)
        rule = OnlineDpo(self._backbone, self._config, max_prompt_tokens=2048)
        rule.update(version_of(None), pairs, seed=0)
        # B starts at zero, so the gradient of A is zero: the one of B is the whole of it.
        trained = {
            name: parameter
            for name, parameter in self._backbone.base.named_parameters()
            if parameter.requires_grad and parameter.grad is not None
        }
        ours = {name: parameter.grad.double().clone() for name, parameter in trained.items()}
        lora_b = [name for name in ours if ".lora_B." in name]
        if not lora_b:
            raise RuntimeError("the update left no gradient to compare")
        backbone = self._backbone
        rest = {name: p.dtype for name, p in backbone.base.named_parameters()}
        backbone.base.double()
        backbone.use(-1)
        for parameter in backbone.base.parameters():
            parameter.grad = None
        loss = plain_loss(backbone, pairs)
        loss.backward()
        expected = torch.cat([trained[name].grad.flatten().double() for name in lora_b])
        found = torch.cat([ours[name].flatten() for name in lora_b])
        for name, parameter in backbone.base.named_parameters():
            parameter.data = parameter.data.to(rest[name])
        rule.close()
        return {"cosine": float(functional.cosine_similarity(found, expected, dim=0))}


def plain_loss(backbone: Backbone, pairs) -> torch.Tensor:  # noqa: ANN001
    """DPO by the book: four whole sequences a pair, full logits, nothing cached or shared."""
    losses = []
    for pair in pairs:
        prompt = prompt_ids(backbone.tokenizer, pair.prompt)
        sides = [supervised_ids(backbone, one.completion) for one in (pair.chosen, pair.rejected)]
        logps = torch.stack([_logp(backbone, prompt, side) for side in sides])
        with torch.no_grad(), backbone.reference():
            ref = torch.stack([_logp(backbone, prompt, side) for side in sides])
        margin = (logps[0] - ref[0]) - (logps[1] - ref[1])
        losses.append(-functional.logsigmoid(BETA * margin))
    return torch.stack(losses).mean()


def _logp(backbone: Backbone, prompt: tuple[int, ...], reply: tuple[int, ...]) -> torch.Tensor:
    ids = torch.tensor([prompt + reply])
    logits = backbone.base(input_ids=ids).logits[0, len(prompt) - 1 : -1]
    target = ids[0, len(prompt) :, None]
    return logits.log_softmax(dim=-1).gather(1, target).sum()
