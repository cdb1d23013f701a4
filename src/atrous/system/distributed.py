"""Sums over the processes of a training, for what is defined on the whole batch: batch norm and losses."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor


def process_count() -> int:
    """How many processes train together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_processes(part: Tensor) -> Tensor:
    """The sum of every process's `part`, with a gradient; every process of the group has to call it.

    The gradient is that of the sum of all processes' losses; DDP then averages it over the processes.
    """
    return part if process_count() == 1 else cast(Tensor, _summed(part))


@torch.compiler.disable  # type: ignore[untyped-decorator]  # compiled code calls it as it is
def _summed(part: Tensor) -> Any:
    return _Sum.apply(part)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Sum.apply(gradient)
