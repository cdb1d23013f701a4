"""Cross-entropy with U-Net's border weights. Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical
Image Segmentation", MICCAI 2015, https://arxiv.org/abs/1505.04597, equations 1 and 2.

Deviations: the energy is divided by the sum of the weights; the class balance w_c is the user's `class_weights`; the
border term ends where d2 is above 6 sigma, and it would be below 1.6e-8 w0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from atrous.losses.base import at_least_zero
from atrous.losses.mask_maps import MaskMaps
from atrous.losses.pixel_loss import PixelLoss, PixelSettings


class BorderWeight(PixelLoss):
    """Mean cross-entropy weighted by w(x) = w_c(x) + w0 exp(-(d1(x) + d2(x))^2 / (2 sigma^2)).

    d1 and d2 are the distances of a background pixel to the nearest and to the second nearest object, so that thin gaps
    between objects count most; the border term is 0 inside objects. An object is a connected component (four neighbours)
    of one class that is not background.

    Args:
        settings: As for `PixelLoss`.
        class_weights: The paper's w_c, one per class. None: all 1.
        w0: Weight of the border term, 0 or more.
        sigma: Width of the border in pixels, more than 0.
        background: Classes that are no objects, such as the membranes between cells.
        cached_masks: Border maps that are kept in memory, for masks that come again.

    Raises:
        ValueError: If a setting is out of its range.
    """

    def __init__(
        self,
        *,
        w0: float = 10.0,
        sigma: float = 5.0,
        background: Sequence[int] = (0,),
        cached_masks: int = 64,
        **settings: Unpack[PixelSettings],
    ) -> None:
        super().__init__(**settings)
        if not sigma > 0:
            raise ValueError(f"sigma {sigma} is out of range; give a width in pixels above 0, such as 5")
        if not background:
            raise ValueError("background is empty; give the classes between the objects, such as [0]")
        self.w0 = at_least_zero(w0, "w0", "10")
        self.sigma = sigma
        self.background = tuple(background)
        self.borders = MaskMaps(cached_masks)

    def head_loss(self, logits: Tensor, mask: Tensor) -> Tensor:
        weights = self.weights_of(logits, mask) + self.borders.of(mask, self._border) * self.counted(mask)
        return self.mean((weights * self.cross_entropies(logits, mask)).sum(), weights.sum())

    def _border(self, mask: NDArray[np.int64]) -> NDArray[np.float32]:
        nothing = np.isin(mask, self.background)
        objects = np.where(nothing | (mask == self.ignore_index), -1, mask)
        border = self.w0 * border_term(objects, self.sigma)
        return np.where(nothing, border, 0).astype(np.float32)


def border_term(objects: NDArray[np.int64], sigma: float) -> NDArray[np.float64]:
    """exp(-(d1 + d2)^2 / (2 sigma^2)) at every pixel, 0 where d2 is above 6 sigma or there is no second object.

    Args:
        objects: (H, W), the class of each object's pixels; negative elsewhere.
        sigma: In pixels.
    """
    reach = int(np.ceil(6 * sigma))
    first = np.full(objects.shape, np.inf)
    second = np.full(objects.shape, np.inf)
    for label in np.unique(objects[objects >= 0]):
        components, _ = ndimage.label(objects == label)
        for number, box in enumerate(ndimage.find_objects(components), start=1):
            around = tuple(slice(max(side.start - reach, 0), side.stop + reach) for side in box)
            distance = ndimage.distance_transform_edt(components[around] != number)
            second[around] = np.minimum(second[around], np.maximum(first[around], distance))
            first[around] = np.minimum(first[around], distance)
    return np.where(second <= 6 * sigma, np.exp(-((first + second) ** 2) / (2 * sigma**2)), 0.0)
