"""What all losses share: the heads of a SegOutput, float32, and a zero that can be trained on."""

from __future__ import annotations

from typing import TypedDict

import torch
from torch import Tensor, nn

from atrous.system.distributed import process_count, sum_over_processes
from atrous.types import IGNORE_INDEX, SegOutput


class LossSettings(TypedDict, total=False):
    """The settings of `SegmentationLoss`, which its subclasses pass on."""

    ignore_index: int
    aux_weight: float


class SegmentationLoss(nn.Module):
    """The loss of the logits, plus that of each auxiliary head. A subclass says what one head costs in `head_loss`.

    Losses are computed in float32 at least, whatever the precision of the training. A batch without a pixel that
    counts costs exactly 0 and has zero gradients.

    In a training of several processes a mean is that of all their batches, not the mean of their means, which would give a
    pixel more weight beside fewer others. What a process returns is its share of it: the average over the processes, which
    is what DDP takes of their gradients, is the loss of the whole batch. In eval mode a process looks at its own batch alone.
    With gradient accumulation each part has a mean of its own, as it has batch norm's statistics, and the parts weigh equally.

    Args:
        ignore_index: Mask value of the pixels that do not count.
        aux_weight: Weight of each auxiliary head's loss; 0.4 is from Zhao et al., "Pyramid Scene Parsing Network",
            CVPR 2017, section 5.1.

    Raises:
        ValueError: If `aux_weight` is negative.
    """

    def __init__(self, *, ignore_index: int = IGNORE_INDEX, aux_weight: float = 0.4) -> None:
        super().__init__()
        if aux_weight < 0:
            raise ValueError(f"aux_weight {aux_weight} is negative; give 0 or more, such as 0.4")
        self.ignore_index = ignore_index
        self.aux_weight = aux_weight

    def forward(self, output: SegOutput, mask: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            output: Logits (N, C, h, w) and auxiliary heads' logits, each (N, C, h', w'). They are resized to the mask
                (bilinear, `align_corners=False`).
            mask: int64 (N, H, W), class indices or `ignore_index`.

        Returns:
            Scalar.

        Raises:
            ConfigError: If settings that hold one value per class are not of C values.
        """
        with torch.autocast(output.logits.device.type, enabled=False):
            loss = self.head_loss(output.logits, mask)
            for logits in output.aux:
                loss = loss + self.aux_weight * self.head_loss(logits, mask)
            return loss

    def head_loss(self, logits: Tensor, mask: Tensor) -> Tensor:
        """What one head's logits (N, C, h, w) of any float type cost: a scalar."""
        raise NotImplementedError

    def mean(self, total: Tensor, whole: Tensor) -> Tensor:
        """This process's share of the mean over all processes' batches: scalars, `ratio(total, whole)` of one process."""
        if not self.training or process_count() == 1:
            return ratio(total, whole)
        whole = whole.to(total.dtype)
        return ratio(process_count() * total, sum_over_processes(whole))

    def counted(self, mask: Tensor) -> Tensor:
        """Which pixels count: bool (N, H, W)."""
        return mask != self.ignore_index

    def labels(self, mask: Tensor) -> Tensor:
        """The mask with a class, 0, at the ignored pixels, so that it can index."""
        return torch.where(self.counted(mask), mask, 0)


def share(value: float, name: str, example: str) -> float:
    """`value`, which has to be more than 0 and at most 1.

    Raises:
        ValueError: If it is not.
    """
    if not 0 < value <= 1:
        raise ValueError(f"{name} {value} is out of range; give a share above 0 and up to 1, such as {example}")
    return value


def at_least_zero(value: float, name: str, example: str) -> float:
    """`value`, which has to be 0 or more.

    Raises:
        ValueError: If it is not.
    """
    if not value >= 0:
        raise ValueError(f"{name} {value} is negative; give 0 or more, such as {example}")
    return value


def ratio(total: Tensor, whole: Tensor) -> Tensor:
    """total / whole where `whole` is above 0; `total`, which then is 0 with a gradient graph, where it is 0."""
    return total / torch.where(whole > 0, whole, 1)
