"""Bootstrapped cross-entropy: the hardest share of the pixels, or of the images, trains.

Hard pixels: Wu, Shen and van den Hengel, "Bridging Category-level and Instance-level Semantic Image Segmentation", 2016,
https://arxiv.org/abs/1605.06885 (online bootstrapping), as a share of the batch's pixels like `top_k_percent_pixels` of
DeepLab's training code, whose help has 0.25 as its example.

Deviation: the share is of the pixels that count, where DeepLab's code takes it of all pixels.
"""

from __future__ import annotations

import math
from typing import Unpack

from torch import Tensor

from atrous.errors import ConfigError
from atrous.losses.base import ratio, share
from atrous.losses.pixel_loss import PixelLoss, PixelSettings

LEVELS = ("pixels", "images")


class BootstrappedCrossEntropy(PixelLoss):
    """Mean cross-entropy of the hardest pixels of a device's batch, or of its hardest images.

    Args:
        settings: As for `PixelLoss`. What is hard is judged by the loss with class weights.
        level: "pixels"; or "images", where the hardness of an image is its mean cross-entropy, and images without a pixel
            that counts are left out.
        fraction: Share that trains, rounded up, above 0 and up to 1.

    Raises:
        ConfigError: If `level` is neither.
        ValueError: If another setting is out of its range.
    """

    def __init__(
        self,
        *,
        level: str = "pixels",
        fraction: float = 0.25,
        **settings: Unpack[PixelSettings],
    ) -> None:
        super().__init__(**settings)
        if level not in LEVELS:
            raise ConfigError(f"loss.level={level} is impossible; choose one of {', '.join(LEVELS)}.")
        self.level = level
        self.fraction = share(fraction, "fraction", "0.25")

    def head_loss(self, logits: Tensor, mask: Tensor) -> Tensor:
        weights = self.weights_of(logits, mask)  # (N, H, W), as are the losses
        losses = weights * self.cross_entropies(logits, mask)
        if self.level == "images":
            whole = weights.sum((1, 2))  # (N,)
            losses, weights, counted = ratio(losses.sum((1, 2)), whole), (whole > 0).to(whole.dtype), whole > 0
        else:
            counted = self.counted(mask)
        losses, weights = losses[counted], weights[counted]
        count = math.ceil(round(self.fraction * len(losses), 6))  # 0.07 of 100 is 7, although 0.07 * 100 is more
        hardest = losses.detach().topk(count, sorted=False).indices
        return self.mean(losses[hardest].sum(), weights[hardest].sum())
