"""A version as a whole model: the base's files with ``(alpha / r) B A`` added to its weights.

Works on the safetensors files, one after the other, and loads no model: what it writes has the
names, shards and configuration of the base, so whatever reads the base reads this. Sums are taken
in float32 and rounded once, to the type that is written.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from learner.config import MergedDtype
from learner.engine.lora import TRANSPOSED, LoraTensors, read_adapter
from learner.errors import LearnerError

INDEX_FILE = "model.safetensors.index.json"

_BESIDE_WEIGHTS = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "*.jinja",
    "chat_template.json",
    "generation_config.json",
)
"""What a model folder needs beside weights and configuration; other files stay where they are."""

_PATHS = ("_name_or_path", "_model_name_or_path")
"""Settings in which the configuration may name a folder of this machine."""

_TYPES = {
    MergedDtype.BFLOAT16: torch.bfloat16,
    MergedDtype.FLOAT16: torch.float16,
    MergedDtype.FLOAT32: torch.float32,
}


class MergeError(LearnerError):
    """The version cannot be merged; the text says why."""


@dataclass(frozen=True, slots=True)
class _Update:
    a: Float[Tensor, "r inputs"]
    b: Float[Tensor, "outputs r"]
    scale: float
    transposed: bool
    """The base stores its matrix so."""

    def added_to(self, weight: Tensor) -> Tensor:
        """The weight, (outputs, inputs) or transposed, as it is to be written, in float32."""
        product = self.scale * (self.b.float() @ self.a.float())
        update = product.T if self.transposed else product
        if weight.shape != update.shape:
            raise ValueError("the matrices do not fit the base")
        return weight.float() + update


def merge_adapter(base: Path, adapter: Path, target: Path, dtype: MergedDtype) -> None:
    """Write the base in ``base`` with the adapter in ``adapter`` merged into the folder ``target``.

    ``target`` is there and empty. Raises MergeError; what was written by then is no model.
    """
    try:
        updates = _updates(read_adapter(adapter))
        config = json.loads((base / "config.json").read_text(encoding="utf-8"))
        if "quantization_config" in config:
            raise MergeError("The base model is quantised: an adapter cannot be merged into it.")
        for file in sorted(base.glob("*.safetensors")):
            _merge_file(file, target / file.name, updates, dtype)
        if updates:
            raise MergeError(f"The adapter changes {next(iter(updates))}, which the base has not.")
        _write_config(config, target, dtype)
        _write_index(base, target)
        for pattern in _BESIDE_WEIGHTS:
            for file in base.glob(pattern):
                shutil.copyfile(file, target / file.name)
    except (OSError, SafetensorError, ValueError) as error:
        raise MergeError(f"The version can't be merged: {error}.") from error


def _updates(lora: LoraTensors) -> dict[str, _Update]:
    """What is added to which weight, by the weight's name in the base's files."""
    extras = [one for one in lora.extras if one != TRANSPOSED]
    if extras:
        raise ValueError(f"only plain LoRA can be merged, not {', '.join(extras)}")
    transposed = TRANSPOSED in lora.extras
    updates = {}
    for name, a in lora.tensors.items():
        if ".lora_A." not in name:
            continue
        b = lora.tensors.get(name.replace(".lora_A.", ".lora_B."))
        if b is None:
            raise ValueError(f"it has no second half of {name}")
        path = name.removeprefix("base_model.model.").partition(".lora_A.")[0]
        updates[f"{path}.weight"] = _Update(a, b, lora.alpha / lora.rank, transposed)
    if 2 * len(updates) != len(lora.tensors):
        raise ValueError("it holds a tensor that belongs to no pair")
    return updates


def _merge_file(
    source: Path, target: Path, updates: dict[str, _Update], dtype: MergedDtype
) -> None:
    """Write one shard anew; the updates that belong there are used up."""
    merged = {}
    with safe_open(source, framework="pt") as shard:
        for name in shard.keys():  # noqa: SIM118 - a shard is no mapping
            tensor = shard.get_tensor(name)
            written = tensor.dtype if dtype is MergedDtype.BASE else _TYPES[dtype]
            if not tensor.is_floating_point():
                written = tensor.dtype
            if name in updates:
                tensor = updates.pop(name).added_to(tensor)
            merged[name] = tensor.to(written).contiguous()
    save_file(merged, target, metadata={"format": "pt"})


def _write_config(config: dict[str, object], target: Path, dtype: MergedDtype) -> None:
    said = {name: value for name, value in config.items() if name not in _PATHS}
    if dtype is not MergedDtype.BASE:
        said.pop("torch_dtype", None)  # its name until transformers 4
        said["dtype"] = dtype.value
    _write_json(target / "config.json", said)


def _write_index(base: Path, target: Path) -> None:
    """The map from weight to shard is the base's; only the bytes may be others."""
    if not (base / INDEX_FILE).is_file():
        return
    index = json.loads((base / INDEX_FILE).read_text(encoding="utf-8"))
    total = 0
    for file in target.glob("*.safetensors"):
        with safe_open(file, framework="pt") as shard:
            total += sum(shard.get_tensor(name).nbytes for name in shard.keys())  # noqa: SIM118
    index["metadata"] = {**index.get("metadata", {}), "total_size": total}
    _write_json(target / INDEX_FILE, index)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
