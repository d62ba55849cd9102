"""The processes that train together, through ``accelerate``; mostly there is one.

Each holds all weights and takes its share of every batch. Gradients are summed, so a step is that
of one process on the whole batch, up to the order of additions.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


class World:
    """One process alone."""

    rank = 0
    size = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def share(self, rows: Sequence[T]) -> list[T]:
        """This process's rows; together the processes have each row once."""
        return list(rows[self.rank :: self.size])

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Make every process's gradients the sum over all; a missing one counts as zero."""

    def sum(self, values: Tensor) -> Tensor:
        """The sum of ``values`` over all processes."""
        return values

    def agree(self, make: Callable[[], T]) -> T:
        """What ``make`` returns on the main process, on all; it is called there alone.

        It must be plain data: it is sent.
        """
        return make()

    def wait(self) -> None:
        """Until every process is here."""


class AcceleratedWorld(World):
    """What ``accelerate launch`` or ``torchrun`` started."""

    def __init__(self, *, cpu: bool) -> None:
        from accelerate import PartialState  # noqa: PLC0415 - a second

        self._state = PartialState(cpu=cpu)
        self.rank = self._state.process_index
        self.size = self._state.num_processes

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        whole = torch.cat([p.grad.reshape(-1) for p in parameters if p.grad is not None])
        whole = self.sum(whole)
        parts = whole.split([p.numel() for p in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def sum(self, values: Tensor) -> Tensor:
        from accelerate.utils import reduce  # noqa: PLC0415

        total = reduce(values.to(self._state.device), reduction="sum")
        return total.to(values.device)

    def agree(self, make: Callable[[], T]) -> T:
        from accelerate.utils import broadcast_object_list  # noqa: PLC0415

        told: list[Any] = [make() if self.is_main else None]
        return broadcast_object_list(told, from_process=0)[0]

    def wait(self) -> None:
        self._state.wait_for_everyone()


def join_world(*, cpu: bool) -> World:
    """The processes this one was started with; alone if it was started alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return AcceleratedWorld(cpu=cpu)
    return World()
