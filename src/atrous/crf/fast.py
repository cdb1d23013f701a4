"""Mean-field inference on a CPU: what `mean_field` computes, by loops that numba compiles. Imports numba.

All kernels' lattices share one array of vertices, so that a pixel's update is one pass over its corners. Threads take
equal shares of the pixels and add up their own copies of the vertices.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atrous.crf import compiled
from atrous.crf.lattice import geometry
from atrous.crf.mean_field import Kernel, couple
from atrous.crf.vectors import LANES

_LEAST = 8192  # pixels or vertices that are worth a thread
_COPIES = 4  # of the marginals' memory are what the threads' own sums may take


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
    blocks = -(-classes // LANES)
    with _Threads(torch.get_num_threads()) as threads:
        model = _Corners(kernels, points, threads)
        unary = _room(points, blocks, LANES)
        unary[:] = -math.inf  # the classes that fill the last block
        threads.run(compiled.pack, points, log_probabilities.contiguous().numpy(), unary)
        marginals = _room(points, blocks, LANES)
        parts = min(threads.shares(points), max(1, _COPIES * points // max(1, model.rows)))
        sums = _room(parts, model.rows, blocks, LANES)
        messages = _room(model.rows, blocks, LANES)
        messages[:] = 0
        borders = [points * part // parts for part in range(parts + 1)]
        for iteration in range(iterations + 1):
            keep, send = every or iteration == iterations, iteration < iterations and bool(kernels)
            step = (unary, messages, model.vertices, model.weights, marginals)
            threads.map(
                compiled.update,
                [
                    (*step, sums[part], iteration > 0 and bool(kernels), keep, send, start, stop)
                    for part, (start, stop) in enumerate(itertools.pairwise(borders))
                ],
            )
            if keep:
                result = torch.empty(classes, points)
                threads.run(compiled.unpack, points, marginals, result.numpy())
                yield result
            if send:
                if parts > 1:
                    threads.run(compiled.add_up, model.rows, sums)
                model.blur(sums[0], messages, classes)


class _Corners:
    """The lattices of all kernels: each pixel's corners side by side, the vertices one below the other."""

    def __init__(self, kernels: Sequence[Kernel], points: int, threads: _Threads) -> None:
        self.threads = threads
        corners = sum(kernel.features.shape[1] + 1 for kernel in kernels)
        self.vertices = np.empty((points, corners), np.int32)
        self.weights = np.empty((points, corners), np.float32)
        self.parts: list[
            tuple[int, NDArray[np.int32], float | Tensor, float]
        ] = []  # first row, neighbours, coupling, alpha
        self.rows = 0
        column = 0
        for kernel in kernels:
            column += self._add(kernel, column)

    def _add(self, kernel: Kernel, column: int) -> int:
        points, d = kernel.features.shape
        n = d + 1
        shape = geometry(kernel.features.amin(0).tolist(), kernel.features.amax(0).tolist())
        keys, weights = np.empty((points, n), np.int64), np.empty((points, n), np.float32)
        scale, strides = np.array(shape.scale, np.float32), np.array(shape.strides)
        self.threads.run(compiled.find_simplices, points, kernel.features.numpy(), scale, strides, keys, weights)
        vertices = np.empty((points, n), np.int32)
        *table, found, bits = compiled.number_vertices(keys, vertices)
        del keys
        size = len(found)
        neighbours = np.full((n, size, 2), size, np.int32)  # size: the row of zeros
        self.threads.run(compiled.find_neighbours, size, *table, bits, found, np.array(shape.steps), neighbours)
        ones = np.zeros(size + 1, np.float32)
        compiled.splat_ones(vertices, weights, ones)
        for pair in neighbours:
            ones[:-1] += np.float32(0.5) * (ones[pair[:, 0]] + ones[pair[:, 1]])
        self.threads.run(
            compiled.normalise,
            points,
            *(vertices, weights, ones, np.float32(shape.alpha), self.rows),
            *(self.vertices, self.weights, column),
        )
        self.parts.append((self.rows, neighbours, kernel.coupling, shape.alpha))
        self.rows += size + 1
        return n

    def blur(self, sums: NDArray[np.float32], messages: NDArray[np.float32], classes: int) -> None:
        """What was splatted, (rows, B, 8), to what the vertices say; uses both arrays up to get there."""
        for first, neighbours, coupling, alpha in self.parts:
            size = neighbours.shape[1]
            rows = slice(first, first + size + 1)
            here, there = sums[rows], messages[rows]
            here[-1] = there[-1] = 0
            for pair in neighbours:
                self.threads.run(compiled.blur, size, here, pair, there)
                here, there = there, here
            there = messages[rows]
            if isinstance(coupling, float):  # torch's own threads would get into the way of these
                self.threads.run(compiled.scale, size + 1, here, np.float32(coupling * alpha), there)
            else:
                blurred = torch.from_numpy(here).view(size + 1, -1)[:, :classes]
                torch.from_numpy(there).view(size + 1, -1)[:, :classes] = couple(blurred, coupling, alpha)


class _Threads(ThreadPoolExecutor):
    """Runs compiled loops, which release Python's lock, on shares of their range."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.count = count

    def shares(self, size: int) -> int:
        """How many threads a range is worth."""
        return max(1, min(self.count, size // _LEAST))

    def run(self, function: Callable[..., Any], size: int, *arguments: Any) -> None:
        """function(*arguments, start, stop) for all of range(size)."""
        shares = self.shares(size)
        borders = [size * share // shares for share in range(shares + 1)]
        self.map(function, [(*arguments, *ends) for ends in itertools.pairwise(borders)])

    def map(self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> None:  # type: ignore[override]
        """Makes the calls, the last one in this thread, and waits for all."""
        others = [self.submit(function, *call) for call in calls[:-1]]
        function(*calls[-1])
        for other in others:
            other.result()


def _room(*shape: int) -> NDArray[np.float32]:
    """A float32 array that begins at a cache line, as blocks of 8 are to."""
    size = math.prod(shape)
    room = np.empty(size + 16, np.float32)
    start = -room.ctypes.data % 64 // 4
    return room[start : start + size].reshape(shape)
