"""Achanta, Shaji, Smith, Lucchi, Fua, Süsstrunk: SLIC Superpixels Compared to State-of-the-art Superpixel Methods. TPAMI 2012.

https://doi.org/10.1109/TPAMI.2012.120. scikit-image's, whose superpixels are connected at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from atrous.classical.method import Iterate, Method, Pixels, Segments, library
from atrous.errors import ConfigError


@dataclass(kw_only=True)
class SLIC(Method):
    """k-means in CIELAB and place, each centre looking no farther than twice its grid's spacing.

    Args:
        side: See `Method`.
        segments: About so many superpixels.
        compactness: m of the paper: place against colour.
        sigma: Smooths the image before, in pixels.
        iterations: Of k-means.
    """

    segments: int
    compactness: float
    sigma: float
    iterations: int

    def __post_init__(self) -> None:
        if self.compactness <= 0:
            raise ConfigError(f"method.compactness={self.compactness} is impossible for SLIC; give a number above 0.")

    def segment(self, image: Pixels) -> Segments:
        return self._after(image, self.iterations)

    def iterates(self, image: Pixels) -> Iterator[Iterate]:
        """The superpixels after each iteration; each is computed from the start."""
        for count in range(1, self.iterations + 1):
            yield Iterate(f"iteration {count}", self._after(image, count))

    def _after(self, image: Pixels, iterations: int) -> Segments:
        found: Segments = library("skimage.segmentation").slic(
            image,
            n_segments=self.segments,
            compactness=self.compactness,
            sigma=self.sigma,
            max_num_iter=iterations,
            start_label=0,
        )
        return found
