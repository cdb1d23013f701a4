"""Weighted graphs: what joins the parts of an image, Laplacians, eigenvectors. Matrices are dense or SciPy's sparse ones.

von Luxburg: A Tutorial on Spectral Clustering. Statistics and Computing 2007, https://arxiv.org/abs/0711.0189.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.linalg import eigsh
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from atrous.classical.features import FeatureMap
from atrous.classical.method import Pixels, Segments, enlarged, library
from atrous.errors import ConfigError

Floats = NDArray[np.float64]
Matrix = Any  # (n, n), a NumPy array or a SciPy CSR array
Laplacian = Literal["unnormalised", "symmetric", "random_walk"]
MOST_JOINED = 4000  # nodes of which every pair is joined; 128 MB a matrix
_SHIFT = -1e-4  # below the smallest eigenvalue, 0
_COMPACTNESS = 10.0  # of the superpixels


class Nodes(NamedTuple):
    """What a graph joins: pixels or superpixels."""

    features: Floats  # (n, D), a superpixel's mean
    places: Floats  # (n, 2), row and column in pixels, a superpixel's mean
    owner: Segments  # (H, W): each pixel's node


def nodes_of(image: Pixels, features: FeatureMap, superpixels: int) -> Nodes:
    """About `superpixels` SLIC superpixels of an image as nodes; 0: its pixels."""
    height, width = image.shape[:2]
    if superpixels:
        slic = library("skimage.segmentation").slic
        owner = slic(image, n_segments=superpixels, compactness=_COMPACTNESS, start_label=0).astype(np.int32)
    else:
        owner = np.arange(height * width, dtype=np.int32).reshape(height, width)
    columns = [
        *enlarged(features(image), (height, width)).reshape(height * width, -1).T,
        *np.indices((height, width)).reshape(2, -1),
    ]
    sizes = np.bincount(owner.ravel())
    means = np.stack([np.bincount(owner.ravel(), weights=column) / sizes for column in columns], axis=1)
    return Nodes(means[:, :-2], means[:, -2:], owner)


def affinity(nodes: Nodes, *, gamma: float, squared: bool, radius: float | None) -> Matrix:
    """A (n, n) = exp(-gamma d), where d is the distance of two nodes' features, or its square; A_ii = 0.

    Args:
        nodes: n of them.
        gamma: More tells apart smaller differences.
        squared: Take the distance's square.
        radius: Join nodes whose places are nearer than so many pixels, by a sparse matrix; None: every pair.

    Raises:
        ConfigError: If every pair of too many nodes is to be joined.
    """
    count = len(nodes.features)
    if radius is None:
        if count > MOST_JOINED:
            raise ConfigError(
                f"method.radius=null joins every pair of {count} nodes, and {MOST_JOINED} are possible; set method.superpixels=400, "
                "method.radius=5, or a smaller method.side."
            )
        joined: Floats = np.exp(
            -gamma * cdist(nodes.features, nodes.features, "sqeuclidean" if squared else "euclidean")
        )
        np.fill_diagonal(joined, 0)
        return joined
    i, j = cKDTree(nodes.places).query_pairs(radius, output_type="ndarray").T
    distances = ((nodes.features[i] - nodes.features[j]) ** 2).sum(1)
    weights = np.exp(-gamma * (distances if squared else np.sqrt(distances)))
    both = (np.concatenate([i, j]), np.concatenate([j, i]))
    return sparse.csr_array((np.concatenate([weights, weights]), both), shape=(count, count))


def laplacian(joined: Matrix, kind: Laplacian) -> Matrix:
    """The Laplacian of an affinity matrix A with degrees D.

    unnormalised: L = D - A. symmetric: L_sym = I - D^-1/2 A D^-1/2. random_walk: L_rw = I - D^-1 A. A node that nothing is
    joined to has a row of zeros. (Some lectures name the last two the other way round; these are von Luxburg's names.)
    """
    degrees = _degrees(joined)
    if kind == "unnormalised":
        return _diagonal(degrees, joined) - joined
    alive = (degrees > 0).astype(np.float64)
    if kind == "symmetric":
        return _diagonal(alive, joined) - _scaled(joined, _inverse(degrees, 0.5), _inverse(degrees, 0.5))
    return _diagonal(alive, joined) - _scaled(joined, _inverse(degrees, 1.0), np.ones(len(degrees)))


def smallest_eigenvectors(joined: Matrix, kind: Laplacian, count: int) -> tuple[Floats, Floats]:
    """The `count` smallest eigenvalues of a Laplacian, from 0 on, and its eigenvectors, (count,) and (n, count).

    Those of L_rw are D^-1/2 times those of L_sym, of length 1 again. The sign of a vector is such that its largest value is
    positive.
    """
    symmetric = laplacian(joined, "unnormalised" if kind == "unnormalised" else "symmetric")
    size = joined.shape[0]
    if not sparse.issparse(joined):
        values, vectors = linalg.eigh(symmetric, subset_by_index=[0, count - 1])
    elif count >= size - 1:
        values, vectors = linalg.eigh(symmetric.toarray(), subset_by_index=[0, count - 1])
    else:
        start = np.random.default_rng(0).normal(size=size)
        values, vectors = eigsh(symmetric.tocsc(), count, sigma=_SHIFT, which="LM", v0=start)
        order = np.argsort(values)
        values, vectors = values[order], vectors[:, order]
    if kind == "random_walk":
        vectors = vectors * _inverse(_degrees(joined), 0.5)[:, None]
        vectors = vectors / np.linalg.norm(vectors, axis=0)
    signs = np.sign(vectors[np.abs(vectors).argmax(0), np.arange(count)])
    return np.maximum(values, 0), vectors * signs


def _degrees(joined: Matrix) -> Floats:
    degrees: Floats = np.asarray(joined.sum(1)).ravel()
    return degrees


def _inverse(degrees: Floats, power: float) -> Floats:
    """degrees ^ -power, 1 for a node that nothing is joined to."""
    inverse: Floats = np.where(degrees > 0, degrees, 1.0) ** -power
    return inverse


def _diagonal(values: Floats, like: Matrix) -> Matrix:
    return sparse.diags_array(values).tocsr() if sparse.issparse(like) else np.diag(values)


def _scaled(joined: Matrix, left: Floats, right: Floats) -> Matrix:
    if sparse.issparse(joined):
        return (sparse.diags_array(left) @ joined @ sparse.diags_array(right)).tocsr()
    return left[:, None] * joined * right
