"""The process-wide generators, as part of a checkpoint: libraries draw from them."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

_TORCH, _CUDA = "rng.torch", "rng.cuda"


def seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the one that libraries use
    torch.manual_seed(seed)


def random_tensors() -> dict[str, Tensor]:
    found = {_TORCH: torch.get_rng_state()}
    if torch.cuda.is_available():
        found |= {f"{_CUDA}.{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return found


def random_values() -> dict[str, Any]:
    version, numbers, gauss = random.getstate()
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [name, np.asarray(keys).tolist(), *rest],
    }


def restore_random(tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    version, numbers, gauss = values["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = values["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(tensors[_TORCH])
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            if (state := tensors.get(f"{_CUDA}.{i}")) is not None:
                torch.cuda.set_rng_state(state, i)
