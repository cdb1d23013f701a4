"""Sums of scores for the rows of an image that one row of windows or tiles covers."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator

import torch
from torch import Tensor

from atrous.layers.strips import DEVICE_STRIP

MEMORY = 2**29  # bytes of scores that are kept in memory; more are kept in a file
_FLOAT = 4  # bytes


class ScoreAccumulator:
    """Rows of scores that windows are added to, and that leave at the top as they are finished.

    Up to `MEMORY` bytes stay where the network is. More are mapped from a temporary file, whose pages are given back
    after each window, so that they do not add up in this process.

    Args:
        height: Rows that are held at a time.
        width: Of the image.
    """

    def __init__(self, *, height: int, width: int) -> None:
        self._size = height, width
        self._rows = torch.empty(0)  # (N, C, height, width) from the first window on
        self._file: mmap.mmap | None = None

    def add(self, scores: Tensor, left: int) -> None:
        """Adds (N, C, h, w) to the upper h rows, at column `left`."""
        if not len(self._rows):
            self._allocate(scores)
        self._rows[..., : scores.shape[-2], left : left + scores.shape[-1]] += scores.to(self._rows.device)
        self._give_back()

    def finish(self, rows: int) -> Iterator[Tensor]:
        """Hands out the upper `rows` rows in strips, and moves the others up to make room."""
        batch, classes, height, width = self._rows.shape
        some = max(1, DEVICE_STRIP // 2 // (batch * classes * width))
        for top in range(0, rows, some):
            yield self._rows[:, :, top : min(top + some, rows)].clone()
            self._give_back()
        for top in range(0, height, some):  # a row moves up to one that has moved before, or was handed out
            bottom = min(top + some, height)
            moved = self._rows[:, :, top + rows : bottom + rows].clone()
            self._rows[:, :, top : top + moved.shape[2]] = moved
            self._rows[:, :, top + moved.shape[2] : bottom] = 0
            self._give_back()

    def _allocate(self, like: Tensor) -> None:
        shape = (*like.shape[:2], *self._size)
        size = _FLOAT * torch.Size(shape).numel()
        if size <= MEMORY:
            self._rows = torch.zeros(shape, dtype=torch.float32, device=like.device)
        else:
            with tempfile.TemporaryFile() as file:  # the mapping outlives it
                file.truncate(size)
                self._file = mmap.mmap(file.fileno(), size)
            self._rows = torch.frombuffer(self._file, dtype=torch.float32).view(shape)

    def _give_back(self) -> None:
        """Takes the file's pages out of this process; the system keeps or writes them as it has room."""
        if self._file is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._file.madvise(mmap.MADV_DONTNEED)
