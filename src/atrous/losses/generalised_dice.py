"""Generalised Dice loss. Sudre, Li, Vercauteren, Ourselin and Cardoso, "Generalised Dice overlap as a deep learning loss
function for highly unbalanced segmentations", DLMIA 2017, https://arxiv.org/abs/1707.03237.

Deviation: a class that does not occur in the truth, whose weight would be infinite, is left out of both sums.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor

from atrous.losses.base import LossSettings, SegmentationLoss
from atrous.losses.overlap import areas, index_loss


class GeneralisedDice(SegmentationLoss):
    """1 - 2 (sum over classes of w hit) / (sum of w (predicted + actual)) with w = 1 / actual^2.

    `hit`, `predicted` and `actual` are those of `OverlapLoss`. Images without a pixel that counts are left out.

    Args:
        settings: As for `SegmentationLoss`.
        per_image: Compare the areas of each image, as in the paper, instead of those of the whole batch.
    """

    def __init__(self, *, per_image: bool = False, **settings: Unpack[LossSettings]) -> None:
        super().__init__(**settings)
        self.per_image = per_image

    def head_loss(self, logits: Tensor, mask: Tensor) -> Tensor:
        hit, predicted, actual = areas(logits, mask, self.ignore_index, self.per_image, self.training)  # each (G, C)
        weights = torch.where(actual > 0, 1 / actual.clamp(min=1), 0) ** 2
        groups = index_loss(2 * (weights * hit).sum(1), (weights * (predicted + actual)).sum(1))
        return self.mean(groups.sum(), (actual.sum(1) > 0).sum())
