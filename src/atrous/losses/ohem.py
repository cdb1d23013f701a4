"""Online hard example mining: only the pixels train that the network does not know yet.

As in the training code of OCNet and HRNet (Yuan and Wang, "OCNet: Object Context Network for Scene Parsing", 2018,
https://arxiv.org/abs/1809.00916; lib/core/criterion.py of HRNet/HRNet-Semantic-Segmentation) and mmsegmentation's
OHEMPixelSampler; the name is from Shrivastava, Gupta and Girshick, "Training Region-based Object Detectors with Online
Hard Example Mining", CVPR 2016.

Deviations: where few pixels are hard, exactly the hardest `min_kept` are kept; HRNet's rule drops the easiest of fewer than
`min_kept` pixels, which leaves none of a single one. The mean is weighted by the class weights.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor

from atrous.losses.pixel_loss import PixelLoss, PixelSettings


class OHEM(PixelLoss):
    """Mean cross-entropy of the pixels whose class has a probability below `threshold`, or of the hardest if they are few.

    Args:
        settings: As for `PixelLoss`. Class weights do not change which pixels are hard.
        threshold: Pixels below this probability are hard, above 0 and up to 1.
        min_kept: At least this many pixels per image are kept, counted over the batch of a device: the hardest ones.

    Raises:
        ValueError: If a setting is out of its range.
    """

    def __init__(
        self,
        *,
        threshold: float = 0.7,
        min_kept: int = 100_000,
        **settings: Unpack[PixelSettings],
    ) -> None:
        super().__init__(**settings)
        if not 0 < threshold <= 1:
            raise ValueError(
                f"threshold {threshold} is out of range; give a probability above 0 and up to 1, such as 0.7"
            )
        if min_kept < 1:
            raise ValueError(f"min_kept {min_kept} is too small; give a number of pixels from 1 on, such as 100000")
        self.threshold = threshold
        self.min_kept = min_kept

    def head_loss(self, logits: Tensor, mask: Tensor) -> Tensor:
        counted = self.counted(mask)
        losses = self.cross_entropies(logits, mask)[counted]  # (pixels,)
        weights = self.weights_of(logits, mask)[counted]
        hard = torch.exp(-losses.detach()) < self.threshold
        least = min(self.min_kept * len(mask), len(losses))
        if hard.sum() < least:
            kept = losses.detach().topk(least, sorted=False).indices
            losses, weights = losses[kept], weights[kept]
        else:
            weights = weights * hard
        return self.mean((weights * losses).sum(), weights.sum())
