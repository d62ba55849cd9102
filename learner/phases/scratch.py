"""A small model with random weights, so that pretraining can begin at the beginning."""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import mkdtemp

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from learner.model_folder import ModelError, ModelFolder, open_model
from storage.folder import DataFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class ScratchConfig:
    """A decoder of the Llama or GPT-2 family with the base's tokenizer."""

    architecture: str = "llama"
    """llama or gpt2."""
    layers: int = 4
    hidden: int = 256
    heads: int = 4
    context_tokens: int = 512

    def __post_init__(self) -> None:
        if self.architecture not in ("llama", "gpt2"):
            raise ValueError(f"architecture must be llama or gpt2, got {self.architecture!r}")
        if min(self.layers, self.hidden, self.heads, self.context_tokens) < 1:
            raise ValueError("layers, hidden, heads and context_tokens must be positive")
        if self.hidden % (2 * self.heads):
            raise ValueError(f"hidden must be a multiple of 2 * heads, got {self.hidden}")


def scratch_model(
    base: ModelFolder, config: ScratchConfig, seed: int, folder: DataFolder
) -> ModelFolder:
    """A model folder of this size, random under ``seed``; made once, then found again."""
    said = json.dumps([asdict(config), seed, base.sha256], sort_keys=True)
    final = folder.models / f"scratch-{hashlib.sha256(said.encode()).hexdigest()[:8]}"
    if not final.is_dir():
        folder.models.mkdir(exist_ok=True)
        draft = Path(mkdtemp(prefix=".tmp-", dir=folder.models))
        try:
            _write(base, config, seed, draft)
            draft.rename(final)
        except (OSError, SafetensorError) as error:
            told = f"The new model cannot be written ({error})"
            raise ModelError(f"{told}: make room in {folder.models}.") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)  # gone by now, where all went well
    return open_model(final, name=final.name, digests=folder.models / "digests.json")


def _write(base: ModelFolder, config: ScratchConfig, seed: int, folder: Path) -> None:
    try:
        tokenizer = AutoTokenizer.from_pretrained(base.path)
    except (OSError, ValueError) as error:
        raise ModelError(f"The tokenizer of {base.name} can't be loaded: {error}") from error
    shared = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
    }
    if config.architecture == "llama":
        own = {
            "hidden_size": config.hidden,
            "intermediate_size": 4 * config.hidden,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "num_key_value_heads": config.heads,
            "max_position_embeddings": config.context_tokens,
        }
    else:
        own = {
            "n_embd": config.hidden,
            "n_layer": config.layers,
            "n_head": config.heads,
            "n_positions": config.context_tokens,
        }
    made = AutoConfig.for_model(config.architecture, **shared, **own)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(made, dtype=torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
