"""Decodes the plain kinds of PNG with kornia-rs, in about half of the time that OpenCV and Pillow take."""

from __future__ import annotations

import struct
import threading
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

try:  # there are wheels for glibc's Linux, macOS and Windows
    from kornia_rs.io import decode_image_png_u8  # type: ignore[import-not-found, unused-ignore]
except ImportError:
    decode_image_png_u8 = None

GREY, RGB, INDEXED = 0, 2, 3  # colour types as the PNG specification numbers them
_SIGNATURE = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
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
    if decode_image_png_u8 is None or data[:16] != _SIGNATURE or len(data) < 29:
        return None
    width, height, depth, kind, _, _, interlace = struct.unpack(">II5B", data[16:29])
    fits = width * height <= _DEFLATE * len(data)  # or else the header is damaged
    if depth != 8 or kind not in kinds or interlace or not fits or _has_exif(data):
        return None
    if threading.current_thread() is not threading.main_thread():
        return None
    try:
        pixels: NDArray[np.uint8] = decode_image_png_u8(data, (height, width), "rgb" if kind == RGB else "mono")
    except Exception:  # kornia-rs has no narrower one
        return None
    return pixels if kind == RGB else pixels[..., 0]


def _has_exif(data: bytes) -> bool:
    """Goes from chunk to chunk, which is faster than a search for the name."""
    at = 8
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"eXIf":
            return True
        at += 12 + length
    return False
