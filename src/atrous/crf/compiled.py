"""Mean-field inference on a CPU: what `mean_field` computes, by loops that numba compiles. Imports numba.

The lattices of all kernels share one array of vertices, so that a pixel's update is one pass over its corners. Each thread
takes an equal share of the pixels and sums into its own copy of the vertices.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numba import njit  # type: ignore[import-untyped, unused-ignore]
from numpy.typing import NDArray
from torch import Tensor

from atrous.crf.lattice import geometry
from atrous.crf.mean_field import Kernel

F, I = np.float32, np.int32  # noqa: E741
Floats = NDArray[np.float32]
Indices = NDArray[np.uint32]  # unsigned: numba then need not look for indices that count from the end
_HASH = np.int64(-7046029254386353131)  # 2^64 / golden ratio, Knuth, The Art of Computer Programming 3, section 6.4
_FIRST_VERTICES = 1 << 14
_TILE = 64  # pixels whose scores stay in the processor's cache from slice to splat
_LEAST = 8192  # pixels that are worth a thread
_COPIES = 4  # the threads' copies of the vertices may take this many times the marginals' memory


def mean_field(
    log_probabilities: Tensor, kernels: Sequence[Kernel], iterations: int, *, every: bool = True
) -> Iterator[Tensor]:
    """As `mean_field.mean_field`, of one image on the CPU.

    Args:
        log_probabilities: float32 (C, P).
        kernels: Their features are (P, d).
        iterations: How many updates.
        every: Yield the marginals after each of them, not the last alone.

    Yields:
        float32 (C, P).
    """
    classes, points = log_probabilities.shape
    width = classes if classes < 4 else -(-classes // 8) * 8  # LLVM's vectors hold 8; what is left over is slow
    unary = torch.full((points, width), -torch.inf)
    unary[:, :classes] = log_probabilities.T
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        lattices = _Lattices(kernels, points, pool)
        marginals = torch.empty(points, width)
        parts = max(1, min(torch.get_num_threads(), points // _LEAST, _COPIES * points // max(1, lattices.rows)))
        sums = torch.empty(parts, lattices.rows, width).numpy()
        messages = torch.zeros(lattices.rows, width).numpy()
        borders = [points * part // parts for part in range(parts + 1)]
        for iteration in range(iterations + 1):
            receive, keep, send = iteration > 0, every or iteration == iterations, iteration < iterations
            step = unary.numpy(), messages, lattices.vertices, lattices.weights, marginals.numpy(), receive, keep, send
            list(pool.map(lambda part, ends, step=step: update(*step, part, *ends), sums, itertools.pairwise(borders)))
            if keep:
                yield marginals[:, :classes].T.contiguous()
            if send:
                for part in sums[1:]:
                    sums[0] += part
                lattices.blur(sums[0], messages, classes)


class _Lattices:
    """The lattices of all kernels: each pixel's corners side by side, the vertices one below the other."""

    def __init__(self, kernels: Sequence[Kernel], points: int, pool: ThreadPoolExecutor) -> None:
        self.pool = pool
        ends = list(itertools.accumulate((kernel.features.shape[1] + 1 for kernel in kernels), initial=0))
        self.vertices = np.empty((points, ends[-1]), np.uint32)
        self.weights = np.empty((points, ends[-1]), np.float32)
        columns = [slice(*pair) for pair in itertools.pairwise(ends)]
        self.neighbours = list(pool.map(self._build, kernels, columns))
        self.couplings = [kernel.coupling for kernel in kernels]
        self.rows, self.parts = 0, []
        for neighbours, part in zip(self.neighbours, columns, strict=True):
            self.vertices[:, part] += self.rows
            self.parts.append(slice(self.rows, self.rows + neighbours.shape[1] + 1))
            self.rows = self.parts[-1].stop

    def _build(self, kernel: Kernel, part: slice) -> Any:
        shape = geometry(kernel.features.amin(0).tolist(), kernel.features.amax(0).tolist())
        scale, strides, steps = np.array(shape.scale, F), np.array(shape.strides), np.array(shape.steps)
        factor = kernel.coupling if isinstance(kernel.coupling, float) else 1.0
        corners = self.vertices[:, part], self.weights[:, part]
        return build(kernel.features.numpy(), scale, strides, steps, factor, *corners)

    def blur(self, sums: Floats, messages: Floats, classes: int) -> None:
        """From what was splatted, (rows, width), to what the vertices say; overwrites both."""

        def one(part: slice, neighbours: Indices, coupling: float | Tensor) -> None:
            blur(sums[part], neighbours, messages[part])
            if not isinstance(coupling, float):
                messages[part, :classes] = messages[part, :classes] @ coupling.T.numpy()

        list(self.pool.map(one, self.parts, self.neighbours, self.couplings))


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles at the first call. The result is kept beside this file or, where that can't be written, in numba's own
    folder for the user; where there is neither, every process compiles anew."""
    # No "nnan" and "ninf": a score of -inf is an ordinary value.
    compiler: Any = functools.partial(
        njit, nogil=True, fastmath={"contract", "nsz", "arcp", "reassoc"}, error_model="numpy"
    )
    try:
        return compiler(cache=True)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # numba: "cannot cache function: no locator available"
        return compiler()(function)  # type: ignore[no-any-return]


@_compiled
def build(
    features: Floats,
    scale: Floats,
    strides: NDArray[np.int64],
    steps: NDArray[np.int64],
    factor: float,
    vertices: Indices,
    weights: Floats,
) -> Indices:
    """Builds one kernel's lattice; see `lattice.simplices` for the corners.

    Args:
        features: (P, d).
        scale, strides, steps: The geometry.
        factor: What the filter's result is multiplied by.
        vertices, weights: (P, d + 1), filled with each pixel's corners. The weights are divided by the root of the filtered
            ones, and hold the root of `factor`.

    Returns:
        The vertices' two neighbours on each axis, (d + 1, M, 2); M, a row of zeros, where there is none.
    """
    P, n = vertices.shape
    place, base, ordered = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.float32)
    rank, drop = np.empty(n, np.int32), np.zeros(n, np.int64)
    before, before_vertex = np.zeros(n, np.int64), np.full(n, -1, np.int32)  # neighbours are often of one simplex
    found, table, count = np.empty(_FIRST_VERTICES, np.int64), np.full(2 * _FIRST_VERTICES, -1, np.int32), 0
    for p in range(P):
        above = F(0)
        for j in range(n - 1, 0, -1):
            x = features[p, j - 1] * scale[j - 1]
            place[j] = above - F(j) * x
            above += x
        place[0] = above
        surplus = 0
        for i in range(n):
            nearest = np.rint(place[i] * F(1.0 / n))
            surplus += int(nearest)
            base[i] = nearest * F(n)
            place[i] -= base[i]
        for i in range(n):
            rank[i] = surplus
        for i in range(n):
            for j in range(i + 1, n):
                if place[i] < place[j]:
                    rank[i] += 1
                else:
                    rank[j] += 1
        key = np.int64(0)
        for i in range(n):
            back = n if rank[i] < 0 else -n if rank[i] >= n else 0
            r = rank[i] + back
            ordered[r] = (place[i] - back) * F(1.0 / n)
            drop[r] = 0
            if i < n - 1:
                key += np.int64(base[i] + back) * strides[i]
                drop[r] = n * strides[i]
        for m in range(n):
            if m == 0:
                weights[p, 0] = F(1) + ordered[n - 1] - ordered[0]
            else:
                weights[p, m] = ordered[n - 1 - m] - ordered[n - m]
                key += strides.sum() - drop[n - m]
            if key != before[m] or before_vertex[m] < 0:
                if count == len(found):
                    found = np.concatenate((found, np.empty(3 * count, np.int64)))
                    table = np.full(8 * count, -1, np.int32)
                    for v in range(count):
                        table[_slot(found[v], found, table)] = v
                slot = _slot(key, found, table)
                if table[slot] < 0:
                    table[slot], found[count] = count, key
                    count += 1
                before[m], before_vertex[m] = key, table[slot]
            vertices[p, m] = before_vertex[m]
    neighbours = np.full((n, count, 2), count, np.uint32)
    for axis in range(n):
        for v in range(count):
            u = table[_slot(found[v] + steps[axis], found, table)]
            if u >= 0:
                neighbours[axis, v, 0] = u
                neighbours[axis, u, 1] = v
    ones, blurred = np.zeros((count + 1, 1), np.float32), np.empty((count + 1, 1), np.float32)
    for p in range(P):
        for m in range(n):
            ones[vertices[p, m], 0] += weights[p, m]
    blur(ones, neighbours, blurred)
    for p in range(P):
        norm = F(1e-20)
        for m in range(n):
            norm += weights[p, m] * blurred[vertices[p, m], 0]
        for m in range(n):
            weights[p, m] *= np.sqrt(F(factor) / norm)
    return neighbours


@_compiled
def _slot(key: np.int64, found: NDArray[np.int64], table: NDArray[np.int32]) -> np.int64:
    """Where the number of the vertex of this key is in the hash table, or where it would go."""
    mask = len(table) - 1
    slot = ((key * _HASH) >> 32) & mask
    while table[slot] >= 0 and found[table[slot]] != key:
        slot = (slot + 1) & mask
    return slot


@_compiled
def blur(values: Floats, neighbours: Indices, blurred: Floats) -> None:
    """Adds half of each neighbour along every axis, (M + 1, width) -> (M + 1, width); overwrites `values` too."""
    here, there = values, blurred
    here[-1] = there[-1] = 0
    for axis in range(len(neighbours)):
        for v in range(neighbours.shape[1]):
            left, right = neighbours[axis, v, 0], neighbours[axis, v, 1]
            for c in range(values.shape[1]):
                there[v, c] = here[v, c] + F(0.5) * (here[left, c] + here[right, c])
        here, there = there, here
    if len(neighbours) % 2 == 0:
        blurred[:] = values


@_compiled
def update(
    log_probabilities: Floats,
    messages: Floats,
    vertices: Indices,
    weights: Floats,
    marginals: Floats,
    receive: bool,
    keep: bool,
    send: bool,
    sums: Floats,
    start: int,
    stop: int,
) -> None:
    """One step of the mean field for some pixels: slice the messages, softmax, splat the new marginals.

    Args:
        log_probabilities: (P, width), the unary scores.
        messages: (rows, width), what the lattices' vertices say; read where `receive`.
        vertices, weights: (P, corners).
        marginals: (P, width), written where `keep`.
        receive, keep, send: Which of the steps to take.
        sums: (rows, width), set to the sums of these pixels' marginals where `send`.
        start, stop: The pixels.
    """
    width, corners = log_probabilities.shape[1], vertices.shape[1]
    tile = np.empty((_TILE, width), np.float32)
    flat = tile.reshape(-1)
    if send:
        sums[:] = 0
    for first in range(start, stop, _TILE):
        pixels = min(_TILE, stop - first)
        for i in range(pixels):
            p = np.uint64(first + i)
            for c in range(width):
                tile[i, c] = log_probabilities[p, c]
            if receive:
                for m in range(corners):
                    weight, v = weights[p, m], vertices[p, m]
                    for c in range(width):
                        tile[i, c] += weight * messages[v, c]
            highest = tile[i, 0]
            for c in range(1, width):
                highest = max(highest, tile[i, c])
            for c in range(width):
                tile[i, c] -= highest
        for j in range(pixels * width):
            flat[j] = _exp(flat[j])
        for i in range(pixels):
            p = np.uint64(first + i)
            mass = F(0)
            for c in range(width):
                mass += tile[i, c]
            share = F(1) / mass
            if keep:
                for c in range(width):
                    marginals[p, c] = share * tile[i, c]
            if send:
                for m in range(corners):
                    weight, v = share * weights[p, m], vertices[p, m]
                    for c in range(width):
                        sums[v, c] += weight * tile[i, c]


@_compiled
def _exp(x: Any) -> Any:
    """exp(x) for x <= 0 to 2e-7 of itself, in steps that LLVM turns into vectors; e^-60 where it is smaller.

    So no sum comes near subnormal numbers, each of which costs some processors a hundred cycles. The polynomial of
    Cephes' expf, Moshier, https://www.netlib.org/cephes/.
    """
    x = max(x, F(-60))
    power = I(x * F(1.44269504088896341) - F(0.5))  # towards 0: the nearest
    x = x - F(power) * F(0.693359375) + F(power) * F(2.12194440e-4)  # ln 2 in two parts
    y = F(1.9875691500e-4) * x + F(1.3981999507e-3)
    y = (y * x + F(8.3334519073e-3)) * x + F(4.1665795894e-2)
    y = (y * x + F(1.6666665459e-1)) * x + F(5.0000001201e-1)
    y = (y * x + F(1)) * x + F(1)
    return y * I((power + I(127)) << I(23)).view(np.float32)
