"""The permutohedral lattice: Gaussian filters of high dimension in time linear in the points, in torch on any device.

Adams, Baek, Davis: Fast High-Dimensional Filtering Using the Permutohedral Lattice. Computer Graphics Forum 29(2), 2010.
https://graphics.stanford.edu/papers/permutohedral/

A point's value is spread over the d + 1 corners of the simplex around it (splat), the corners are blurred along d + 1 axes,
and the point collects them again (slice). As in Krähenbühl's code (`permutohedral.cpp` of lucasb-eyer/pydensecrf, which
is the reference in the tests) a vertex that no point touches is zero, and results are scaled by 1 / (1 + 2^-d).

A vertex is named by one int64, its coordinates as digits: the neighbour on an axis is then a constant away.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Geometry(NamedTuple):
    """What a lattice of dimension d needs to know before any point is placed."""

    scale: list[float]  # of each feature, so that the lattice's blur has standard deviation 1
    strides: list[int]  # what one step of each of the first d coordinates adds to a key
    steps: list[int]  # what the step to a neighbour on each of the d + 1 axes adds to a key
    keys: int  # the keys of one image lie within this many numbers

    @property
    def alpha(self) -> float:
        """The factor on what the lattice gives."""
        return 1 / (1 + 2.0 ** -len(self.scale))


def geometry(lows: list[float], highs: list[float], *, images: int = 1) -> Geometry:
    """The geometry for points whose features lie between `lows` and `highs`, in standard deviations.

    Raises:
        ValueError: If the vertices of so wide a lattice can't be told apart by 64 bits.
    """
    d = len(lows)
    n = d + 1
    # Adams et al., section 3.1: the basis E and the blur's standard deviation of sqrt(2/3) (d + 1).
    scale = [math.sqrt(2 / 3) * n / math.sqrt((i + 1) * (i + 2)) for i in range(d)]
    reach = [factor * (high - low) for factor, low, high in zip(scale, lows, highs, strict=True)]
    strides, keys = [0] * d, 1
    for i in reversed(range(d)):
        span = sum(reach[i:]) + (i * reach[i - 1] if i else 0)  # of coordinate i, see `simplices`
        strides[i] = keys
        keys *= math.ceil(span) + 8 * n  # rounding, the simplex and its neighbours reach beyond
    if keys * images >= 2**62:
        widths = ", ".join(f"{high - low:.4g}" for low, high in zip(lows, highs, strict=True))
        raise ValueError(
            f"the image is {widths} standard deviations of the kernel wide, too much for the lattice's 64-bit keys; choose "
            "larger sxy or srgb"
        )
    steps = [n * stride - sum(strides) for stride in (*strides, 0)]
    return Geometry(scale, strides, steps, keys)


def simplices(features: Tensor, shape: Geometry) -> tuple[Tensor, Tensor]:
    """The corners of the simplex around each point.

    Args:
        features: (P, d), in standard deviations.
        shape: The geometry for them.

    Returns:
        The corners' keys, int64 (P, d + 1), and the barycentric weights, float32 (P, d + 1), which sum to 1.
    """
    d = features.shape[1]
    n = d + 1
    x = features * features.new_tensor(shape.scale)
    place = torch.zeros(len(x), n, device=x.device)
    place[:, :d] = x.flip(1).cumsum(1).flip(1)
    place[:, 1:] -= x * torch.arange(1, n, device=x.device)  # on the plane whose coordinates sum to 0
    nearest = (place / n).round()
    base = nearest.long() * n  # (P, n), a point whose coordinates are multiples of n
    rest = place - base
    order = rest.sort(dim=1, descending=True, stable=True).indices
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(n, device=x.device).expand_as(order))
    rank += nearest.sum(1, keepdim=True).long()  # where rounding has left the plane, step back onto it
    back = (rank < 0).long() - (rank > d).long()
    rank, base, rest = rank + n * back, base + n * back, rest - n * back
    ordered = torch.empty_like(rest).scatter_(1, rank, rest / n)
    wrapped = 1 + ordered[:, d:] - ordered[:, :1]
    weights = torch.cat([wrapped, (ordered[:, :d] - ordered[:, 1:]).flip(1)], dim=1)
    strides = torch.tensor([*shape.strides, 0], device=x.device)
    falls = torch.empty_like(rank).scatter_(1, rank, n * strides.expand_as(rank))  # corner m: ranks from n - m on fall
    fallen = torch.cat([torch.zeros_like(falls[:, :1]), falls.flip(1).cumsum(1)[:, :d]], dim=1)
    corner = torch.arange(n, device=x.device) * sum(shape.strides)
    keys = (base * strides).sum(1, keepdim=True) + corner - fallen
    return keys, weights


class Lattice:
    """A Gaussian filter of standard deviation 1 between points, divided by the roots of its sums on both sides.

    Points of several images stand in one lattice without meeting. On CUDA the order of the sums, and so their last
    digits, differ from run to run, unless `torch.use_deterministic_algorithms` is on.

    Args:
        features: (N, P, d), in standard deviations.

    Raises:
        ValueError: As `geometry`.
    """

    def __init__(self, features: Tensor) -> None:
        images, points, d = features.shape
        flat = features.reshape(images * points, d)
        shape = geometry(flat.amin(0).tolist(), flat.amax(0).tolist(), images=images)
        self.alpha = shape.alpha
        keys, weights = simplices(flat, shape)
        keys += shape.keys * torch.arange(images, device=keys.device).repeat_interleave(points)[:, None]
        # (M,) sorted, (N P, d + 1)
        found, self.vertices = keys.unique(return_inverse=True)  # type: ignore[no-untyped-call, unused-ignore]
        del keys
        self.size = len(found)
        self.neighbours = [  # two (M,) per axis; M is the row of zeros
            tuple(self._row_of(found, found + sign * step) for sign in (1, -1)) for step in shape.steps
        ]
        self.weights = weights
        norm = self.alpha * self.slice(self.blur(self.splat(torch.ones_like(weights[:, :1]))))
        self.weights = weights / (norm + 1e-20).sqrt()

    def _row_of(self, found: Tensor, keys: Tensor) -> Tensor:
        place = torch.searchsorted(found, keys).clamp_(max=self.size - 1)
        return torch.where(found[place] == keys, place, self.size)

    def splat(self, values: Tensor) -> Tensor:
        """(N P, C) -> (M + 1, C), the last row zeros."""
        sums = values.new_zeros(self.size + 1, values.shape[1])
        for m in range(self.vertices.shape[1]):  # one corner after the other: holds values of (N P, C) once
            sums.index_add_(0, self.vertices[:, m], values * self.weights[:, m, None])
        return sums

    def blur(self, values: Tensor) -> Tensor:
        """(M + 1, C) -> (M + 1, C), along every axis."""
        for left, right in self.neighbours:
            blurred = torch.zeros_like(values)
            torch.add(values[left], values[right], out=blurred[:-1])
            blurred[:-1].mul_(0.5).add_(values[:-1])
            values = blurred
        return values

    def slice(self, values: Tensor) -> Tensor:
        """(M + 1, C) -> (N P, C)."""
        sums = self.weights[:, :1] * values[self.vertices[:, 0]]
        for m in range(1, self.vertices.shape[1]):
            sums.addcmul_(self.weights[:, m, None], values[self.vertices[:, m]])
        return sums
