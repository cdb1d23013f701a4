"""A random crop of the scaled image, made without scaling the rest of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from atrous.data.io.files import REDUCTIONS, Mask

_TRIES = 10  # positions drawn for a balanced crop, as mmsegmentation's RandomCrop has it
_ALIGNED = 1 / 64  # source pixels; half of what OpenCV's warp rounds positions to
_BACK = 128  # how many pixels before the crop a whole source pixel is looked for; all but 6 % of the crops find one


def random_scale_crop(
    image: NDArray[np.uint8],
    mask: Mask,
    *,
    size: tuple[int, int],
    scale: tuple[float, float],
    fill: Sequence[float],
    fill_mask: int,
    rng: np.random.Generator,
    max_ratio: float = 1.0,
) -> tuple[NDArray[np.uint8], Mask]:
    """Scales by a uniform factor from `scale` and crops at a uniform position; pads where the scaled image is smaller.

    Args:
        image: uint8 (H, W, 3), or reduced by n = 2, 4 or 8 to (ceil(H / n), ceil(W / n), 3).
        mask: (H, W).
        size: Height and width of the crop.
        scale: Smallest and largest factor, of the mask's size.
        fill: The padding's colour.
        fill_mask: The padding's mask value, and that of ignored pixels.
        rng: Draws the factor and the position.
        max_ratio: Up to ten positions are drawn until no class has more than this share of the labelled pixels; the
            image is resampled at the last one alone. 1: the first position is taken.

    Returns:
        uint8 (*size, 3) and (*size) of the mask's type.
    """
    factor = draw_factor(scale, rng)
    scaled = (max(1, round(mask.shape[0] * factor)), max(1, round(mask.shape[1] * factor)))
    for _ in range(_TRIES):
        # A negative offset pads before the image, and the rest behind it.
        y, x = (
            int(rng.integers(min(0, s - c), max(0, s - c), endpoint=True)) for s, c in zip(scaled, size, strict=True)
        )
        out_mask = _crop_mask(mask, scaled, (y, x), size, fill_mask)
        if max_ratio >= 1 or _is_balanced(out_mask, fill_mask, max_ratio):
            break
    return _crop_image(image, mask.shape, scaled, (y, x), size, fill), out_mask


def draw_factor(scale: tuple[float, float], rng: np.random.Generator) -> float:
    """The factor that `random_scale_crop` draws from `rng`, which is its first draw."""
    return rng.uniform(*scale)


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
    image must overlap. The image may be reduced, as for `random_scale_crop`.
    """
    out_mask = _crop_mask(mask, scaled, offset, size, fill_mask)
    return _crop_image(image, mask.shape, scaled, offset, size, fill), out_mask


def _is_balanced(mask: Mask, ignore_index: int, max_ratio: float) -> bool:
    counts = np.bincount(mask[mask != ignore_index])
    return len(counts) > 0 and bool(counts.max() <= max_ratio * counts.sum())


def _crop_mask(mask: Mask, scaled: tuple[int, int], offset: tuple[int, int], size: tuple[int, int], fill: int) -> Mask:
    rows, cols = _inside(scaled, offset, size)
    # The pixels that the centres of the scaled pixels lie in.
    ys, xs = (
        (2 * np.arange(indices.start + o, indices.stop + o, dtype=np.int64) + 1) * length // (2 * s)
        for indices, o, length, s in zip((rows, cols), offset, mask.shape, scaled, strict=True)
    )
    window = mask[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]  # `take` copies what is not contiguous
    out: Mask = np.full(size, fill, mask.dtype)
    out[rows.start : rows.stop, cols.start : cols.stop] = window.take(ys - ys[0], 0).take(xs - xs[0], 1)
    return out


def _crop_image(
    image: NDArray[np.uint8],
    whole: tuple[int, ...],
    scaled: tuple[int, int],
    offset: tuple[int, int],
    size: tuple[int, int],
    fill: Sequence[float],
) -> NDArray[np.uint8]:
    rows, cols = _inside(scaled, offset, size)
    reduction = _reduction_of(image.shape, whole)
    y, x = (
        _along(range(indices.start + o, indices.stop + o), length, n / s / reduction)
        for indices, o, length, n, s in zip((rows, cols), offset, image.shape, whole, scaled, strict=False)
    )
    # OpenCV copies where a resize changes no size, whatever the factors.
    kept = all(round((a.stop - a.start) / a.step) == a.stop - a.start for a in (y, x))
    copied = kept and (y.step, x.step) != (1, 1)
    if y.aligned and x.aligned and not copied:  # 2.5 times as fast as the warp
        window = image[y.start : y.stop, x.start : x.stop]
        out: NDArray[np.uint8] = cv2.resize(window, None, fx=1 / x.step, fy=1 / y.step, interpolation=cv2.INTER_LINEAR)
        out = out[y.before : y.before + len(rows), x.before : x.before + len(cols)]
    else:
        top, left = max(0, int(y.first)), max(0, int(x.first))  # OpenCV's warp is limited to 32767 pixels a side
        out = cv2.warpAffine(
            image[top : y.stop, left : x.stop],
            np.array([[x.step, 0, x.first - left], [0, y.step, y.first - top]]),
            (len(cols), len(rows)),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    if out.shape[:2] != size:
        sides = rows.start, size[0] - rows.stop, cols.start, size[1] - cols.stop
        out = cv2.copyMakeBorder(out, *sides, cv2.BORDER_CONSTANT, value=[round(part) for part in fill])
    return out


def _inside(scaled: tuple[int, int], offset: tuple[int, int], size: tuple[int, int]) -> tuple[range, range]:
    """The rows and columns of the crop that show the image."""
    rows, cols = (range(max(0, -o), min(n, s - o)) for n, s, o in zip(size, scaled, offset, strict=True))
    return rows, cols


def _reduction_of(shape: Sequence[int], whole: Sequence[int]) -> int:
    """By how much an image of `shape` was reduced when it was decoded, given its mask's shape.

    Raises:
        ValueError: If it is no reduction of it.
    """
    for reduction in REDUCTIONS:
        if shape[0] == -(-whole[0] // reduction) and shape[1] == -(-whole[1] // reduction):
            return reduction
    raise ValueError(f"an image of {shape[0]} x {shape[1]} pixels does not fit its mask of {whole[0]} x {whole[1]}")


class _Along(NamedTuple):
    """Coordinates in the image of a row or column of the crop; 0 is the centre of pixel 0."""

    first: float  # the first one's coordinate
    step: float
    start: int  # a resize of the pixels from here on ...
    stop: int
    before: int  # ... has this many more pixels than the crop before it
    aligned: bool  # and its pixels lie where the crop's do


def _along(places: range, length: int, step: float) -> _Along:
    """Looks for a place not far before the first one that begins on a whole source pixel, as a resize does."""
    back = np.arange(min(places.start, _BACK) + 1)
    edges = (places.start - back) * step
    starts = np.minimum(edges.round(), length - 1)
    near = abs(edges - starts) <= min(_ALIGNED, step / 4)
    near &= ((back + 0.5) * step >= 0.5) | (starts == 0)  # the left neighbours of the crop's first pixel are there
    before = int(near.argmax())
    return _Along(
        first=(places.start + 0.5) * step - 0.5,
        step=step,
        start=int(starts[before]),
        stop=min(length, int((places.stop - 0.5) * step - 0.5) + 2),
        before=before,
        aligned=bool(near[before]),
    )
