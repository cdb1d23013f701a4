"""Areas of an image by their outlines, and the pixels that lie in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # (K, 2): x, y in pixels; the upper left pixel's corners are (0, 0) and (1, 1)
_FINER = 5  # points on an outline for each pixel, as pycocotools has them


class Bitmap(NamedTuple):
    """A part of an image whose true pixels are the area."""

    top: int
    left: int
    pixels: NDArray[np.bool_]  # (h, w)


Part = Points | Bitmap


class Shape(NamedTuple):
    """What an annotation calls by one name: the union of its parts, of which each is a polygon or a bitmap."""

    label: str
    parts: Sequence[Part]


class Annotated(NamedTuple):
    """An image's annotations, in the order in which they are drawn."""

    size: tuple[int, int] | None  # height, width as the annotations say; None: they don't
    shapes: Sequence[Shape]


def draw(shape: Shape, mask: NDArray[Any], value: int) -> None:
    """Sets the pixels of `mask` (H, W) that lie in a shape to `value`; what lies outside the image is cut off."""
    height, width = mask.shape
    for part in shape.parts:
        top, left, pixels = part if isinstance(part, Bitmap) else polygon_pixels(part, (height, width))
        inside = pixels[max(0, -top) : max(0, height - top), max(0, -left) : max(0, width - left)]
        window = mask[max(0, top) : max(0, top) + inside.shape[0], max(0, left) : max(0, left) + inside.shape[1]]
        window[inside[: window.shape[0], : window.shape[1]]] = value


def polygon_pixels(points: Points, size: tuple[int, int]) -> Bitmap:
    """The pixels of a polygon as pycocotools has them (Dollár and Lin, cocoapi, common/maskApi.c, rleFrPoly).

    The outline is drawn on a grid five times finer. In each column of pixels, the rows between the first and the second place
    where it passes through the column's middle are inside, and so on; each place is rounded upwards to a whole row. So an area
    that overlaps itself is counted once and outside again, and a pixel belongs to one of two polygons that share an edge.

    Args:
        points: The corners; the last is joined to the first.
        size: Height and width of the image.
    """
    height, width = size
    corners = np.trunc(_FINER * points + 0.5).astype(np.int64)
    u, v = _outline(corners)
    at = np.flatnonzero(u[1:] != u[:-1]) + 1
    before, after = u[at - 1], u[at]
    columns = (np.where(after < before, after, after - 1) + 0.5) / _FINER - 0.5
    rows = np.ceil(np.clip((np.minimum(v[at], v[at - 1]) + 0.5) / _FINER - 0.5, 0, height)).astype(np.int64)
    kept = (np.floor(columns) == columns) & (columns >= 0) & (columns <= width - 1)
    if not kept.any():
        return Bitmap(0, 0, np.zeros((0, 0), bool))
    columns, rows = columns[kept].astype(np.int64), rows[kept]
    left, top = int(columns.min()), int(rows.min())
    shape = int(rows.max()) - top, int(columns.max()) - left + 1
    passes = np.bincount((rows - top) * shape[1] + columns - left, minlength=(shape[0] + 1) * shape[1])
    odd = (passes[: shape[0] * shape[1]].reshape(shape) & 1).astype(bool)
    return Bitmap(top, left, np.logical_xor.accumulate(odd, axis=0))


def _outline(corners: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The points of the fine grid along the outline, one for each step of the longer side of an edge."""
    start, end = corners, np.roll(corners, -1, axis=0)
    span = abs(end - start)
    wide = span[:, 0] >= span[:, 1]
    turned = np.where(wide, start[:, 0] > end[:, 0], start[:, 1] > end[:, 1])
    first, last = np.where(turned[:, None], end, start), np.where(turned[:, None], start, end)
    steps = span.max(1)
    edge = np.repeat(np.arange(len(corners)), steps + 1)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(steps + 1) - steps - 1, steps + 1)
    step = np.where(turned[edge], steps[edge] - step, step)
    other = np.where(wide, 1, 0)
    rows = np.arange(len(corners))
    slope = (last[rows, other] - first[rows, other]) / np.maximum(steps, 1)
    along = first[edge, np.where(wide, 0, 1)[edge]] + step
    across = np.trunc(first[edge, other[edge]] + slope[edge] * step + 0.5).astype(np.int64)
    return np.where(wide[edge], along, across), np.where(wide[edge], across, along)


def rectangle(left: float, top: float, right: float, bottom: float) -> Points:
    """A rectangle's four corners."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)


def ellipse(x: float, y: float, radius_x: float, radius_y: float) -> Points:
    """An ellipse as a polygon whose corners are less than a fiftieth of a pixel inside it, by its middle and half axes."""
    count = max(16, int(np.ceil(np.pi / np.sqrt(0.04 / max(radius_x, radius_y, 1)))))
    angle = np.arange(count) * 2 * np.pi / count
    return np.stack([x + radius_x * np.cos(angle), y + radius_y * np.sin(angle)], axis=1)


def from_run_lengths(counts: Sequence[int], size: tuple[int, int], *, by_column: bool) -> NDArray[np.bool_]:
    """Pixels (H, W) from the lengths of runs of outside and inside by turns, beginning outside.

    Args:
        counts: The lengths, which add up to H x W.
        size: Height and width.
        by_column: Runs go down the columns, as COCO's, or else along the rows.

    Raises:
        ValueError: If they add up to something else.
    """
    inside = np.arange(len(counts)) % 2 == 1
    pixels = np.repeat(inside, counts)
    if len(pixels) != size[0] * size[1]:
        raise ValueError(f"runs of {len(pixels)} pixels for an area of {size[0]} x {size[1]}")
    return pixels.reshape(size[::-1]).T if by_column else pixels.reshape(size)


def run_lengths(text: str) -> list[int]:
    """The lengths of runs that COCO packs into a string (maskApi.c, rleFrString): groups of five bits, differences to
    the length before last.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text.encode("ascii"):
        code = letter - 48
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts
