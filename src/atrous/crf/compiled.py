"""The loops of the lattice and of the mean field, compiled by numba for one CPU thread each; `fast` calls them.

Scores lie as (P, blocks, 8): the classes of a pixel side by side, filled up to whole blocks of 8, since 8 float32 are a
vector that a processor works on at once (`vectors`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit  # type: ignore[import-untyped, unused-ignore]
from numpy.typing import NDArray

from atrous.crf.vectors import LANES, add, exp_below, larger, largest, load, store, times, total

F = np.float32
Function = TypeVar("Function", bound=Callable[..., Any])
_HASH = np.int64(-7046029254386353131)  # 2^64 / golden ratio, Knuth, The Art of Computer Programming 3, section 6.4
_FIRST_BITS = 15


def _compiled(function: Function) -> Function:
    """Compiles at the first call. The result is kept beside this file or, where that can't be written, in numba's own
    folder for the user; where there is neither, every process compiles anew."""
    # No "nnan" and "ninf": a score of -inf is an ordinary value.
    options: Any = {
        "nogil": True,
        "fastmath": {"contract", "nsz", "arcp"},
        "error_model": "numpy",
        "boundscheck": False,
    }
    try:
        compiled: Function = njit(cache=True, **options)(function)
    except RuntimeError:  # numba: "cannot cache function: no locator available"
        compiled = njit(**options)(function)
    return compiled


@_compiled
def find_simplices(
    features: NDArray[np.float32],
    scale: NDArray[np.float32],
    strides: NDArray[np.int64],
    keys: NDArray[np.int64],
    weights: NDArray[np.float32],
    start: int,
    stop: int,
) -> None:
    """The d + 1 corners around each pixel: their keys and barycentric weights; see `lattice.simplices`."""
    d = features.shape[1]
    n = d + 1
    place = np.empty(n, np.float32)
    base = np.empty(n, np.float32)
    rank = np.empty(n, np.int32)
    ordered = np.empty(n, np.float32)
    drop = np.zeros(n, np.int64)
    one_step = strides.sum()
    down = F(1.0 / n)
    for p in range(start, stop):
        above = F(0)
        for j in range(d, 0, -1):
            x = features[p, j - 1] * scale[j - 1]
            place[j] = above - F(j) * x
            above += x
        place[0] = above
        surplus = 0
        for i in range(n):
            nearest = np.rint(place[i] * down)
            surplus += int(nearest)
            base[i] = nearest * F(n)
            place[i] -= base[i]
        for i in range(n):
            rank[i] = surplus
        for i in range(d):
            for j in range(i + 1, n):
                if place[i] < place[j]:
                    rank[i] += 1
                else:
                    rank[j] += 1
        key = np.int64(0)
        for i in range(n):
            r = rank[i]
            if r < 0:
                r, base[i], place[i] = r + n, base[i] + n, place[i] - n
            elif r > d:
                r, base[i], place[i] = r - n, base[i] - n, place[i] + n
            ordered[r] = place[i] * down
            drop[r] = 0
            if i < d:
                key += np.int64(base[i]) * strides[i]
                drop[r] = n * strides[i]
        keys[p, 0] = key
        weights[p, 0] = F(1) + ordered[d] - ordered[0]
        for m in range(1, n):
            key += one_step - drop[n - m]
            keys[p, m] = key
            weights[p, m] = ordered[d - m] - ordered[d - m + 1]


@_compiled
def number_vertices(
    keys: NDArray[np.int64], vertices: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64], int]:
    """Numbers the different keys in the order they are met: a hash table with linear probing that grows.

    Returns:
        The table's keys and numbers (-1: empty), each vertex's key, and the table's size in bits.
    """
    P, n = keys.shape
    bits = _FIRST_BITS
    table_keys, table = np.empty(1 << bits, np.int64), np.full(1 << bits, -1, np.int32)
    found = np.empty(1 << (bits - 1), np.int64)
    count = 0
    before, before_vertex = np.zeros(n, np.int64), np.full(n, -1, np.int32)  # neighbours are often of one simplex
    for p in range(P):
        for m in range(n):
            key = keys[p, m]
            if key == before[m] and before_vertex[m] >= 0:
                vertices[p, m] = before_vertex[m]
                continue
            slot = _slot(key, table_keys, table, bits)
            if table[slot] < 0:
                if count == len(found):
                    bits += 2
                    table_keys, table = np.empty(1 << bits, np.int64), np.full(1 << bits, -1, np.int32)
                    more = np.empty(1 << (bits - 1), np.int64)
                    more[:count] = found
                    found = more
                    for v in range(count):
                        again = _slot(found[v], table_keys, table, bits)
                        table_keys[again], table[again] = found[v], v
                    slot = _slot(key, table_keys, table, bits)
                table_keys[slot], table[slot], found[count] = key, count, key
                count += 1
            vertex = table[slot]
            vertices[p, m] = vertex
            before[m], before_vertex[m] = key, vertex
    return table_keys, table, found[:count].copy(), bits


@_compiled
def _slot(key: np.int64, table_keys: NDArray[np.int64], table: NDArray[np.int32], bits: int) -> np.int64:
    """Where the key is in the table, or where it would go."""
    mask = (1 << bits) - 1
    slot = ((key * _HASH) >> (64 - bits)) & mask
    while table[slot] >= 0 and table_keys[slot] != key:
        slot = (slot + 1) & mask
    return slot


@_compiled
def find_neighbours(
    table_keys: NDArray[np.int64],
    table: NDArray[np.int32],
    bits: int,
    found: NDArray[np.int64],
    steps: NDArray[np.int64],
    neighbours: NDArray[np.int32],
    start: int,
    stop: int,
) -> None:
    """Fills (d + 1, M, 2), which holds the number of the row of zeros, with the two neighbours on each axis."""
    for axis in range(len(steps)):
        for v in range(start, stop):
            u = table[_slot(found[v] + steps[axis], table_keys, table, bits)]
            if u >= 0:
                neighbours[axis, v, 0] = u
                neighbours[axis, u, 1] = v


@_compiled
def splat_ones(vertices: NDArray[np.int32], weights: NDArray[np.float32], sums: NDArray[np.float32]) -> None:
    for p in range(vertices.shape[0]):
        for m in range(vertices.shape[1]):
            sums[vertices[p, m]] += weights[p, m]


@_compiled
def normalise(
    vertices: NDArray[np.int32],
    weights: NDArray[np.float32],
    blurred: NDArray[np.float32],
    alpha: float,
    row: int,
    all_vertices: NDArray[np.int32],
    all_weights: NDArray[np.float32],
    column: int,
    start: int,
    stop: int,
) -> None:
    """Writes a kernel's corners, its weights divided by the root of the filtered ones, beside those of other kernels."""
    n = vertices.shape[1]
    for p in range(start, stop):
        norm = F(0)
        for m in range(n):
            norm += weights[p, m] * blurred[vertices[p, m]]
        factor = F(1) / np.sqrt(F(alpha) * norm + F(1e-20))
        for m in range(n):
            all_weights[p, column + m] = weights[p, m] * factor
            all_vertices[p, column + m] = vertices[p, m] + row


@_compiled
def update(
    log_probabilities: NDArray[np.float32],
    messages: NDArray[np.float32],
    vertices: NDArray[np.int32],
    weights: NDArray[np.float32],
    marginals: NDArray[np.float32],
    splatted: NDArray[np.float32],
    receive: bool,
    keep: bool,
    send: bool,
    start: int,
    stop: int,
) -> None:
    """One step of the mean field for some pixels: slice the messages, softmax, splat the new marginals.

    Three steps in one, so that a pixel's scores need not leave the processor's cache.

    Args:
        log_probabilities: (P, B, 8), the unary scores.
        messages: (rows, B, 8), what the lattices' vertices say; read where `receive`.
        vertices, weights: (P, corners).
        marginals: (P, B, 8), written where `keep`.
        splatted: (rows, B, 8), set to the sums of these pixels' marginals where `send`.
        receive, keep, send: Which of the steps to take.
        start, stop: The pixels.
    """
    corners = vertices.shape[1]
    blocks = log_probabilities.shape[1]
    scores = np.empty((1, blocks, LANES), np.float32)
    if send:
        splatted[:] = 0
    for p in range(start, stop):
        for b in range(blocks):
            score = load(log_probabilities, p, b)
            if receive:
                for m in range(corners):
                    score = add(score, weights[p, m], load(messages, vertices[p, m], b))
            store(scores, 0, b, score)
        best = load(scores, 0, 0)
        for b in range(1, blocks):
            best = larger(best, load(scores, 0, b))
        highest = largest(best)
        mass = F(0)
        for b in range(blocks):
            exponential = exp_below(load(scores, 0, b), highest)
            mass += total(exponential)
            store(scores, 0, b, exponential)
        share = F(1) / mass
        if keep:
            for b in range(blocks):
                store(marginals, p, b, times(share, load(scores, 0, b)))
        if send:
            for b in range(blocks):
                score = load(scores, 0, b)
                for m in range(corners):
                    v = vertices[p, m]
                    store(splatted, v, b, add(load(splatted, v, b), share * weights[p, m], score))


@_compiled
def add_up(parts: NDArray[np.float32], start: int, stop: int) -> None:
    """Adds the sums of other threads to the first: parts (T, rows, B, 8)."""
    for t in range(1, parts.shape[0]):
        for v in range(start, stop):
            for b in range(parts.shape[2]):
                store(parts[0], v, b, add(load(parts[0], v, b), F(1), load(parts[t], v, b)))


@_compiled
def blur(
    values: NDArray[np.float32], neighbours: NDArray[np.int32], blurred: NDArray[np.float32], start: int, stop: int
) -> None:
    """One axis: half of each neighbour is added. (M + 1, B, 8), the last row zeros."""
    for v in range(start, stop):
        left, right = neighbours[v, 0], neighbours[v, 1]
        for b in range(values.shape[1]):
            both = add(load(values, left, b), F(1), load(values, right, b))
            store(blurred, v, b, add(load(values, v, b), F(0.5), both))


@_compiled
def scale(values: NDArray[np.float32], factor: float, scaled: NDArray[np.float32], start: int, stop: int) -> None:
    for v in range(start, stop):
        for b in range(values.shape[1]):
            store(scaled, v, b, times(factor, load(values, v, b)))


@_compiled
def pack(scores: NDArray[np.float32], packed: NDArray[np.float32], start: int, stop: int) -> None:
    """(C, P) -> (P, B, 8)."""
    for p in range(start, stop):
        for c in range(scores.shape[0]):
            packed[p, c // LANES, c % LANES] = scores[c, p]


@_compiled
def unpack(packed: NDArray[np.float32], scores: NDArray[np.float32], start: int, stop: int) -> None:
    """(P, B, 8) -> (C, P)."""
    for p in range(start, stop):
        for c in range(scores.shape[0]):
            scores[c, p] = packed[p, c // LANES, c % LANES]
