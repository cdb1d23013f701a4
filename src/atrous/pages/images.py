"""Pictures of labels: colouring, overlays, and files that appear whole or not at all."""

from __future__ import annotations

import struct
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atrous.system.files import whole_file
from atrous.types import ClassInfo

Pixels = NDArray[np.uint8]


def colour(mask: NDArray[Any], class_info: ClassInfo) -> Pixels:
    """(H, W) class indices -> (H, W, 3) RGB by the palette; ignored pixels are black."""
    lut = np.zeros((max(256, class_info.num_classes, class_info.ignore_index + 1), 3), np.uint8)
    lut[: class_info.num_classes] = class_info.palette
    if class_info.ignore_index >= 0:
        lut[class_info.ignore_index] = 0
    picture: Pixels = lut[mask]
    return picture


def overlay(image: Pixels, mask: NDArray[Any], class_info: ClassInfo, *, opacity: float = 0.5) -> Pixels:
    """The palette's colours over the image, both (H, W, 3)."""
    blended = (1 - opacity) * image + opacity * colour(mask, class_info)
    return blended.round().astype(np.uint8)


def side_by_side(image: Pixels, truth: NDArray[Any], prediction: NDArray[Any], class_info: ClassInfo) -> Pixels:
    """image | truth | prediction, (H, 3 W + 8, 3) with white gaps."""
    gap = np.full((image.shape[0], 4, 3), 255, np.uint8)
    return np.concatenate([image, gap, colour(truth, class_info), gap, colour(prediction, class_info)], axis=1)


class LabelWriter:
    """Writes a grey PNG row by row, so that the labels of a large image are never held whole.

    A context manager: the file appears when it is left, under its name and whole, and not at all after an error.

    Args:
        path: Of the file.
        size: (H, W) in pixels.
        dtype: uint8, or uint16 for values above 255.
    """

    def __init__(self, path: Path, size: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self._path, self._height, self._dtype = path, size[0], dtype
        self._stream = zlib.compressobj()
        self._rows = 0
        self._whole = ExitStack()
        self._file = self._whole.enter_context(whole_file(path))
        self._file.write(b"\x89PNG\r\n\x1a\n")
        self._chunk(b"IHDR", struct.pack(">II5B", size[1], size[0], 8 * dtype.itemsize, 0, 0, 0, 0))

    def write(self, rows: NDArray[Any]) -> None:
        """Appends (any, W) values."""
        big_endian = rows.astype(self._dtype.newbyteorder(">"))
        filtered = np.zeros((len(rows), 1 + rows.shape[1] * self._dtype.itemsize), np.uint8)  # filter 0: as they are
        filtered[:, 1:] = big_endian.view(np.uint8).reshape(len(rows), -1)
        self._chunk(b"IDAT", self._stream.compress(filtered.data))
        self._rows += len(rows)

    def __enter__(self) -> LabelWriter:
        return self

    def __exit__(self, *error: Any) -> None:
        with self._whole:
            if error[1] is not None:
                raise error[1]
            if self._rows != self._height:
                raise ValueError(f"{self._rows} rows were written to {self._path}, which has {self._height}")
            self._chunk(b"IDAT", self._stream.flush())
            self._chunk(b"IEND", b"")

    def _chunk(self, name: bytes, data: bytes) -> None:
        if data or name != b"IDAT":
            self._file.write(struct.pack(">I", len(data)) + name + data)
            self._file.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(name))))


def save_image(path: Path, picture: NDArray[Any]) -> None:
    """Writes a PNG."""
    with whole_file(path) as file:
        Image.fromarray(picture).save(file, format="png")
