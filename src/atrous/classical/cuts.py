"""Energies of labels on a grid, and graph cuts that make them small.

E(x) = sum over pixels of unary[i, x_i] + sum over neighbours of weight_ij [x_i != x_j] (Potts). Two labels: the exact minimum by
one cut (Greig, Porteous, Seheult, 1989; Boykov, Jolly, ICCV 2001). More: alpha-expansion (Boykov, Veksler, Zabih, TPAMI 2001,
https://doi.org/10.1109/34.969114), whose end is no more than twice the minimum, built as Kolmogorov and Zabih have it (TPAMI
2004, https://doi.org/10.1109/TPAMI.2004.1262177). The maximum flow is SciPy's (Dinic), which counts in whole numbers: energies
are rounded to 1 part in 2^31 of their sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
_LARGEST = 2**30  # a capacity and the whole flow fit into 32 bits


class Edges(NamedTuple):
    """Pairs of neighbours.

    Args:
        i: (m,), indices of pixels, row by row.
        j: (m,).
        weights: (m,), what it costs that they have different labels, from 0 on.
    """

    i: Indices
    j: Indices
    weights: Floats


def grid(colours: NDArray[Any], *, neighbours: int, weight: float) -> Edges:
    """A grid's edges, which cost less where colours (H, W, C) change: weight exp(-|c_i - c_j|^2 / (2 s)) / distance.

    s is the mean of |c_i - c_j|^2 over the edges, as in Rother, Kolmogorov, Blake: GrabCut. 2004.

    Args:
        colours: (H, W, C).
        neighbours: 4 or 8.
        weight: Of an edge of length 1 between equal colours.
    """
    number = np.arange(colours.shape[0] * colours.shape[1]).reshape(colours.shape[:2])
    flat = colours.reshape(number.size, -1).astype(np.float64)
    slices: list[tuple[Any, Any, float]] = [(np.s_[:, :-1], np.s_[:, 1:], 1.0), (np.s_[:-1], np.s_[1:], 1.0)]
    if neighbours == 8:
        slices += [(np.s_[:-1, :-1], np.s_[1:, 1:], 2**0.5), (np.s_[:-1, 1:], np.s_[1:, :-1], 2**0.5)]
    i = np.concatenate([number[one].ravel() for one, _, _ in slices])
    j = np.concatenate([number[other].ravel() for _, other, _ in slices])
    lengths = np.concatenate([np.full(number[one].size, length) for one, _, length in slices])
    gaps = ((flat[i] - flat[j]) ** 2).sum(1)
    spread = 2 * max(float(gaps.mean()) if len(gaps) else 0.0, 1e-12)
    return Edges(i, j, weight * np.exp(-gaps / spread) / lengths)


def energy(unary: Floats, edges: Edges, labels: Indices) -> float:
    """E of labels (n,)."""
    pairs = edges.weights[labels[edges.i] != labels[edges.j]].sum()
    return float(unary[np.arange(len(labels)), labels].sum() + pairs)


def binary_cut(unary: Floats, edges: Edges) -> Indices:
    """The labels 0 and 1, (n,), of the least energy, of unaries (n, 2)."""
    i, j = np.concatenate([edges.i, edges.j]), np.concatenate([edges.j, edges.i])
    return _cut(unary[:, 0], unary[:, 1], i, j, np.concatenate([edges.weights] * 2)).astype(np.intp)


def alpha_expansion(unary: Floats, edges: Edges, *, cycles: int) -> Iterator[tuple[Indices, float]]:
    """Labels (n,) and their energy: at first the least unaries', then after each cycle over all labels, until none helps.

    Args:
        unary: (n, L).
        edges: Neighbours.
        cycles: At most.

    Pixels that no cut could move are settled before, which changes no result.
    """
    labels = unary.argmin(1)
    yield labels.copy(), energy(unary, edges, labels)
    free = _unsettled(unary, edges)
    if not free.any():
        return
    unary_, edges_ = _among(free, unary, edges, labels)
    for moved in _expanded(unary_, edges_, labels[free], cycles):
        labels[free] = moved
        yield labels.copy(), energy(unary, edges, labels)


def _expanded(unary: Floats, edges: Edges, labels: Indices, cycles: int) -> Iterator[Indices]:
    if unary.shape[1] == 2 and cycles:
        yield binary_cut(unary, edges)
        return
    least = energy(unary, edges, labels)
    for _ in range(cycles):
        before = least
        for alpha in range(unary.shape[1]):
            moved = np.where(_expansion(unary, edges, labels, alpha), alpha, labels)
            if (reached := energy(unary, edges, moved)) < least:
                labels, least = moved, reached
        if least >= before:
            return
        yield labels


def _unsettled(unary: Floats, edges: Edges) -> NDArray[np.bool_]:
    """Pixels whose least unary is not so far below the others that all neighbours together can't pay for another label."""
    ends, weights = np.concatenate([edges.i, edges.j]), np.concatenate([edges.weights] * 2)
    most = np.bincount(ends, weights, len(unary))
    two = (
        np.partition(unary, 1, axis=1)
        if unary.shape[1] > 1
        else np.pad(unary, ((0, 0), (0, 1)), constant_values=np.inf)
    )
    unsettled: NDArray[np.bool_] = two[:, 1] - two[:, 0] <= most
    return unsettled


def _among(free: NDArray[np.bool_], unary: Floats, edges: Edges, labels: Indices) -> tuple[Floats, Edges]:
    """The problem of the free pixels while the others keep their labels."""
    number = np.cumsum(free) - 1
    rest = unary[free]
    for one, other in ((edges.i, edges.j), (edges.j, edges.i)):
        border = free[one] & ~free[other]
        at, weights = number[one[border]], edges.weights[border]
        rest += np.bincount(at, weights, len(rest))[:, None]
        np.add.at(rest, (at, labels[other[border]]), -weights)
    both = free[edges.i] & free[edges.j]
    return rest, Edges(number[edges.i[both]], number[edges.j[both]], edges.weights[both])


def _expansion(unary: Floats, edges: Edges, labels: Indices, alpha: int) -> NDArray[np.bool_]:
    """Which pixels take the label alpha in the best of all moves that let any do so."""
    one, other = labels[edges.i], labels[edges.j]
    both_stay = edges.weights * (one != other)
    second_moves, first_moves = edges.weights * (one != alpha), edges.weights * (other != alpha)
    stay, move = unary[np.arange(len(labels)), labels], unary[:, alpha].copy()
    np.add.at(move, edges.i, first_moves - both_stay)
    np.add.at(move, edges.j, -first_moves)
    return _cut(stay, move, edges.i, edges.j, second_moves + first_moves - both_stay)


def _cut(stay: Floats, move: Floats, i: Indices, j: Indices, weights: Floats) -> NDArray[np.bool_]:
    """Where x is 1 in the x of the least sum of stay (x = 0), move (x = 1) and weights [x_i = 0, x_j = 1], from 0 on."""
    count = len(stay)
    source, sink = count, count + 1
    gap = move - stay  # what it costs to be 1, on the source's side of a pixel; where negative, to be 0, on the sink's
    total = max(float(np.maximum(gap, 0).sum()), float(np.maximum(-gap, 0).sum()), float(weights.max(initial=0)))
    scale = _LARGEST / total if total else 1.0
    pixels = np.arange(count)
    rows = np.concatenate([i, np.where(gap > 0, source, pixels)])
    columns = np.concatenate([j, np.where(gap > 0, pixels, sink)])
    capacities = np.rint(np.concatenate([weights, np.abs(gap)]) * scale)
    # SciPy adds up what is given twice for a pair.
    graph = sparse.csr_array((capacities.astype(np.int32), (rows, columns)), shape=(count + 2,) * 2)
    flow = maximum_flow(graph, source, sink).flow
    left = graph - flow
    left.data[left.data < 0] = 0
    left.eliminate_zeros()
    ones = np.ones(count + 2, bool)
    ones[breadth_first_order(left, source, return_predecessors=False)] = False
    return ones[:count]
