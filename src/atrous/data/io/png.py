"""PNG: the plain kinds decoded by kornia-rs, in about half of OpenCV's and Pillow's time, and label maps written row by row."""

from __future__ import annotations

import contextlib
import struct
import threading
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from atrous.system.files import whole_file

try:  # there are wheels for glibc's Linux, macOS and Windows
    from kornia_rs.io import decode_image_png_u8  # type: ignore[import-not-found, unused-ignore]
except ImportError:
    decode_image_png_u8 = None

GREY, RGB, INDEXED = 0, 2, 3  # colour types as the PNG specification numbers them
SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DEFLATE = 1032  # bytes that one byte can hold at most, https://zlib.net/zlib_tech.html


def decode_png(data: bytes, *, kinds: Collection[int]) -> NDArray[np.uint8] | None:
    """Decodes a file of 8 bits per channel and pixel: (H, W, 3) if it is RGB, (H, W) if it is grey or indexed.

    Args:
        data: The file's bytes.
        kinds: The colour types wanted.

    Returns:
        None where another decoder is to try: it is another kind of file, turned by EXIF, or damaged. Also outside the
        main thread, since kornia-rs holds Python's lock, so that threads would decode one after the other.
    """
    if decode_image_png_u8 is None or data[:16] != SIGNATURE + b"\0\0\0\rIHDR" or len(data) < 29:
        return None
    width, height, depth, kind, _, _, interlace = struct.unpack(">II5B", data[16:29])
    fits = width * height <= _DEFLATE * len(data)  # or else the header is damaged
    if depth != 8 or kind not in kinds or interlace or not fits or _is_turned(data):
        return None
    if threading.current_thread() is not threading.main_thread():
        return None
    try:
        pixels: NDArray[np.uint8] = decode_image_png_u8(data, (height, width), "rgb" if kind == RGB else "mono")
    except Exception:  # kornia-rs has no narrower one
        return None
    return pixels if kind == RGB else pixels[..., 0]


@contextlib.contextmanager
def write_labels(path: Path, size: tuple[int, int], dtype: np.dtype[Any]) -> Iterator[Callable[[NDArray[Any]], None]]:
    """Writes a grey PNG row by row, so that the labels of a large image are never held whole.

    The block gets a function that appends (any, W) values. The file appears when the block ends, and not at all after an
    error.

    Args:
        path: Of the file.
        size: (H, W) in pixels.
        dtype: uint8, or uint16 for values above 255.

    Raises:
        ValueError: If other than H rows were written.
    """
    stream, written = zlib.compressobj(), 0
    with whole_file(path) as file:
        file.write(SIGNATURE + chunk(b"IHDR", struct.pack(">II5B", size[1], size[0], 8 * dtype.itemsize, 0, 0, 0, 0)))

        def append(rows: NDArray[Any]) -> None:
            nonlocal written
            big_endian = rows.astype(dtype.newbyteorder(">"))
            filtered = np.zeros((len(rows), 1 + rows.shape[1] * dtype.itemsize), np.uint8)  # filter 0: as they are
            filtered[:, 1:] = big_endian.view(np.uint8).reshape(len(rows), -1)
            if packed := stream.compress(filtered.data):
                file.write(chunk(b"IDAT", packed))
            written += len(rows)

        yield append
        if written != size[0]:
            raise ValueError(f"{written} rows were written to {path}, which has {size[0]}")
        file.write(chunk(b"IDAT", stream.flush()) + chunk(b"IEND", b""))


def chunk(name: bytes, data: bytes) -> bytes:
    """A PNG's chunk: its length, name, data and check sum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))


def is_turned(exif: bytes) -> bool:
    """Whether the orientation in an eXIf chunk's data turns or mirrors the image."""
    found = Image.Exif()
    try:
        found.load(exif)
        return bool(found.get(ExifTags.Base.Orientation, 1) != 1)
    except (OSError, SyntaxError, ValueError, struct.error):
        return True


def _is_turned(data: bytes) -> bool:
    """Walks from chunk to chunk, which is faster than a search for the name."""
    at = 8
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"eXIf":
            return is_turned(data[at + 8 : at + 8 + length])
        at += 12 + length
    return False
