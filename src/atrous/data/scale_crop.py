"""A random crop of the scaled image, made without scaling the rest of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from atrous.data.files import Mask


def random_scale_crop(
    image: NDArray[np.uint8],
    mask: Mask,
    *,
    size: tuple[int, int],
    scale: tuple[float, float],
    fill: Sequence[float],
    fill_mask: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], Mask]:
    """Scales by a uniform factor from `scale` and crops at a uniform position; pads where the scaled image is smaller.

    Args:
        image: uint8 (H, W, 3).
        mask: (H, W).
        size: Height and width of the crop.
        scale: Smallest and largest factor.
        fill: The padding's colour.
        fill_mask: The padding's mask value.
        rng: Draws the factor and the position.

    Returns:
        uint8 (*size, 3) and (*size) of the mask's type.
    """
    factor = rng.uniform(*scale)
    scaled = (max(1, round(mask.shape[0] * factor)), max(1, round(mask.shape[1] * factor)))
    # A negative offset pads before the image, and the rest behind it.
    offset = [int(rng.integers(min(0, s - c), max(0, s - c), endpoint=True)) for s, c in zip(scaled, size, strict=True)]
    return scale_crop(
        image, mask, scaled=scaled, offset=(offset[0], offset[1]), size=size, fill=fill, fill_mask=fill_mask
    )


def scale_crop(
    image: NDArray[np.uint8],
    mask: Mask,
    *,
    scaled: tuple[int, int],
    offset: tuple[int, int],
    size: tuple[int, int],
    fill: Sequence[float],
    fill_mask: int,
) -> tuple[NDArray[np.uint8], Mask]:
    """Resizes image (bilinear) and mask (nearest) to `scaled` and crops `size` at `offset` (y, x), padding outside.

    Equal to resize, pad and crop one after the other, up to the rounding of the interpolation. The crop and the scaled
    image must overlap.
    """
    rows, cols = (range(max(0, -o), min(n, s - o)) for n, s, o in zip(size, scaled, offset, strict=True))
    ys = _sources(rows, offset[0], mask.shape[0], scaled[0])
    xs = _sources(cols, offset[1], mask.shape[1], scaled[1])
    out_mask: Mask = np.full(size, fill_mask, mask.dtype)
    out_mask[rows.start : rows.stop, cols.start : cols.stop] = mask.take(ys.pixels, 0).take(xs.pixels, 1)
    # The pixels that are read, with both neighbours of the outermost; OpenCV's warp is limited to 32767 pixels a side.
    top, left = max(0, ys.pixels[0] - 1), max(0, xs.pixels[0] - 1)
    out = cv2.warpAffine(
        image[top : ys.pixels[-1] + 2, left : xs.pixels[-1] + 2],
        np.array([[xs.step, 0, xs.first - left], [0, ys.step, ys.first - top]]),
        (len(cols), len(rows)),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if out.shape[:2] != size:
        sides = rows.start, size[0] - rows.stop, cols.start, size[1] - cols.stop
        out = cv2.copyMakeBorder(out, *sides, cv2.BORDER_CONSTANT, value=[round(part) for part in fill])
    return out, out_mask


class _Sources(NamedTuple):
    """Where the pixel centres of a row or column of the crop lie in the image."""

    pixels: NDArray[np.int64]  # the pixels they are in
    first: float  # the first one's coordinate, 0 at the centre of pixel 0
    step: float


def _sources(indices: range, offset: int, length: int, scaled: int) -> _Sources:
    places = np.arange(indices.start, indices.stop, dtype=np.int64) + offset
    step = length / scaled
    return _Sources((2 * places + 1) * length // (2 * scaled), (int(places[0]) + 0.5) * step - 0.5, step)
