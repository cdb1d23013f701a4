"""Vedaldi, Soatto: Quick Shift and Kernel Methods for Mode Seeking. ECCV 2008.

https://doi.org/10.1007/978-3-540-88693-8_52. scikit-image's, in CIELAB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from atrous.classical.method import Method, Pixels, Segments, library


@dataclass(kw_only=True)
class Quickshift(Method):
    """Each pixel follows the nearest one of higher density, in colour and place; a tree is a segment.

    Args:
        side: See `Method`.
        kernel_size: Width of the density's Gaussian, in pixels.
        max_dist: Longer links are cut.
        ratio: Colour against place, 0 to 1.
        sigma: Smooths the image before, in pixels.
        seed: Of the noise that tells apart equal densities.
    """

    most_pixels: ClassVar[int] = 2**20  # a minute

    kernel_size: float
    max_dist: float
    ratio: float
    sigma: float
    seed: int

    def segment(self, image: Pixels) -> Segments:
        found: Segments = library("skimage.segmentation").quickshift(
            image,
            kernel_size=self.kernel_size,
            max_dist=self.max_dist,
            ratio=self.ratio,
            sigma=self.sigma,
            rng=self.seed,
        )
        return found
