"""Dice loss. Milletari, Navab and Ahmadi, "V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image
Segmentation", 3DV 2016, https://arxiv.org/abs/1606.04797, for several classes.

Deviation: the denominator has the plain sums, as in Sudre et al. (2017), where V-Net squares the probabilities.
"""

from __future__ import annotations

from torch import Tensor

from atrous.losses.overlap import OverlapLoss, index_loss


class Dice(OverlapLoss):
    """Mean over the classes of 1 - (2 hit + smooth) / (predicted + actual + smooth); settings as for `OverlapLoss`."""

    def class_losses(self, hit: Tensor, predicted: Tensor, actual: Tensor) -> Tensor:
        return index_loss(2 * hit + self.smooth, predicted + actual + self.smooth)
