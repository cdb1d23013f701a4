"""Lovász-softmax. Berman, Rannen Triki and Blaschko, "The Lovász-Softmax loss: A tractable surrogate for the optimization
of the intersection-over-union measure in neural networks", CVPR 2018, https://arxiv.org/abs/1705.08790, and its code at
https://github.com/bermanmaxim/LovaszSoftmax (pytorch/lovasz_losses.py).

Deviation: with `per_image`, images without a pixel that counts are left out of the mean, where that code counts them as 0.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor

from atrous.losses.base import LossSettings, SegmentationLoss
from atrous.losses.overlap import check_classes
from atrous.losses.strips import resized


class LovaszSoftmax(SegmentationLoss):
    """Mean over the classes of the Lovász extension of 1 - IoU, at the errors |y - p| of the pixels.

    Holds several tensors of the upsampled logits' size: the errors of a class are sorted over all pixels.

    Args:
        settings: As for `SegmentationLoss`.
        per_image: IoU of each image instead of that of a device's batch; the mean over images.
        classes: "present": the mean over the classes that occur in the truth of the batch (or image). "all": over all; one
            that does not occur costs its highest probability.

    Raises:
        ConfigError: If `classes` is neither.
    """

    def __init__(self, *, per_image: bool = False, classes: str = "present", **settings: Unpack[LossSettings]) -> None:
        super().__init__(**settings)
        self.per_image = per_image
        self.all_classes = check_classes(classes) == "all"

    def head_loss(self, logits: Tensor, mask: Tensor) -> Tensor:
        p = resized(logits, mask).softmax(1).movedim(1, -1)  # (N, H, W, C)
        if not self.per_image:
            return self._group_loss(p, mask)
        costs = torch.stack([self._group_loss(*image) for image in zip(p, mask, strict=True)])
        return self.mean(costs.sum(), self.counted(mask).any(2).any(1).sum())

    def _group_loss(self, p: Tensor, mask: Tensor) -> Tensor:
        counted = self.counted(mask)
        p, labels = p[counted], mask[counted]  # (P, C), (P,)
        occurs = torch.bincount(labels, minlength=p.shape[1]) > 0
        if not len(labels):
            return p.sum()  # 0
        chosen = range(p.shape[1]) if self.all_classes else occurs.nonzero()[:, 0].tolist()
        costs = []
        for index in chosen:
            truth = labels == index
            errors, order = (truth.to(p.dtype) - p[:, index]).abs().sort(descending=True)
            costs.append(errors @ extension_gradient(truth[order], p.dtype))
        return torch.stack(costs).mean()


def extension_gradient(truth: Tensor, dtype: torch.dtype) -> Tensor:
    """By how much 1 - IoU rises when one pixel after another is wrong: (P,).

    The differences of algorithm 1's Jaccard losses in closed form, since among millions of pixels they are as small as the
    rounding of the losses themselves.

    Args:
        truth: bool (P,), whether the pixel is of the class, in descending order of their errors.
        dtype: Of the result.
    """
    total = truth.sum()
    inside = truth.cumsum(0)
    intersection = (total - inside).to(dtype)
    union = (total + torch.arange(1, len(truth) + 1, device=truth.device) - inside).to(dtype)
    outside = intersection / (union * (union - 1).clamp(min=1))  # union grows by one pixel
    if not total:  # IoU falls from 1 to 0 with the first pixel
        outside[0] = 1
    return torch.where(truth, 1 / union, outside)
