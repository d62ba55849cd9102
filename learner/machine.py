"""What the machine offers and what twofold makes of it, for ``twofold env``."""

import torch

from learner.config import EngineConfig
from learner.engine.device import pick_device, pick_dtype
from learner.engine.native.build import NativeUnavailableError, load_library


def machine_report(config: EngineConfig) -> dict[str, str]:
    """Processor flags torch uses, threads, and the device and number format chosen."""
    device = pick_device(config.device)
    return {
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": str(config.threads or torch.get_num_threads()),
        "device": str(device),
        "dtype": str(pick_dtype(config.dtype, device)).removeprefix("torch."),
        "decoder": _decoder(),
    }


def _decoder() -> str:
    try:
        load_library()
    except NativeUnavailableError as error:
        return f"transformers; {error}"
    return "native, where it fits the model"
