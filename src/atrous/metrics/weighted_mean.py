"""A mean over batches and processes; torchmetrics' own leaves the weights out where it lets NaN pass."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class WeightedMean(Metric):
    """The mean of what it was given since the last reset, by weight; NaN of nothing. It is summed over processes, then divided."""

    is_differentiable = False
    full_state_update = False
    total: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("weight", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, value: Tensor, weight: Tensor) -> None:
        """Adds a scalar; one of weight 0 counts for nothing, whatever it is."""
        self.total += torch.where(weight > 0, value.float() * weight, 0)
        self.weight += weight

    def compute(self) -> Tensor:
        return self.total / self.weight
