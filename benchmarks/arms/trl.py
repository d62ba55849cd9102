"""TRL's trainers at their best for a CPU: no checkpointing, no logging, batch of one, same ids."""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as transformers_logging
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

COMMON: dict[str, Any] = {
    "per_device_train_batch_size": 1,
    "gradient_checkpointing": False,
    "report_to": "none",
    "save_strategy": "no",
    "eval_strategy": "no",
    "logging_strategy": "no",
    "use_cpu": True,
    "max_length": None,
    "dataloader_pin_memory": False,
    "disable_tqdm": True,
    "learning_rate": 1e-4,
}


class PreparedDpo(DPOTrainer):
    """Takes token ids as they are."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:  # noqa: ANN401
        return dataset


class Dpo:
    """One pair forward and backward, then its share of the optimizer step, as the trainer does."""

    def __init__(
        self, model: str, pairs: str, count: int, dtype: str, precompute: bool, rank: int = 16
    ) -> None:
        _quiet()
        found = json.loads(Path(pairs).read_text(encoding="utf-8"))
        rows = {
            "prompt_ids": [one["ids"] for one in found],
            "chosen_ids": [one["chosen"] for one in found],
            "rejected_ids": [one["rejected"] for one in found],
        }
        # Precomputing walks the whole set at once: no more pairs than the rounds will use.
        rows = {name: values[: 6 * count] for name, values in rows.items()}
        loaded = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype))
        self._folder = tempfile.TemporaryDirectory()
        self._trainer = PreparedDpo(
            model=loaded,
            args=DPOConfig(
                output_dir=self._folder.name,
                beta=0.1,
                bf16=dtype == "bfloat16",
                precompute_ref_log_probs=precompute,
                **COMMON,
            ),
            train_dataset=Dataset.from_dict(rows),
            processing_class=AutoTokenizer.from_pretrained(model),
            peft_config=_lora(rank, TaskType.CAUSAL_LM),
        )
        self._steps = Steps(self._trainer, count)

    def round(self, number: int) -> dict[str, float]:
        return self._steps.round(number)

    def close(self) -> None:
        self._folder.cleanup()


class Reward:
    """RewardTrainer with LoRA on the whole model."""

    def __init__(self, model: str, pairs: str, count: int, dtype: str, rank: int = 16) -> None:
        _quiet()
        found = json.loads(Path(pairs).read_text(encoding="utf-8"))
        rows = {
            f"{side}_ids": [one["ids"] + one[side] for one in found]
            for side in ("chosen", "rejected")
        }
        loaded = AutoModelForSequenceClassification.from_pretrained(
            model, num_labels=1, dtype=getattr(torch, dtype)
        )
        tokenizer = AutoTokenizer.from_pretrained(model)
        loaded.config.pad_token_id = tokenizer.pad_token_id
        self._folder = tempfile.TemporaryDirectory()
        self._trainer = RewardTrainer(
            model=loaded,
            args=RewardConfig(output_dir=self._folder.name, bf16=dtype == "bfloat16", **COMMON),
            train_dataset=Dataset.from_dict(rows),
            processing_class=tokenizer,
            peft_config=_lora(rank, TaskType.SEQ_CLS),
        )
        self._steps = Steps(self._trainer, count)

    def round(self, number: int) -> dict[str, float]:
        return self._steps.round(number)

    def close(self) -> None:
        self._folder.cleanup()


class Steps:
    """``training_step`` for each pair, one optimizer step at the end; no loop around."""

    def __init__(self, trainer: Any, count: int) -> None:  # noqa: ANN401
        self._trainer, self._count = trainer, count
        self._batches = self._endless()
        trainer.current_gradient_accumulation_steps = count  # as its own loop sets it
        trainer.create_optimizer()
        trainer.model.train()

    def round(self, number: int) -> dict[str, float]:  # noqa: ARG002
        batches = [next(self._batches) for _ in range(self._count)]
        trainer = self._trainer
        began = time.perf_counter()
        for batch in batches:
            trainer.training_step(trainer.model, batch)
        torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
        trainer.optimizer.step()
        trainer.model.zero_grad()
        return {"pair_s": (time.perf_counter() - began) / self._count}

    def _endless(self):  # noqa: ANN202
        while True:
            yield from self._trainer.get_train_dataloader()


def _lora(rank: int, task: TaskType) -> LoraConfig:
    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type=task)


def _quiet() -> None:
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
