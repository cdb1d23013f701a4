"""Comaniciu, Meer: Mean Shift: A Robust Approach Toward Feature Space Analysis. TPAMI 2002. https://doi.org/10.1109/34.1000236

Each pixel climbs, in place and colour at once, to the mean of the pixels within both bandwidths (the uniform kernel of the
paper's experiments) until it stands still: a mode. Neighbours whose modes are within both bandwidths are one segment, as in
section 4.2, and regions below `min_size` pixels are joined to the neighbour of the nearest mean colour. Colours are CIELAB,
whose differences the paper asks to be even. The loops are compiled by numba.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from atrous.classical.features import lab
from atrous.classical.method import Iterate, Method, Pixels, Segments, library

_STILL = 0.01  # of a bandwidth: a pixel that moves less has arrived


@dataclass(kw_only=True)
class MeanShift(Method):
    """Pixels that climb to one mode are one segment.

    Args:
        side: See `Method`.
        spatial_bandwidth: h_s, in pixels.
        range_bandwidth: h_r, in units of CIELAB, whose lightness is 0 to 100.
        min_size: Pixels of the smallest segment.
        iterations: At most, of each pixel.
    """

    most_pixels: ClassVar[int] = 2**22

    spatial_bandwidth: float
    range_bandwidth: float
    min_size: int
    iterations: int

    def segment(self, image: Pixels) -> Segments:
        colours = 100 * lab(image)
        return self._grouped(colours, self._modes(colours, self.iterations))

    def iterates(self, image: Pixels) -> Iterator[Iterate]:
        """The colours that the pixels have come to after 1, 2, 4, ... iterations, then the segments."""
        colours = 100 * lab(image)
        counts = sorted({*(2**power for power in range(20) if 2**power < self.iterations), self.iterations})
        for count in counts:
            modes = self._modes(colours, count)
            filtered = cv2.cvtColor(np.ascontiguousarray(modes[..., 2:]), cv2.COLOR_LAB2RGB)
            segments = self._grouped(colours, modes)
            picture = np.clip(255 * filtered, 0, 255).astype(np.uint8)
            yield Iterate(f"iteration {count}", segments, picture=picture)
        yield Iterate("segments", segments)

    def _modes(self, colours: NDArray[np.float32], iterations: int) -> NDArray[np.float32]:
        library("numba")
        from atrous.classical.compiled import climbed

        return climbed(
            colours,
            np.float32(self.spatial_bandwidth),
            np.float32(self.range_bandwidth),
            iterations,
            np.float32(_STILL),
        )

    def _grouped(self, colours: NDArray[np.float32], modes: NDArray[np.float32]) -> Segments:
        bandwidths = np.array([self.spatial_bandwidth] * 2 + [self.range_bandwidth] * 3, np.float32)
        return without_small(joined_neighbours(modes / bandwidths), colours, self.min_size)


def joined_neighbours(modes: NDArray[np.float32]) -> Segments:
    """Connected parts of pixels whose neighbours' modes (h, w, 2 + C) are nearer than 1 in place and in colour."""
    height, width = modes.shape[:2]
    number = np.arange(height * width).reshape(height, width)
    pairs = []
    for one, other in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        gap = (modes[one] - modes[other]) ** 2
        alike = (gap[..., :2].sum(-1) < 1) & (gap[..., 2:].sum(-1) < 1)
        pairs.append(np.stack([number[one][alike], number[other][alike]]))
    rows, columns = np.concatenate(pairs, axis=1)
    graph = sparse.coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(number.size,) * 2)
    parts: Segments = connected_components(graph, directed=False)[1].reshape(height, width).astype(np.int32)
    return parts


def without_small(segments: Segments, colours: NDArray[np.float32], min_size: int) -> Segments:
    """Joins each segment below `min_size` pixels, the smallest first, to the neighbour whose mean colour is nearest."""
    count = int(segments.max()) + 1
    flat = segments.ravel()
    sizes = np.bincount(flat, minlength=count).astype(np.float64)
    sums = np.stack([np.bincount(flat, weights=c, minlength=count) for c in colours.reshape(len(flat), -1).T], axis=1)
    neighbours = _neighbours(segments)
    owner = np.arange(count)
    for segment in np.argsort(sizes, kind="stable"):
        if sizes[segment] >= min_size or not neighbours[segment]:
            continue
        others = np.array(sorted(neighbours[segment]))
        gaps = ((sums[others] / sizes[others, None] - sums[segment] / sizes[segment]) ** 2).sum(1)
        near = int(others[gaps.argmin()])
        owner[segment] = near
        sizes[near] += sizes[segment]
        sums[near] += sums[segment]
        for other in neighbours[segment]:
            neighbours[other].discard(int(segment))
            if other != near:
                neighbours[other].add(near)
                neighbours[near].add(other)
    while not np.array_equal(owner, owner[owner]):
        owner = owner[owner]
    merged: Segments = owner[segments].astype(np.int32)
    return merged


def _neighbours(segments: Segments) -> list[set[Any]]:
    found: list[set[Any]] = [set() for _ in range(int(segments.max()) + 1)]
    for one, other in ((segments[:, :-1], segments[:, 1:]), (segments[:-1], segments[1:])):
        pairs = np.unique(np.stack([one[one != other], other[one != other]]), axis=1)
        for a, b in pairs.T.tolist():
            found[a].add(b)
            found[b].add(a)
    return found
