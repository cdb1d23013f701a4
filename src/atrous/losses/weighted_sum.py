"""A weighted sum of losses."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from atrous.errors import ConfigError
from atrous.losses.base import SegmentationLoss
from atrous.types import SegOutput


class WeightedSum(SegmentationLoss):
    """The sum of weight x loss; auxiliary heads are weighted here, and the losses see one head at a time.

    Args:
        losses: By name; each (SegOutput, mask) -> scalar.
        weights: Of each loss, under the same name, 0 or more.
        aux_weight: As for `SegmentationLoss`.

    Raises:
        ConfigError: If there is no loss, or losses and weights have different names.
        ValueError: If a weight is negative.
    """

    def __init__(
        self, *, losses: Mapping[str, nn.Module], weights: Mapping[str, float], aux_weight: float = 0.4
    ) -> None:
        super().__init__(aux_weight=aux_weight)
        if not losses or losses.keys() != weights.keys():
            raise ConfigError(
                f"loss.losses has {', '.join(losses) or 'no loss'} and loss.weights {', '.join(weights) or 'none'}; give "
                "at least one loss, and one weight for each under the same name."
            )
        for name, weight in weights.items():
            if weight < 0:
                raise ValueError(f"weights.{name} {weight} is negative; give 0 or more, such as 1")
        self.losses = nn.ModuleDict(losses)
        self.weights = dict(weights)

    def head_loss(self, logits: Tensor, mask: Tensor) -> Tensor:
        head = SegOutput(logits)
        return torch.stack([weight * self.losses[name](head, mask) for name, weight in self.weights.items()]).sum()
