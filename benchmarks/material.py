"""What the arms share: one set of weights in every format, the same prompts, the same adapters.

All of it follows from the default model and fixed seeds, and is kept in ``.bench/`` between runs.
"""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file, save_file

from benchmarks.arm_process import environment, interpreter
from benchmarks.arms.words import WORDS
from benchmarks.row import ROOT, Environment, Material

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FOLDER = ROOT / ".bench"
DIGEST = "weights.sha256"
RANK, ALPHA = 16, 32
PROMPT_TOKENS, TINY_PROMPT_TOKENS = 256, 160
PROMPTS = 48
"""Each begins differently, so that no arm finds the last round's prompt in its cache."""
GGUF_FORMATS = ("F32", "BF16", "Q8_0", "Q4_0")
_LINEAR = (
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
)


def default_material() -> Material:
    from learner.model_source import resolve_model  # noqa: PLC0415 - only where rows are run

    return material_of(resolve_model(progress=print).path, FOLDER, tiny=False)


def material_of(model: Path, folder: Path, *, tiny: bool) -> Material:
    folder.mkdir(parents=True, exist_ok=True)
    return Material(folder=folder, model=model, tiny=tiny)


def endless_model(material: Material) -> Path:
    """The same model with another end-of-sequence token: one that it has no reason to write.

    So every engine, whatever it calls the option, decodes exactly as many tokens as asked.
    """
    folder = material.folder / "endless"
    if folder.is_dir():
        return folder
    making = folder.with_suffix(".making")
    making.mkdir(exist_ok=True)
    tokenizer = json.loads((material.model / "tokenizer.json").read_text(encoding="utf-8"))
    never = tokenizer["added_tokens"][-1]
    for file in material.model.iterdir():
        target = making / file.name
        target.unlink(missing_ok=True)
        if file.name == "tokenizer_config.json":
            content = json.loads(file.read_text(encoding="utf-8"))
            target.write_text(json.dumps(content | {"eos_token": never["content"]}))
        elif file.name in ("generation_config.json", "config.json"):
            content = json.loads(file.read_text(encoding="utf-8"))
            target.write_text(json.dumps(content | {"eos_token_id": never["id"]}))
        else:
            target.symlink_to(file.resolve())
    (making / DIGEST).write_text(_digest(material))
    making.rename(folder)
    return folder


def _digest(material: Material) -> str:
    """Of the weights, as the engine names by it what it keeps of them."""
    if material.tiny:
        return "0" * 64
    from learner.model_source import resolve_model  # noqa: PLC0415

    return resolve_model().sha256


def prompts(material: Material) -> Path:
    """A JSON list of {"system", "text", "ids"}: messages that render to exactly so many ids."""
    tokens = TINY_PROMPT_TOKENS if material.tiny else PROMPT_TOKENS
    path = material.folder / f"prompts-{tokens}.json"
    if path.exists():
        return path
    from transformers import AutoTokenizer  # noqa: PLC0415 - seconds, once

    tokenizer = AutoTokenizer.from_pretrained(material.model)
    rng = np.random.default_rng(0)
    found: list[dict[str, object]] = []
    while len(found) < PROMPTS:
        one = _prompt(tokenizer, rng, len(found), tokens)
        if len(one["ids"]) == tokens:  # the last word may have been too long
            found.append(one)
    path.write_text(json.dumps(found))
    return path


def _prompt(
    tokenizer: "PreTrainedTokenizerBase", rng: np.random.Generator, number: int, tokens: int
) -> dict[str, Any]:
    from learner.rendering import prompt_ids  # noqa: PLC0415
    from storage.records import Message, Role  # noqa: PLC0415

    system = f"{rng.choice(WORDS)} {number}."
    text = "Tell me a story of"
    while True:
        messages = [
            Message(role=Role.SYSTEM, content=system),
            Message(role=Role.USER, content=text),
        ]
        ids = list(prompt_ids(tokenizer, messages))
        if len(ids) >= tokens:
            return {"system": system, "text": text, "ids": ids}
        word = str(rng.choice(WORDS))
        text += f" {word}" if len(ids) + len(word) < tokens else "."


def adapter(material: Material, number: int = 1) -> Path:
    """A PEFT folder of LoRA r=16 on all linear layers, small random weights from ``number``."""
    folder = material.folder / f"adapter-{number}"
    if (folder / "adapter_config.json").exists():
        return folder
    folder.mkdir(exist_ok=True)
    config = json.loads((material.model / "config.json").read_text(encoding="utf-8"))
    rng = np.random.default_rng(number)
    tensors: dict[str, np.ndarray] = {}
    for layer in range(config["num_hidden_layers"]):
        for name, (rows, columns) in linear_shapes(config).items():
            prefix = f"base_model.model.model.layers.{layer}.{name}"
            a = rng.standard_normal((RANK, columns)) / columns**0.5
            tensors[f"{prefix}.lora_A.weight"] = a.astype(np.float32)
            b = rng.standard_normal((rows, RANK)) * 0.002
            tensors[f"{prefix}.lora_B.weight"] = b.astype(np.float32)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": ALPHA,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": [name.split(".")[1] for name, _ in _LINEAR],
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def linear_shapes(config: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Rows and columns of each linear layer of a Llama block, by Hugging Face name."""
    width, middle = config["hidden_size"], config["intermediate_size"]
    head = config.get("head_dim") or width // config["num_attention_heads"]
    q, kv = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    shapes = ((q, width), (kv, width), (kv, width), (width, q))
    shapes += ((middle, width), (middle, width), (width, middle))
    return {name: shape for (name, _), shape in zip(_LINEAR, shapes, strict=True)}


def shipped_gguf() -> Path:
    from learner.model_source import _installed_gguf  # noqa: PLC0415

    path = _installed_gguf()
    if path is None:
        raise RuntimeError("the built-in model is not installed: make bench installs it")
    return path


def gguf(material: Material, form: str) -> Path:
    """The shipped weights in another GGUF format, by llama.cpp's own quantiser, from exact F32."""
    if form == "Q4_1":
        return shipped_gguf()
    path = material.folder / f"model-{form}.gguf"
    python = interpreter(Environment.PEERS)
    if path.exists() or python is None:
        return path
    source = shipped_gguf() if form == "F32" else gguf(material, "F32")
    making = path.with_suffix(".making")
    subprocess.run(  # noqa: S603 - our own module
        [python, "-m", "benchmarks.arms.llama", str(source), str(making), form],
        cwd=ROOT,
        env=environment(),
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    making.rename(path)
    return path


def gguf_adapter(material: Material, number: int = 1) -> Path:
    """``adapter(number)`` as llama.cpp reads it: q and k rows in the order of its rotary code."""
    path = material.folder / f"adapter-{number}.gguf"
    if path.exists():
        return path
    from gguf import GGUFWriter  # noqa: PLC0415

    config = json.loads((material.model / "config.json").read_text(encoding="utf-8"))
    heads = {
        "attn_q": config["num_attention_heads"],
        "attn_k": config["num_key_value_heads"],
    }
    making = path.with_suffix(".making")
    writer = GGUFWriter(making, "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(ALPHA))
    tensors = load_file(adapter(material, number) / "adapter_model.safetensors")
    for layer in range(config["num_hidden_layers"]):
        for theirs, name in _LINEAR:
            prefix = f"base_model.model.model.layers.{layer}.{theirs}"
            a, b = (tensors[f"{prefix}.lora_{side}.weight"] for side in "AB")
            if name in heads:
                b = _rotary_order(b, heads[name])
            writer.add_tensor(f"blk.{layer}.{name}.weight.lora_a", a)
            writer.add_tensor(f"blk.{layer}.{name}.weight.lora_b", b)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    making.replace(path)
    return path


def _rotary_order(rows: np.ndarray, heads: int) -> np.ndarray:
    """Pairs (i, i + half) of each head become neighbours, as convert_hf_to_gguf.py lays them."""
    split = rows.reshape(heads, 2, rows.shape[0] // heads // 2, rows.shape[1])
    return np.ascontiguousarray(split.swapaxes(1, 2).reshape(rows.shape))


def ready(material: Material, formats: Sequence[str] = ()) -> None:
    """Make what a row of replies reads."""
    endless_model(material)
    prompts(material)
    adapter(material)
    if not material.tiny and formats:
        gguf_adapter(material)
        for form in formats:
            gguf(material, form)


def pairs(material: Material, reply_tokens: int) -> Path:
    """The prompts with two replies of exactly ``reply_tokens`` ids each; neither was ever ended."""
    source = prompts(material)
    path = material.folder / f"pairs-{reply_tokens}.json"
    if path.exists():
        return path
    found = json.loads(source.read_text(encoding="utf-8"))
    known = [token for one in found for token in one["ids"][8:-8]]
    rng = np.random.default_rng(1)
    for one in found:
        for side in ("chosen", "rejected"):
            one[side] = [int(token) for token in rng.choice(known, reply_tokens)]
    path.write_text(json.dumps(found))
    return path
