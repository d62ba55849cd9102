"""Where the model runs, and in which type."""

import torch

from learner.errors import LearnerError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def pick_device(name: str) -> torch.device:
    """``auto`` takes CUDA, then Apple's MPS, then the CPU.

    Raises LearnerError where the device is unknown or not there.
    """
    if name != "auto":
        return _named_device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """``auto`` takes bfloat16 where the hardware multiplies it natively, else float32.

    Raises LearnerError for a type that is neither.
    """
    if name in DTYPES:
        return DTYPES[name]
    if name != "auto":
        raise LearnerError(
            f"There is no type {name} here: --dtype takes auto, {', '.join(DTYPES)}."
        )
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type == "cpu":
        flags = torch.backends.cpu.get_cpu_capability()
        native = flags.startswith("AVX512") and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return torch.bfloat16 if native else torch.float32
    return torch.float32


def _named_device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise LearnerError(
            f"{name} is no device: --device takes auto, cpu, cuda or mps."
        ) from error
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": torch.backends.mps.is_available()}
    if (device.index or 0) >= there.get(device.type, 0):
        raise LearnerError(
            f"This machine has no {name} that torch can use: leave --device out, or name another."
        )
    return device
