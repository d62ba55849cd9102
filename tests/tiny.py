"""A real chat model small enough for tests: two random Llama layers and a tokenizer made here."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from learner.config import GateConfig
from learner.engine.lora import CONFIG_FILE, WEIGHTS_FILE
from learner.model_folder import ModelFolder

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

LAX_GATE = GateConfig(
    prompts=2,
    max_new_tokens=8,
    max_kl_per_token=100.0,
    max_perplexity_ratio=1e9,
    min_length_ratio=0.0,
    max_length_ratio=100.0,
    max_empty_share=1.0,
    max_repetition=1.0,
)
"""It is no chat model: where only the mechanism is tested, any version may pass."""


def write_tiny_model(folder: Path) -> ModelFolder:
    """Write it as any model folder is: safetensors, tokenizer, chat template."""
    # The smallest widths that the native decoder takes.
    return replace(write_tiny(folder, LlamaForCausalLM, LlamaConfig), name="tiny", sha256="0" * 64)


def write_tiny_gpt2(folder: Path) -> ModelFolder:
    """The same of another family, whose layers store their matrices transposed."""
    tokenizer = byte_tokenizer()
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=512,
        bos_token_id=256,
        eos_token_id=257,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    return _written(
        GPT2LMHeadModel, config, tokenizer, ModelFolder(path=folder, name="gpt2", sha256="2" * 64)
    )


def write_tiny(
    folder: Path,
    kind: Callable[[PreTrainedConfig], PreTrainedModel],
    config: Callable[..., PreTrainedConfig],
    **settings: object,
) -> ModelFolder:
    """A model of any family that is built like Llama."""
    tokenizer = byte_tokenizer()
    about = config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        bos_token_id=256,
        eos_token_id=257,
        pad_token_id=257,
        tie_word_embeddings=True,
        **settings,
    )
    name = kind.__name__
    return _written(kind, about, tokenizer, ModelFolder(path=folder, name=name, sha256=64 * "3"))


def _written(
    kind: Callable[[PreTrainedConfig], PreTrainedModel],
    config: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerFast,
    target: ModelFolder,
) -> ModelFolder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind(config)
        # Random weights are nearly uniform; larger ones make replies differ and sometimes end.
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data.mul_(6.0)
    model.save_pretrained(target.path)
    tokenizer.save_pretrained(target.path)
    return target


def write_tiny_adapter(model: ModelFolder, folder: Path) -> None:
    """A LoRA adapter of rank 4 over every linear layer of a tiny model, as a round leaves it."""
    generator = torch.Generator().manual_seed(1)
    tensors = {}
    for name, weight in load_file(model.path / "model.safetensors").items():
        if name.endswith("_proj.weight"):
            outputs, inputs = weight.shape
            path = f"base_model.model.{name.removesuffix('.weight')}"
            for half, shape in (("A", (4, inputs)), ("B", (outputs, 4))):
                tensor = 0.1 * torch.randn(shape, generator=generator)
                tensors[f"{path}.lora_{half}.weight"] = tensor
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none"}
    (folder / CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, so that every text has ids and every id a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",  # noqa: S106
        eos_token="<|im_end|>",  # noqa: S106
        pad_token="<|im_end|>",  # noqa: S106
    )
    fast.chat_template = CHATML
    return fast
