"""What AdamW remembers of each parameter, as plain tensors, so that a run can go on from a file."""

from collections.abc import Mapping

import torch
from torch import Tensor


def moments_of(optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
    """By the parameter's place, counted through all groups; none before the first step."""
    return {
        f"{place}.{key}": value.detach().cpu().contiguous()
        for place, parameter in enumerate(_parameters(optimizer))
        for key, value in optimizer.state[parameter].items()
    }


def set_moments(optimizer: torch.optim.AdamW, moments: Mapping[str, Tensor]) -> None:
    """Take up what ``moments_of`` gave, each on its parameter's device.

    The step count too: fused AdamW looks for it there, and moves nothing.
    """
    parameters = _parameters(optimizer)
    for name, value in moments.items():
        place, key = name.split(".")
        parameter = parameters[int(place)]
        optimizer.state[parameter][key] = value.to(parameter.device, copy=True)


def _parameters(optimizer: torch.optim.AdamW) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
