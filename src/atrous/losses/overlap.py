"""What the losses share that compare the predicted and the true area of each class."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor

from atrous.errors import ConfigError
from atrous.losses.base import LossSettings, SegmentationLoss, at_least_zero, ratio
from atrous.losses.strips import sum_strips
from atrous.system.distributed import sum_over_processes

CLASSES = ("present", "all")


class OverlapSettings(LossSettings, total=False):
    """The settings of `OverlapLoss`, which its subclasses pass on."""

    per_image: bool
    classes: str
    smooth: float


class OverlapLoss(SegmentationLoss):
    """A loss on three sums per class over the pixels that count, p the softmax probabilities and y the one-hot truth:
    hit = sum p y, predicted = sum p, actual = sum y. A subclass says in `class_losses` what a class costs.

    The loss is the mean over the classes, of the whole batch or of each image and then over the images that have a pixel
    that counts. The sums are computed without the upsampled logits in memory.

    Args:
        per_image: Compare the areas of each image instead of those of the whole batch.
        classes: "present": a class that does not occur in the truth of the batch (or image) is left out of the mean; what
            is wrongly predicted for it is missing in the other classes. "all": it costs the most where anything is
            predicted for it, which `smooth` softens.
        smooth: Added to the numerator and the denominator of each class's ratio, in pixels, 0 or more.
        settings: As for `SegmentationLoss`.

    Raises:
        ConfigError: If `classes` is neither.
        ValueError: If another setting is out of its range.
    """

    def __init__(
        self,
        *,
        per_image: bool = False,
        classes: str = "present",
        smooth: float = 0.0,
        **settings: Unpack[LossSettings],
    ) -> None:
        super().__init__(**settings)
        self.per_image = per_image
        self.all_classes = check_classes(classes) == "all"
        self.smooth = at_least_zero(smooth, "smooth", "1")

    def head_loss(self, logits: Tensor, mask: Tensor) -> Tensor:
        hit, predicted, actual = areas(logits, mask, self.ignore_index, self.per_image, self.training)  # each (G, C)
        costs = self.class_losses(hit, predicted, actual)
        counted = actual.sum(1) > 0  # (G,)
        averaged = counted[:, None] if self.all_classes else actual > 0
        averaged = averaged.expand_as(costs).to(costs.dtype)
        groups = ratio((costs * averaged).sum(1), averaged.sum(1))
        return self.mean((groups * counted).sum(), counted.sum())

    def class_losses(self, hit: Tensor, predicted: Tensor, actual: Tensor) -> Tensor:
        """(G, C) from three times (G, C), G the number of images, or 1 for the batch."""
        raise NotImplementedError


def areas(
    logits: Tensor, mask: Tensor, ignore_index: int, per_image: bool, training: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels of each class, ignored ones left out: hit = sum p y, predicted = sum p, actual = sum y.

    Args:
        logits: (N, C, h, w).
        mask: int64 (N, H, W).
        ignore_index: Value of the pixels that do not count.
        per_image: (N, C) each, instead of the batch's (1, C).
        training: The batch is that of all processes.
    """
    classes = logits.shape[1]

    def piece(strip: Tensor, labels: Tensor) -> Tensor:
        counted = (labels != ignore_index)[:, None]
        truth = torch.zeros_like(strip).scatter_(1, torch.where(counted, labels[:, None], 0), counted.to(strip.dtype))
        p = strip.softmax(1)
        return torch.cat([(p * truth).sum((2, 3)), (p * counted).sum((2, 3)), truth.sum((2, 3))], 1)

    sums = sum_strips(logits, mask, piece, 3 * classes)  # (N, 3 C)
    if not per_image:
        sums = sums.sum(0, keepdim=True)
        if training:
            sums = sum_over_processes(sums)
    hit, predicted, actual = sums[:, :classes], sums[:, classes : 2 * classes], sums[:, 2 * classes :]
    return hit, predicted, actual.detach()


def index_loss(numerator: Tensor, denominator: Tensor) -> Tensor:
    """1 - numerator / denominator; where both are 0, nothing is predicted of nothing, 0."""
    empty = denominator <= 0
    return torch.where(empty, denominator * 0, 1 - numerator / torch.where(empty, 1, denominator))


def check_classes(classes: str) -> str:
    """`classes`, which has to be one of CLASSES.

    Raises:
        ConfigError: If it is not.
    """
    if classes not in CLASSES:
        raise ConfigError(f"loss.classes={classes} is impossible; choose one of {', '.join(CLASSES)}.")
    return classes
