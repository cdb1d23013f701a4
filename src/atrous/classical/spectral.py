"""Spectral clustering: k-means on the eigenvectors of a graph's Laplacian.

von Luxburg: A Tutorial on Spectral Clustering, 2007, https://arxiv.org/abs/0711.0189; with L_sym and rows of length 1: Ng,
Jordan, Weiss, NIPS 2001; with L_rw: Shi, Malik, TPAMI 2000.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from atrous.classical.features import FeatureMap
from atrous.classical.graph import Floats, Laplacian, Matrix, affinity, nodes_of, smallest_eigenvectors
from atrous.classical.kmeans import clustered
from atrous.classical.method import Iterate, Method, Pixels, Segments
from atrous.errors import ConfigError

_RESTARTS, _ITERATIONS = 10, 100  # of k-means


@dataclass(kw_only=True)
class Spectral(Method):
    """Joins the pixels or superpixels of an image by their likeness and clusters the graph's eigenvectors.

    Args:
        side: See `Method`.
        clusters: How many.
        superpixels: About so many SLIC superpixels are the nodes; 0: the pixels.
        radius: Join nodes nearer than so many pixels; None: every pair.
        gamma: Of A = exp(-gamma d).
        squared: d is the distance's square.
        laplacian: unnormalised, symmetric or random_walk; see `graph.laplacian`.
        seed: Of k-means.
        features: (H, W, 3) -> (H, W, D), whose distances count.
    """

    most_pixels: ClassVar[int] = 2**22

    clusters: int
    superpixels: int
    radius: float | None
    gamma: float
    squared: bool
    laplacian: Laplacian
    seed: int
    features: FeatureMap

    def segment(self, image: Pixels) -> Segments:
        *_, last = self.iterates(image)
        return last.segments

    def iterates(self, image: Pixels) -> Iterator[Iterate]:
        """The eigenvectors by rising eigenvalue, then the clusters."""
        nodes = nodes_of(image, self.features, self.superpixels)
        if self.clusters > len(nodes.features):
            raise ConfigError(
                f"method.clusters={self.clusters} is more than the {len(nodes.features)} nodes there are; set fewer, or more "
                "method.superpixels."
            )
        joined = affinity(nodes, gamma=self.gamma, squared=self.squared, radius=self.radius)
        values, vectors = smallest_eigenvectors(joined, self.laplacian, self.clusters)
        labels = clustered_rows(vectors, self.laplacian, self.clusters, self.seed)[nodes.owner].astype(np.int32)
        for number, (value, vector) in enumerate(zip(values, vectors.T, strict=True), 1):
            yield Iterate(f"eigenvector {number}, value {value:.3g}", labels, picture=vector[nodes.owner])
        yield Iterate("clusters", labels)


def spectral_clusters(joined: Matrix, kind: Laplacian, clusters: int, *, seed: int = 0) -> NDArray[np.intp]:
    """The cluster of each node of an affinity matrix (n, n), (n,)."""
    return clustered_rows(smallest_eigenvectors(joined, kind, clusters)[1], kind, clusters, seed)


def clustered_rows(vectors: Floats, kind: Laplacian, clusters: int, seed: int) -> NDArray[np.intp]:
    """k-means on the rows of eigenvectors (n, k), which for L_sym have length 1."""
    if kind == "symmetric":
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    steps = clustered(vectors, clusters, init="kmeans++", restarts=_RESTARTS, iterations=_ITERATIONS, seed=seed)
    return steps[-1].labels
