"""Shi, Malik: Normalized Cuts and Image Segmentation. TPAMI 2000. https://doi.org/10.1109/34.868688

Deviations: all n - 1 places to divide the second eigenvector are tried, not a few; the part whose cut is cheapest is cut
first, so that `segments` may bound their number; superpixels can be the nodes; parts of a graph that hangs together nowhere
are told apart before any eigenvector; the test of the eigenvector's histogram is left out, which means little for a few
hundred superpixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from atrous.classical.features import FeatureMap
from atrous.classical.graph import Matrix, affinity, nodes_of, smallest_eigenvectors
from atrous.classical.method import Iterate, Method, Pixels, Segments


@dataclass(kw_only=True)
class NormalizedCuts(Method):
    """Cuts the graph of an image in two, then its parts, where Ncut = cut / assoc(A) + cut / assoc(B) is least.

    Args:
        side: See `Method`.
        segments: At most so many.
        max_cut: No part is cut whose Ncut is larger; 0 to 2.
        superpixels: About so many SLIC superpixels are the nodes; 0: the pixels.
        radius: Join nodes nearer than so many pixels; None: every pair.
        gamma: Of the weights exp(-gamma d), d the squared distance of features.
        features: (H, W, 3) -> (H, W, D), whose distances count.
    """

    most_pixels: ClassVar[int] = 2**22

    segments: int
    max_cut: float
    superpixels: int
    radius: float | None
    gamma: float
    features: FeatureMap

    def segment(self, image: Pixels) -> Segments:
        *_, last = self.iterates(image)
        return last.segments

    def iterates(self, image: Pixels) -> Iterator[Iterate]:
        """The segments after each cut."""
        nodes = nodes_of(image, self.features, self.superpixels)
        joined = affinity(nodes, gamma=self.gamma, squared=True, radius=self.radius)
        for number, (labels, ncut) in enumerate(cuts(joined, self.segments, self.max_cut)):
            title = f"cut {number}, Ncut {ncut:.3g}" if number else "whole"
            yield Iterate(title, labels[nodes.owner].astype(np.int32))


def cuts(joined: Matrix, most: int, max_cut: float) -> Iterator[tuple[NDArray[np.intp], float]]:
    """The parts of a graph (n, n) after 0, 1, ... cuts, (n,), and the Ncut of the last one.

    Args:
        joined: Symmetric weights.
        most: Parts at most.
        max_cut: The largest Ncut that is made.
    """
    labels = np.zeros(joined.shape[0], np.intp)
    yield labels.copy(), 0.0
    waiting = {0: _cut_of(joined, labels, 0)}  # each part's best cut
    for new in range(1, most):
        part = min(waiting, key=lambda part: waiting[part][0])
        ncut, beyond = waiting[part]
        if ncut > max_cut:
            return
        labels[beyond] = new
        yield labels.copy(), ncut
        waiting |= {number: _cut_of(joined, labels, number) for number in (part, new)}


def _cut_of(joined: Matrix, labels: NDArray[np.intp], part: int) -> tuple[float, NDArray[np.intp]]:
    """The best cut's Ncut within a part, infinite where there is none, and the nodes beyond it."""
    members = np.flatnonzero(labels == part)
    if len(members) < 2:
        return np.inf, members
    ncut, beyond = best_cut(joined[members][:, members])
    return ncut, members[beyond]


def best_cut(joined: Matrix) -> tuple[float, NDArray[np.bool_]]:
    """Divides a graph of two or more nodes by its second eigenvector where Ncut is least.

    Returns:
        Ncut and the nodes (n,) on one side.
    """
    count, component = connected_components(joined > 0, directed=False)
    if count > 1:
        return 0.0, component == component[-1]
    vector = smallest_eigenvectors(joined, "random_walk", 2)[1][:, 1]
    place = np.empty(len(vector), np.intp)
    place[np.argsort(vector, kind="stable")] = np.arange(len(vector))
    edges = sparse.coo_array(joined)
    last = np.maximum(place[edges.row], place[edges.col])
    size = len(vector)
    within = np.bincount(last, weights=edges.data, minlength=size).cumsum()  # of the first 1, 2, ... nodes
    degrees = np.bincount(place[edges.row], weights=edges.data, minlength=size).cumsum()
    beyond = degrees[-1] - degrees
    with np.errstate(divide="ignore", invalid="ignore"):
        cut = degrees - within
        ncuts = (cut / degrees + cut / beyond)[:-1]
    ncuts[~np.isfinite(ncuts)] = np.inf
    best = int(ncuts.argmin())
    return float(ncuts[best]), place > best
