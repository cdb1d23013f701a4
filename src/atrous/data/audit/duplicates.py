"""Finds duplicate images: equal ones by a hash of their pixels, similar ones by their difference hash."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

# Measured on CamVid and `scenes` (2,500 pairs at least each): images of different CamVid sequences differ in 10 of 64
# bits or more, train from val in 8 or more, different scenes in 12 or more; 98% of CamVid's images saved as JPEG
# (quality 50), and 99% of those resized, in at most 3 from the original, and 63% of frames 1/15 s apart.
NEAR = 3
_BANDS = NEAR + 1  # of 16 bits: hashes that differ in 3 bits agree in one band of 4 at least
_CHUNK = 1 << 21  # pairs compared at once
_BITS = np.array([value.bit_count() for value in range(1 << 16)], np.uint8)

Indices = NDArray[np.intp]


def repeats(contents: NDArray[np.uint64]) -> list[Indices]:
    """The groups of two and more equal values, each as ascending indices, in the order of their first."""
    order = np.argsort(contents, kind="stable")
    borders = np.flatnonzero(np.diff(contents[order])) + 1
    groups = [group for group in np.split(order, borders) if len(group) > 1]
    return sorted(groups, key=lambda group: int(group[0]))


def shared(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> tuple[Indices, Indices]:
    """Finds the values of `second` that are in `first`: their indices, and those of the first equal one there."""
    values, positions = np.unique(first, return_index=True)
    at = np.flatnonzero(np.isin(second, values))
    return at, positions[np.searchsorted(values, second[at])]


def similar(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> tuple[Indices, Indices, NDArray[np.uint8]]:
    """Finds the hashes of `second` within `NEAR` bits of one of `first`: their indices, the nearest one's, the distance.

    Only hashes that agree in one of four bands of 16 bits are compared (multi-index hashing; Norouzi, Punjani, Fleet:
    Fast Search in Hamming Space with Multi-Index Hashing. CVPR 2012).
    """
    values, positions = np.unique(first, return_index=True)
    wanted, inverse = np.unique(second, return_inverse=True)
    distance = np.full(len(wanted), 64, np.uint8)
    nearest = np.zeros(len(wanted), np.intp)
    for band in range(_BANDS):
        for ours, theirs in _agreeing(_band(wanted, band), _band(values, band)):
            apart = _distance(wanted[ours], values[theirs])
            near = np.flatnonzero(apart <= NEAR)
            near = near[np.lexsort((theirs[near], apart[near], ours[near]))]  # the nearest of each comes first
            best, at = np.unique(ours[near], return_index=True)
            near = near[at]
            nearer = apart[near] < distance[best]
            distance[best[nearer]], nearest[best[nearer]] = apart[near][nearer], theirs[near][nearer]
    found = np.flatnonzero(distance[inverse] <= NEAR)
    return found, positions[nearest[inverse[found]]], distance[inverse[found]]


def _agreeing(ours: NDArray[np.uint16], theirs: NDArray[np.uint16]) -> Iterator[tuple[Indices, Indices]]:
    """All pairs of indices with equal keys, in chunks of bounded size."""
    order = np.argsort(theirs, kind="stable")
    starts = np.searchsorted(theirs[order], ours, side="left")
    counts = np.searchsorted(theirs[order], ours, side="right") - starts
    ends = np.cumsum(counts)
    top = 0
    while top < len(ours):
        done = ends[top - 1] if top else 0
        bottom = max(top + 1, int(np.searchsorted(ends, done + _CHUNK, side="right")))
        number = counts[top:bottom]
        within = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
        yield np.repeat(np.arange(top, bottom), number), order[np.repeat(starts[top:bottom], number) + within]
        top = bottom


def _band(hashes: NDArray[np.uint64], band: int) -> NDArray[np.uint16]:
    return (hashes >> np.uint64(16 * band)).astype(np.uint16)


def _distance(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """The bits in which hashes differ. (`np.bitwise_count` needs NumPy 2.)"""
    counts: NDArray[np.uint8] = _BITS[(first ^ second)[:, None].view(np.uint16)].sum(1, dtype=np.uint8)
    return counts
