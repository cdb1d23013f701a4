"""Cross-entropy of every pixel."""

from __future__ import annotations

from typing import Literal, Unpack, get_args

import torch.nn.functional as F
from torch import Tensor

from atrous.losses.pixel_loss import PixelLoss, PixelSettings
from atrous.losses.strips import map_strips

Normalise = Literal["weights", "pixels"]


class CrossEntropy(PixelLoss):
    """Mean cross-entropy of the pixels that are not ignored, plus that of auxiliary heads.

    A batch without a pixel that counts costs 0 and has zero gradients, where `F.cross_entropy` is NaN.

    Args:
        settings: As for `PixelLoss`.
        label_smoothing: Share of the target that is spread evenly over all classes, 0 to 1 (Szegedy et al., "Rethinking the
            Inception Architecture for Computer Vision", CVPR 2016).
        normalise: What the weighted sum over the pixels is divided by: "weights", the sum of their classes' weights, as in
            `F.cross_entropy`, or "pixels", their number, as in Caffe (`SoftmaxWithLossLayer` of
            https://github.com/alexgkendall/caffe-segnet). Without class weights both are the same.

    Raises:
        ValueError: If a setting is out of its range.
    """

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        normalise: Normalise = "weights",
        **settings: Unpack[PixelSettings],
    ) -> None:
        super().__init__(**settings)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(
                f"label_smoothing {label_smoothing} is out of range; give a share from 0 to 1, such as 0.1"
            )
        if normalise not in get_args(Normalise):
            raise ValueError(f"normalise {normalise!r} is not possible; give one of {', '.join(get_args(Normalise))}")
        self.label_smoothing = label_smoothing
        self.normalise = normalise

    def head_loss(self, logits: Tensor, mask: Tensor) -> Tensor:
        weights = self.weights_for(logits)

        def weighted(strip: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(
                strip,
                labels,
                weight=weights,
                ignore_index=self.ignore_index,
                reduction="none",
                label_smoothing=self.label_smoothing,
            )

        whole = self.weights_of(logits, mask) if self.normalise == "weights" else self.counted(mask)
        return self.mean(map_strips(logits, mask, weighted).sum(), whole.sum())
