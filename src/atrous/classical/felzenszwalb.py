"""Felzenszwalb, Huttenlocher: Efficient Graph-Based Image Segmentation. IJCV 2004.

https://doi.org/10.1023/B:VISI.0000022288.19776.77. scikit-image's, which joins pixels to eight neighbours by their distance
in RGB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from atrous.classical.method import Method, Pixels, Segments, library


@dataclass(kw_only=True)
class Felzenszwalb(Method):
    """Joins neighbouring regions whose difference is small beside the differences within each, plus scale / its pixels.

    Args:
        side: See `Method`.
        scale: k of the paper, in grey levels of 255.
        sigma: Smooths the image before, in pixels.
        min_size: Pixels of the smallest region; smaller ones are joined to a neighbour.
    """

    most_pixels: ClassVar[int] = 2**22  # four edges a pixel are sorted

    scale: float
    sigma: float
    min_size: int

    def segment(self, image: Pixels) -> Segments:
        found: Segments = library("skimage.segmentation").felzenszwalb(
            image, scale=self.scale, sigma=self.sigma, min_size=self.min_size
        )
        return found
