"""Jaccard loss: IoU with probabilities in the place of sets. Rahman and Wang, "Optimizing Intersection-Over-Union in Deep
Neural Networks for Image Segmentation", ISVC 2016, for several classes.
"""

from __future__ import annotations

from torch import Tensor

from atrous.losses.overlap import OverlapLoss, index_loss


class Jaccard(OverlapLoss):
    """Mean over the classes of 1 - (hit + smooth) / (predicted + actual - hit + smooth); settings as for `OverlapLoss`."""

    def class_losses(self, hit: Tensor, predicted: Tensor, actual: Tensor) -> Tensor:
        return index_loss(hit + self.smooth, predicted + actual - hit + self.smooth)
