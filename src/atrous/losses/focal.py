"""Focal loss. Lin, Goyal, Girshick, He and Dollár, "Focal Loss for Dense Object Detection", ICCV 2017,
https://arxiv.org/abs/1708.02002, equations 4 and 5, with softmax in the place of sigmoid.

Deviation: the sum is divided by the pixels that count, or by the sum of their weights, not by a number of anchors.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor

from atrous.losses.base import at_least_zero
from atrous.losses.pixel_loss import PixelLoss, PixelSettings


class Focal(PixelLoss):
    """Mean of -alpha (1 - p)^gamma log p over the pixels, p the softmax probability of the pixel's class.

    Args:
        settings: As for `PixelLoss`.
        class_weights: The paper's alpha, one per class; the mean is weighted by them. None: all 1.
        gamma: How much easy pixels are held back, 0 (cross-entropy) or more; 2 is the paper's.

    Raises:
        ValueError: If a setting is out of its range.
    """

    def __init__(
        self,
        *,
        gamma: float = 2.0,
        **settings: Unpack[PixelSettings],
    ) -> None:
        super().__init__(**settings)
        self.gamma = at_least_zero(gamma, "gamma", "2")

    def head_loss(self, logits: Tensor, mask: Tensor) -> Tensor:
        surprise = self.cross_entropies(logits, mask)  # -log p, (N, H, W)
        doubt = -torch.expm1(-surprise)  # 1 - p without cancellation
        tiny = torch.finfo(doubt.dtype).tiny  # the slope of doubt^gamma at 0 is infinite where gamma < 1
        focused = doubt.clamp(min=tiny) ** self.gamma * surprise
        weights = self.weights_of(logits, mask)
        return self.mean((weights * focused).sum(), weights.sum())
