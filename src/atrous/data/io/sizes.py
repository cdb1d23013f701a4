"""Reads an image's size from its file's header, and refuses decompression bombs by it.

A few kilobytes can decode to gigabytes. The formats whose headers are read here are PNG (W3C PNG specification, 11.2.1),
JPEG (ITU-T T.81, B.2.2) and TIFF (TIFF 6.0, section 2; BigTIFF as libtiff writes it); Pillow reads the others'.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from atrous.errors import ConfigError, DataError

# Where Pillow refuses: twice its MAX_IMAGE_PIXELS, which is a quarter of a gigabyte at three bytes each.
MAX_PIXELS = 2 * (2**30 // 4 // 3)
VARIABLE = "ATROUS_MAX_PIXELS"
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # JPEG's start-of-frame markers
_WIDTH, _LENGTH = 256, 257  # TIFF tags


def max_pixels() -> int:
    """The limit for data sets: ATROUS_MAX_PIXELS of the environment, which worker processes see too, or `MAX_PIXELS`.

    Raises:
        ConfigError: If the variable is no number of pixels.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return MAX_PIXELS
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"{VARIABLE}={text} is impossible; give a number of pixels, such as {VARIABLE}={MAX_PIXELS}.")
    return int(text)


def refuse_bomb(file: BinaryIO, path: Path, *, limit: int, remedy: str) -> None:
    """Raises DataError where the header declares more than `limit` pixels; `remedy` says how to raise it."""
    size = image_size(file)
    if size is not None and size[0] * size[1] > limit:
        height, width = size
        raise DataError(
            f"{path} has {height} x {width} = {height * width:,} pixels by its header, more than the limit of {limit:,}. "
            f"If you trust the file, {remedy.format(height * width)}",
            kind="too large",
            path=path,
        )


def image_size(file: BinaryIO) -> tuple[int, int] | None:
    """(height, width) as the header declares it; None for damaged headers and files that are no images.

    Args:
        file: Open for reading bytes, with `seek`.
    """
    file.seek(0)
    start = file.read(24)
    try:
        if start.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height = struct.unpack(">II", start[16:24])
            return height, width
        if start.startswith(b"\xff\xd8"):
            return _jpeg_size(file)
        if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return _tiff_size(file, start)
    except struct.error:  # the file ends in its header
        return None
    file.seek(0)
    with suppress(OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError):
        width, height = Image.open(file).size
        return height, width
    return None


def _jpeg_size(file: BinaryIO) -> tuple[int, int] | None:
    file.seek(2)
    while True:
        fill, marker = struct.unpack("BB", file.read(2))
        while marker == 0xFF:  # any number of them may come before a marker
            (marker,) = struct.unpack("B", file.read(1))
        if fill != 0xFF or marker == 0xDA:  # the scan begins, and no frame came before
            return None
        (length,) = struct.unpack(">H", file.read(2))
        if marker in _FRAMES:
            height, width = struct.unpack(">xHH", file.read(5))
            return height, width
        file.seek(length - 2, os.SEEK_CUR)


def _tiff_size(file: BinaryIO, start: bytes) -> tuple[int, int] | None:
    order, big = "<" if start[:1] == b"I" else ">", start[2:4] in (b"+\0", b"\0+")
    (offset,) = struct.unpack(order + "Q", start[8:16]) if big else struct.unpack(order + "I", start[4:8])
    file.seek(offset)
    (count,) = struct.unpack(order + ("Q" if big else "H"), file.read(8 if big else 2))
    size = {}
    for _ in range(min(count, 4096)):
        entry = file.read(20 if big else 12)
        tag, kind = struct.unpack(order + "HH", entry[:4])
        if tag in (_WIDTH, _LENGTH):
            at = 12 if big else 8
            (size[tag],) = struct.unpack_from(order + {1: "B", 3: "H"}.get(kind, "I"), entry, at)
    return (size[_LENGTH], size[_WIDTH]) if len(size) == 2 else None
