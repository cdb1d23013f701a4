"""Sums of scores for some rows of an image: as many as a row of windows or tiles has."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator

import torch
from torch import Tensor

from atrous.layers.strips import DEVICE_STRIP

MEMORY = 2**29  # bytes of scores that are kept in memory; more are kept in a file
_FLOAT = 4  # bytes


class Band:
    """Rows of scores that windows are added to, and that leave at the top as they are finished.

    Up to `MEMORY` bytes stay where the network is. More are mapped from a temporary file, whose pages are given back
    after each window, so that they do not add up in this process.

    Args:
        like: Scores of one window, (N, C, h, w).
        height: Rows of the band.
        width: Of the image.
    """

    def __init__(self, like: Tensor, *, height: int, width: int) -> None:
        shape = (*like.shape[:2], height, width)
        size = _FLOAT * torch.Size(shape).numel()
        self._file: mmap.mmap | None = None
        if size <= MEMORY:
            self._rows = torch.zeros(shape, dtype=torch.float32, device=like.device)
        else:
            with tempfile.TemporaryFile() as file:  # the mapping outlives it
                file.truncate(size)
                self._file = mmap.mmap(file.fileno(), size)
            self._rows = torch.frombuffer(self._file, dtype=torch.float32).view(shape)

    def add(self, scores: Tensor, left: int) -> None:
        """Adds (N, C, height, w) at column `left`."""
        self._rows[..., left : left + scores.shape[-1]] += scores.to(self._rows.device)
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

    def _give_back(self) -> None:
        """Takes the file's pages out of this process; the system keeps or writes them as it has room."""
        if self._file is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._file.madvise(mmap.MADV_DONTNEED)
