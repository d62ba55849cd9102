"""A real chat model small enough for tests: two random Llama layers and a tokenizer made here."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from learner.config import GateConfig
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
    tokenizer = byte_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,  # the smallest widths that the native decoder takes
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        bos_token_id=256,
        eos_token_id=257,
        pad_token_id=257,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
        # Random weights are nearly uniform; larger ones make replies differ and sometimes end.
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data.mul_(6.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return ModelFolder(path=folder, name="tiny", sha256="0" * 64)


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
