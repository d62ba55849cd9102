"""The adapter in training and its optimizer, from opening to saving: what all update rules share.

The optimizer's moments travel with the adapter, so that a chain of small rounds is one long run.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from learner.engine.backbone import Backbone
from learner.moments import moments_of, set_moments
from learner.prefixes import under
from learner.update_config import TuningConfig
from storage.records import PolicyVersion

OPTIMIZER_FILE = "optimizer.safetensors"


T = TypeVar("T")


@runtime_checkable
class Team(Protocol):
    """Processes that train together (``learner/phases/world.py``)."""

    def share(self, rows: Sequence[T]) -> list[T]:
        """This process's rows; together the processes have each row once."""
        ...

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Make every process's gradients the sum over all."""
        ...

    def sum(self, values: Tensor) -> Tensor:
        """The sum of ``values`` over all processes."""
        ...

    def agree(self, make: Callable[[], T]) -> T:
        """What ``make`` returns on the main process, on all."""
        ...


class Alone:
    """A team of this process."""

    def share(self, rows: Sequence[T]) -> list[T]:
        return list(rows)

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """They are the sum."""

    def sum(self, values: Tensor) -> Tensor:
        return values

    def agree(self, make: Callable[[], T]) -> T:
        return make()


class AdapterTuning:
    """Leaves the adapter in training on the backbone, for the gate and for ``save``."""

    def __init__(
        self, backbone: Backbone, config: TuningConfig, *, optimizer_file: str = OPTIMIZER_FILE
    ) -> None:
        """``optimizer_file`` is the rule's own: moments of another loss would mislead it."""
        self._backbone = backbone
        self._optimizer_file = optimizer_file
        self._config = config
        self._parameters: list[nn.Parameter] = []
        self._began: list[Tensor] = []
        self._optimizer: torch.optim.AdamW | None = None
        self._afresh = False

    @property
    def parameters(self) -> list[nn.Parameter]:
        return self._parameters

    def open(self, parent: PolicyVersion, seed: int) -> None:
        """Let a trainable copy of ``parent`` speak, its optimizer as the parent left it."""
        self._parameters = self._backbone.open_training(parent, self._config.lora, seed)
        self._began = [parameter.detach().clone() for parameter in self._parameters]
        self._optimizer = new_adamw(self._parameters, self._config.learning_rate)
        afresh, self._afresh = self._afresh, False
        if parent.adapter_path is not None and not afresh:
            moments = parent.adapter_path / self._optimizer_file
            if moments.is_file():
                set_moments(self._optimizer, load_file(moments))

    def start_afresh(self) -> None:
        """The next ``open`` leaves the parent's moments where they are."""
        self._afresh = True

    def clear(self) -> None:
        """Drop the gradients of the step before."""
        self._opened().zero_grad(set_to_none=True)

    def step(self) -> float:
        """Clip the gradients and take a step; returns their norm. Raises FloatingPointError."""
        norm = nn.utils.clip_grad_norm_(
            self._parameters, self._config.grad_clip, error_if_nonfinite=False
        )
        if not torch.isfinite(norm):
            raise FloatingPointError(f"the gradient's norm is {float(norm)}")
        self._opened().step()
        return float(norm)

    @torch.no_grad()
    def shorten(self, share: float) -> None:
        """Leave this share of the way from the parent, as a smaller learning rate would have."""
        for parameter, began in zip(self._parameters, self._began, strict=True):
            torch.lerp(began, parameter, share, out=parameter)

    def pull_in(self, share: float) -> None:
        """Leave this share of the adapter's distance to the reference."""
        self._backbone.pull_in(share)

    def save(self, folder: Path) -> None:
        """Write the adapter in training and its optimizer's moments."""
        optimizer = self._opened()
        self._backbone.save_training(folder)
        save_file(moments_of(optimizer), folder / self._optimizer_file)

    def tensors(self) -> dict[str, Tensor]:
        """The adapter and its moments as they are now, for a checkpoint."""
        adapter = {f"adapter.{i}": p.detach().cpu().clone() for i, p in enumerate(self._parameters)}
        return adapter | {f"adam.{k}": v.clone() for k, v in moments_of(self._opened()).items()}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what ``tensors`` gave."""
        for place, parameter in enumerate(self._parameters):
            parameter.copy_(tensors[f"adapter.{place}"])
        set_moments(self._opened(), under("adam.", tensors))

    def close(self) -> None:
        """Forget the adapter in training."""
        self._optimizer = None
        self._parameters, self._began = [], []
        self._backbone.close_training()

    def _opened(self) -> torch.optim.AdamW:
        if self._optimizer is None:
            raise RuntimeError("there is no update to save")
        return self._optimizer


def new_adamw(parameters: Sequence[nn.Parameter], learning_rate: float) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        parameters, lr=learning_rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True
    )
