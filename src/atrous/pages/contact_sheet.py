"""Contact sheets: many pictures on one, each with its caption, under one legend."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from atrous.pages.images import Pixels
from atrous.system.text import printable

Swatch = tuple[int, int, int] | Pixels  # a colour, or a picture of SWATCH x SWATCH pixels
SWATCH = 16
NARROWEST = 160  # pixels of a column, so that a caption can be read under the smallest tile

_MARGIN, _GAP = 20, 14
_PAPER, _INK, _GREY = (255, 255, 255), (24, 24, 24), (96, 96, 96)
_TITLE_SIZE, _TEXT_SIZE = 20, 13
_LINE = 18  # from one line of text to the next


def contact_sheet(
    tiles: Sequence[Pixels],
    captions: Sequence[str],
    legend: Sequence[tuple[str, Swatch]],
    columns: int,
    *,
    title: str = "",
) -> Pixels:
    """Pictures in rows, captions below them, the legend below all.

    Args:
        tiles: RGB pictures (h, w, 3), shown pixel by pixel; they may differ in size.
        captions: One per tile, of one or more lines; the first is dark, the others grey. A line wider than its column
            loses its middle; characters that can't be printed become question marks.
        legend: Text and swatch of each entry; may be empty.
        columns: Tiles per row.
        title: Stands on top; more lines may follow the first.

    Returns:
        uint8 (H, W, 3).

    Raises:
        ValueError: If there are no tiles, fewer or more captions, or no columns.
    """
    if not tiles or len(tiles) != len(captions) or columns < 1:
        raise ValueError(
            f"{len(tiles)} tiles, {len(captions)} captions, {columns} columns: expected one caption for each of one or "
            "more tiles, and one or more columns"
        )
    columns = min(columns, len(tiles))
    rows = [range(start, min(start + columns, len(tiles))) for start in range(0, len(tiles), columns)]
    widths = [max(NARROWEST, *(tile.shape[1] for tile in tiles[column::columns])) for column in range(columns)]
    width = 2 * _MARGIN + sum(widths) + _GAP * (columns - 1)
    lines = [caption.split("\n") if caption else [] for caption in captions]
    head = title.split("\n") if title else []
    entries, legend_height = _flow(legend, width - 2 * _MARGIN)
    tops = [_MARGIN + (_TITLE_SIZE + 8 + _LINE * (len(head) - 1) + _GAP if head else 0)]
    for row in rows:
        tile_height = max(tiles[i].shape[0] for i in row)
        tops.append(tops[-1] + tile_height + 4 + _LINE * max(len(lines[i]) for i in row) + _GAP)
    sheet = Image.new("RGB", (width, tops[-1] + legend_height + _MARGIN - _GAP * (not legend)), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, line in enumerate(head):
        size, ink = (_TITLE_SIZE, _INK) if number == 0 else (_TEXT_SIZE, _GREY)
        place = (_MARGIN, _MARGIN + (0 if number == 0 else _TITLE_SIZE + 8 + _LINE * (number - 1)))
        pen.text(place, shortened(line, width - 2 * _MARGIN, size), ink, _font(size))
    for row, top in zip(rows, tops[:-1], strict=True):
        below = top + max(tiles[i].shape[0] for i in row) + 4
        for column, i in enumerate(row):
            left = _MARGIN + sum(widths[:column]) + _GAP * column
            sheet.paste(Image.fromarray(tiles[i]), (left, top))
            for number, line in enumerate(lines[i]):
                text = shortened(line, widths[column], _TEXT_SIZE)
                pen.text((left, below + _LINE * number), text, _GREY if number else _INK, _font(_TEXT_SIZE))
    for (text, swatch), (x, y) in zip(legend, entries, strict=True):
        left, top = _MARGIN + x, tops[-1] + y
        square = np.broadcast_to(np.asarray(swatch, np.uint8), (SWATCH, SWATCH, 3))
        sheet.paste(Image.fromarray(np.ascontiguousarray(square)), (left, top))
        pen.rectangle((left, top, left + SWATCH - 1, top + SWATCH - 1), outline=_GREY)
        text = shortened(text, width - 2 * _MARGIN - SWATCH - 6, _TEXT_SIZE)
        pen.text((left + SWATCH + 6, top), text, _INK, _font(_TEXT_SIZE))
    return np.asarray(sheet, dtype=np.uint8)


def thumbnail(pixels: NDArray[Any], side: int, *, labels: bool = False) -> NDArray[Any]:
    """Shrinks so that the longer side is at most `side`; never enlarges.

    Args:
        pixels: An RGB picture (H, W, 3) of uint8, or labels (H, W) of any type.
        side: In pixels.
        labels: Take the nearest pixel instead of the mean over an area.
    """
    height, width = pixels.shape[:2]
    factor = min(1.0, side / max(height, width))
    h, w = max(1, round(height * factor)), max(1, round(width * factor))
    if labels:
        ys, xs = (2 * np.arange(h) + 1) * height // (2 * h), (2 * np.arange(w) + 1) * width // (2 * w)
        nearest: NDArray[Any] = pixels.take(ys, 0).take(xs, 1)
        return nearest
    return pixels if factor == 1 else np.array(cv2.resize(pixels, (w, h), interpolation=cv2.INTER_AREA))


def hatched(picture: Pixels, where: NDArray[np.bool_]) -> Pixels:
    """A copy of (H, W, 3) with thin white and black diagonal lines over the pixels in `where` (H, W).

    For pixels without a label: black alone is a class's colour in some palettes.
    """
    phase = (np.arange(where.shape[0])[:, None] + np.arange(where.shape[1])) % 8
    out = picture.copy()
    out[where & (phase < 2)] = 255
    out[where & (phase >= 2) & (phase < 4)] = 0
    return out


def hatched_swatch() -> Pixels:
    """`hatched` as a legend's swatch."""
    return hatched(np.full((SWATCH, SWATCH, 3), 128, np.uint8), np.ones((SWATCH, SWATCH), bool))


def shortened(text: str, width: int, size: int = _TEXT_SIZE) -> str:
    """`printable` text, with its middle left out where it is wider than `width` pixels at font size `size`."""
    text = printable(text)
    font = _font(size)
    if font.getlength(text) <= width:
        return text
    few, many = 0, len(text) - 1  # characters kept
    while few < many:
        kept = (few + many + 1) // 2
        few, many = (kept, many) if font.getlength(_without_middle(text, kept)) <= width else (few, kept - 1)
    return _without_middle(text, few)


def _without_middle(text: str, kept: int) -> str:
    tail = (kept + 1) // 2  # the end of a path says more than its beginning
    return text[: kept - tail] + "…" + text[len(text) - tail :]


def _flow(legend: Sequence[tuple[str, Swatch]], width: int) -> tuple[list[tuple[int, int]], int]:
    """The upper left corner of each entry, in columns of one width, and the height of all."""
    if not legend:
        return [], 0
    font = _font(_TEXT_SIZE)
    column = max(SWATCH + 6 + int(font.getlength(printable(text))) + 1 for text, _ in legend) + 18
    per_row = max(1, (width + 18) // column)
    step = SWATCH + 6
    corners = [(number % per_row * column, number // per_row * step) for number in range(len(legend))]
    return corners, -(-len(legend) // per_row) * step


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings: it has the letters of most alphabets."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), size)
