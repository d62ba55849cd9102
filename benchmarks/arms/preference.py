"""R5, our side: the update rule as the learner calls it, and the check of its gradient."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import PeftModel
from torch.nn import functional
from transformers import AutoModelForCausalLM

from benchmarks.arms.ours import version_of
from benchmarks.arms.records import training_pairs
from learner.config import EngineConfig
from learner.engine.backbone import Backbone
from learner.measures import supervised_ids
from learner.rendering import prompt_ids
from learner.update_config import DpoConfig, LoraSpec
from learner.updates.lesson import Lesson
from learner.updates.online_dpo import OnlineDpo
from learner.updates.pairs import TrainingPair

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
            self._rule.update(version_of(None), Lesson(pairs=tuple(pairs)), seed=0)
            seconds.append((time.perf_counter() - began) / self._count)
            self._rule.close()
        return {"pair_s": seconds[0], "pair_cached_s": seconds[1]}


class Gradient:
    """Cosine between the gradient that ``update`` leaves and one by the book in float64.

    The other side shares nothing with ours but the files: transformers and PEFT, each reply behind
    its prompt as one whole sequence, full logits, nothing cached.
    """

    def __init__(self, model: str, pairs: str, count: int, dtype: str, rank: int = 16) -> None:
        self._model, self._pairs, self._count = model, pairs, count
        self._backbone = Backbone(Path(model), EngineConfig(dtype=dtype, device="cpu"))
        # A step of (nearly) nothing keeps the weights where the gradient was taken.
        self._config = DpoConfig(
            beta=BETA,
            label_smoothing=0.0,
            learning_rate=1e-12,
            grad_clip=1e9,
            lora=LoraSpec(rank=rank, alpha=2 * rank),
        )

    def round(self, number: int) -> dict[str, float]:
        pairs = training_pairs(self._pairs, self._count, first=number * self._count)
        rule = OnlineDpo(self._backbone, self._config, max_prompt_tokens=2048)
        rule.update(version_of(None), Lesson(pairs=tuple(pairs)), seed=0)
        lora = self._backbone.training_lora().tensors
        with tempfile.TemporaryDirectory() as folder:
            rule.save(Path(folder))
            peer = PeftModel.from_pretrained(
                AutoModelForCausalLM.from_pretrained(self._model, dtype=torch.float64),
                folder,
                is_trainable=True,
            ).double()
        book_loss(peer, self._backbone, pairs).backward()
        expected = {
            name.replace(".default.", "."): p.grad
            for name, p in peer.named_parameters()
            if p.grad is not None
        }
        # B starts at zero, so the gradient of A is zero: the one of B is the whole of it.
        names = [name for name in lora if ".lora_B." in name]
        found = torch.cat([lora[name].grad.flatten().double() for name in names])
        rule.close()
        other = torch.cat([expected[name].flatten() for name in names])
        return {"cosine": float(functional.cosine_similarity(found, other, dim=0))}


def book_loss(peer: PeftModel, backbone: Backbone, pairs: Sequence[TrainingPair]) -> torch.Tensor:
    """Mean DPO loss of ``peer`` (arXiv 2305.18290, eq. 7), its adapter off as the reference."""
    losses = []
    for pair in pairs:
        prompt = prompt_ids(backbone.tokenizer, pair.prompt)
        sides = [supervised_ids(backbone, one.completion) for one in (pair.chosen, pair.rejected)]
        logps = torch.stack([_logp(peer, prompt, side) for side in sides])
        with torch.no_grad(), peer.disable_adapter():
            ref = torch.stack([_logp(peer, prompt, side) for side in sides])
        margin = (logps[0] - ref[0]) - (logps[1] - ref[1])
        losses.append(-functional.logsigmoid(BETA * margin))
    return torch.stack(losses).mean()


def _logp(peer: PeftModel, prompt: tuple[int, ...], reply: tuple[int, ...]) -> torch.Tensor:
    ids = torch.tensor([prompt + reply])
    logits = peer(input_ids=ids).logits[0, len(prompt) - 1 : -1]
    target = ids[0, len(prompt) :, None]
    return logits.log_softmax(dim=-1).gather(1, target).sum()
