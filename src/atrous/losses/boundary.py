"""Boundary loss. Kervadec, Bouchtiba, Desrosiers, Granger, Dolz and Ben Ayed, "Boundary loss for highly unbalanced
segmentation", MIDL 2019, https://arxiv.org/abs/1812.07032, and its code at
https://github.com/LIVIAETS/boundary-loss (`one_hot2dist` in utils.py, `SurfaceLoss` in losses.py).

Deviations: the mean is over the pixels that count; an ignored area has no boundary, and neither has a class that fills all
that counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from atrous.errors import ConfigError
from atrous.losses.base import LossSettings, SegmentationLoss
from atrous.losses.mask_maps import MaskMaps
from atrous.losses.strips import resized


class Boundary(SegmentationLoss):
    """Mean over pixels and classes of p x signed distance to the true boundary: positive outside the class, in pixels.

    It may be negative: it is the least where each class is deep inside its area. By itself it has bad minima; the paper
    adds it to a region loss (`conf/loss/dice_boundary.yaml`). Distances are computed on the CPU for each class that occurs;
    0 everywhere for a class that does not. Holds several tensors of the upsampled logits' size.

    Args:
        settings: As for `SegmentationLoss`.
        classes: Indices of the classes whose boundaries count; the paper has the foreground's alone. None: all.
        cached_masks: Distance maps that are kept in memory, for masks that come again.

    Raises:
        ValueError: If `classes` is empty or `cached_masks` negative.
    """

    def __init__(
        self, *, classes: Sequence[int] | None = None, cached_masks: int = 0, **settings: Unpack[LossSettings]
    ) -> None:
        super().__init__(**settings)
        if classes is not None and not classes:
            raise ValueError("classes is empty; give class indices, such as [1], or null for all")
        self.classes = None if classes is None else list(classes)
        self.distances = MaskMaps(cached_masks)

    def head_loss(self, logits: Tensor, mask: Tensor) -> Tensor:
        classes = list(range(logits.shape[1])) if self.classes is None else self.classes
        if not set(classes) <= set(range(logits.shape[1])):
            raise ConfigError(
                f"loss.classes={classes}, but the model has {logits.shape[1]} classes; give indices from 0 to "
                f"{logits.shape[1] - 1}, or null for all."
            )
        distances = self.distances.of(mask, lambda one: signed_distances(one, classes, self.ignore_index))
        p = resized(logits, mask).softmax(1)[:, classes]  # (N, K, H, W), as are the distances
        counted = self.counted(mask)
        return self.mean((p * distances).sum(1)[counted].sum(), counted.sum() * len(classes))


def signed_distances(mask: NDArray[np.int64], classes: Sequence[int], ignore_index: int) -> NDArray[np.float32]:
    """Distance of each pixel to the boundary of each class, in pixels.

    Args:
        mask: (H, W).
        classes: K class indices.
        ignore_index: Value of the pixels that do not count.

    Returns:
        (K, H, W). Outside a class, the distance to its nearest pixel, from 1 on; inside it, 1 minus the distance to the
        nearest pixel of another class, from 0 down; 0 where there is no boundary.
    """
    maps = np.zeros((len(classes), *mask.shape), np.float32)
    counted = mask != ignore_index
    for row, index in zip(maps, classes, strict=True):
        inside = mask == index
        others = counted & ~inside
        if inside.any() and others.any():
            outward = ndimage.distance_transform_edt(~inside)
            inward = ndimage.distance_transform_edt(~others)
            row[:] = np.where(inside, 1 - inward, outward)
    return maps
