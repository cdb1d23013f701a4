"""Watershed by flooding: Beucher, Meyer, The Morphological Approach to Segmentation, 1993; compact: Neubert, Protzel, ICPR 2014.

https://doi.org/10.1109/ICPR.2014.181. scikit-image's, on the gradient of the lightness. Its markers are ours: a grid, each
moved to the lowest gradient in a 3 x 3 square, as SLIC starts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from atrous.classical.features import lab
from atrous.classical.method import Method, Pixels, Segments, library


@dataclass(kw_only=True)
class Watershed(Method):
    """Markers flood the image's gradient; where two floods meet is a boundary.

    Args:
        side: See `Method`.
        segments: About so many markers.
        compactness: More makes the segments squarer; 0: flooding by height alone.
        gradient_sigma: Of the Gaussian whose derivatives are the gradient, in pixels.
    """

    segments: int
    compactness: float
    gradient_sigma: float

    def segment(self, image: Pixels) -> Segments:
        relief = ndimage.gaussian_gradient_magnitude(lab(image)[..., 0], self.gradient_sigma)
        markers = grid_markers(relief, self.segments)
        found: Segments = library("skimage.segmentation").watershed(relief, markers, compactness=self.compactness)
        return found


def grid_markers(relief: NDArray[np.float32], count: int) -> NDArray[np.int32]:
    """About `count` markers, numbered from 1, on a grid, each at the lowest place of the 3 x 3 pixels about its own."""
    height, width = relief.shape
    spacing = max(1.0, (height * width / count) ** 0.5)
    rows, columns = (
        ((np.arange(max(1, round(length / spacing))) + 0.5) * length / max(1, round(length / spacing))).astype(int)
        for length in (height, width)
    )
    markers = np.zeros(relief.shape, np.int32)
    for number, (row, column) in enumerate(((row, column) for row in rows for column in columns), 1):
        top, left = max(0, row - 1), max(0, column - 1)
        square = relief[top : row + 2, left : column + 2]
        down, across = np.unravel_index(int(square.argmin()), square.shape)
        markers[top + down, left + across] = number
    return markers
