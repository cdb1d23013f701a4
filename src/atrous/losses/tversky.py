"""Tversky loss. Salehi, Erdogmus and Gholipour, "Tversky loss function for image segmentation using 3D fully convolutional
deep networks", MLMI 2017, https://arxiv.org/abs/1706.05721; and the focal form of Abraham and Khan, "A Novel Focal Tversky
loss function with improved Attention U-Net for lesion segmentation", ISBI 2019, https://arxiv.org/abs/1810.07842.

Deviation: the mean over the classes, where the focal paper sums.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor

from atrous.losses.base import at_least_zero
from atrous.losses.overlap import OverlapLoss, OverlapSettings, index_loss


class Tversky(OverlapLoss):
    """Mean over the classes of (1 - (hit + smooth) / (hit + alpha false positives + beta false negatives + smooth))^(1 / gamma).

    Args:
        settings: As for `OverlapLoss`.
        alpha: Price of a false positive, 0 or more; with `beta`, both 0.5 give Dice and both 1 Jaccard.
        beta: Price of a false negative, 0 or more; the default finds more of small classes at the price of precision.
        gamma: Above 1, classes that are nearly right still train; 1: the plain loss; 4/3 is the focal paper's.

    Raises:
        ConfigError: If `classes` is none.
        ValueError: If another setting is out of its range.
    """

    def __init__(
        self,
        *,
        alpha: float = 0.3,
        beta: float = 0.7,
        gamma: float = 1.0,
        **settings: Unpack[OverlapSettings],
    ) -> None:
        super().__init__(**settings)
        self.alpha = at_least_zero(alpha, "alpha", "0.3")
        self.beta = at_least_zero(beta, "beta", "0.7")
        if not gamma > 0:
            raise ValueError(f"gamma {gamma} is out of range; give more than 0, such as 1.33")
        self.gamma = gamma

    def class_losses(self, hit: Tensor, predicted: Tensor, actual: Tensor) -> Tensor:
        wrong = self.alpha * (predicted - hit) + self.beta * (actual - hit)
        costs = index_loss(hit + self.smooth, hit + wrong + self.smooth)
        if self.gamma == 1:
            return costs
        return costs.clamp(min=torch.finfo(costs.dtype).eps) ** (1 / self.gamma)  # its slope at 0 may be infinite
