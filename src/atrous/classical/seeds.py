"""Methods that are told where some labels are: by a user's scribbles, or by some drawn from the truth."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from atrous.classical.method import Iterate, Method, Pixels, Segments, enlarged
from atrous.errors import ConfigError

UNMARKED = -1


@dataclass(kw_only=True)
class SeededMethod(Method):
    """The base of methods that need seeds, int32 (H, W): a label, or `UNMARKED`. A segment's number is its seeds' label.

    Args:
        side: See `Method`.
        scribbles: Where there is a truth, so many disks are drawn from each class of an image.
        scribble_radius: Of a disk, in pixels.
        seed: Of what is drawn.
    """

    scribbles: int
    scribble_radius: int
    seed: int

    def __call__(self, image: Pixels, seeds: Segments | None = None) -> Segments:
        """The labels of an image at its own size.

        Raises:
            ConfigError: As `Method`, and if there are no seeds, or those of one label alone.
        """
        *_, last = self.steps(image, seeds)
        return enlarged(last.segments, image.shape[:2])

    def seeds_from(self, truth: NDArray[Any], *, ignore_index: int) -> Segments:
        return drawn(truth, self.scribbles, self.scribble_radius, ignore_index=ignore_index, seed=self.seed)

    def steps(self, image: Pixels, seeds: Segments | None = None) -> Iterator[Iterate]:
        if seeds is None:
            raise ConfigError(
                f"{type(self).__name__} needs seeds; give scribbles=FILE, a label image whose value 255 is unmarked, or split=..., whose "
                "truth they are drawn from."
            )
        if seeds.shape != image.shape[:2]:
            raise ConfigError(
                f"seeds of {seeds.shape[0]} x {seeds.shape[1]} pixels don't fit an image of {image.shape[0]} x {image.shape[1]}; give "
                "scribbles of the image's size."
            )
        labels = np.unique(seeds[seeds != UNMARKED])
        if len(labels) < 2:
            found = f"of the label {labels[0]} alone" if len(labels) else "none"
            raise ConfigError(f"the seeds are {found}; mark pixels of two labels at least.")
        small = self.reduced(image)
        yield from self.from_seeds(small, _reduced(seeds, small.shape[:2]))

    def segment(self, image: Pixels) -> Segments:
        return self(image)

    @abc.abstractmethod
    def from_seeds(self, image: Pixels, seeds: Segments) -> Iterator[Iterate]:
        """What the method comes to step by step on an image that is small enough, from seeds of two or more labels."""


def drawn(truth: NDArray[Any], count: int, radius: int, *, ignore_index: int, seed: int) -> Segments:
    """Seeds (H, W): of each class of a truth at most `count` disks, whose middles lie as far inside as the radius if any do."""
    rng = np.random.default_rng(seed)
    seeds = np.full(truth.shape, UNMARKED, np.int32)
    for label in np.unique(truth[truth != ignore_index]):
        inside = np.pad(truth == label, 1).astype(np.uint8)
        depth = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
        middles = np.argwhere(depth >= min(radius + 1, depth.max()))
        for row, column in middles[rng.choice(len(middles), min(count, len(middles)), replace=False)]:
            top, left = max(0, row - radius), max(0, column - radius)
            square = np.s_[top : row + radius + 1, left : column + radius + 1]
            rows, columns = np.indices(seeds[square].shape)
            disk = (rows + top - row) ** 2 + (columns + left - column) ** 2 <= radius**2
            seeds[square][disk & (truth[square] == label)] = label
    return seeds


def _reduced(seeds: Segments, size: tuple[int, ...]) -> Segments:
    """Seeds at (h, w), where each pixel is marked by the last seed that falls onto it, so that none is lost."""
    if seeds.shape == size:
        return seeds
    small = np.full(size, UNMARKED, np.int32)
    rows, columns = np.nonzero(seeds != UNMARKED)
    small[rows * size[0] // seeds.shape[0], columns * size[1] // seeds.shape[1]] = seeds[rows, columns]
    return small
