"""The images that inference modes read, part by part, so that no image need be held whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atrous.layers.strips import neighbours


class Image(Protocol):
    """One image, or a batch of one size."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""

    def part(self, rows: slice, columns: slice) -> Tensor:
        """Normalised pixels, float32 (N, 3, rows, columns), where the network is. Both slices lie within `size`."""


class ImageBatch:
    """A batch in memory: float32 (N, 3, H, W), normalised."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    @property
    def size(self) -> tuple[int, int]:
        return self.images.shape[-2], self.images.shape[-1]

    def part(self, rows: slice, columns: slice) -> Tensor:
        return self.images[..., rows, columns]


class Rows(Protocol):
    """uint8 RGB (H, W, 3) that is read by rows: a NumPy array, or `atrous.data.io.strips.StripReader`."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: slice, /) -> NDArray[np.uint8]: ...


class Decoded:
    """Pixels that are read by rows and normalised part by part.

    Args:
        pixels: The image.
        normalise: uint8 (h, w, 3) -> float32 (3, h, w).
        device: Of the network.
        memory_format: Of the parts.
    """

    def __init__(
        self,
        pixels: Rows,
        normalise: Callable[[NDArray[np.uint8]], Tensor],
        *,
        device: torch.device | str = "cpu",
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self._pixels, self._normalise = pixels, normalise
        self._device, self._memory_format = device, memory_format
        self._rows = slice(0, 0)
        self._band = pixels[self._rows]  # the rows asked for last: windows come row by row

    @property
    def size(self) -> tuple[int, int]:
        return self._pixels.shape[0], self._pixels.shape[1]

    def part(self, rows: slice, columns: slice) -> Tensor:
        if rows != self._rows:
            self._rows, self._band = rows, self._pixels[rows]
        part = self._normalise(np.ascontiguousarray(self._band[:, columns]))[None]
        return part.to(self._device, memory_format=self._memory_format)


class Flipped:
    """An image, left and right exchanged."""

    def __init__(self, image: Image) -> None:
        self._image = image

    @property
    def size(self) -> tuple[int, int]:
        return self._image.size

    def part(self, rows: slice, columns: slice) -> Tensor:
        width = self.size[1]
        return self._image.part(rows, slice(width - columns.stop, width - columns.start)).flip(-1)


class Scaled:
    """An image resized to `size`: bilinear, `align_corners=False`, no smoothing before, as mmsegmentation resizes.

    A part of it reads the pixels that it comes from and no others.
    """

    def __init__(self, image: Image, size: tuple[int, int]) -> None:
        self._image, self.size = image, size

    def part(self, rows: slice, columns: slice) -> Tensor:
        height, width = self._image.size
        down = neighbours(height, self.size[0], rows.start, rows.stop)
        across = neighbours(width, self.size[1], columns.start, columns.stop)
        pixels = self._image.part(slice(down.first, down.last), slice(across.first, across.last)).movedim(1, 3)
        return down.blend(across.blend(pixels, dim=2), dim=1).movedim(3, 1)  # (N, r, c, 3) -> (N, 3, *size)
