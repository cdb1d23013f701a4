"""Images by rows: a large PNG or TIFF is decoded piece by piece into a file, so that it is never held whole.

Compressed PNG is one stream of filtered rows, and TIFF is made of strips or tiles. A few rows at a time are put into a file
of their own, which `read_image`'s decoders then read as any other: the filters and compressions stay their business.
"""

from __future__ import annotations

import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import TiffImagePlugin

from atrous.data.io.files import decode_image, read_image
from atrous.data.io.png import SIGNATURE, chunk, is_turned
from atrous.data.io.sizes import image_size, refuse_bomb
from atrous.errors import DataError

LARGE = 2**26  # pixels, 192 MiB: larger images are spilled
_PIECE = 2**24  # bytes decoded at a time, about
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of PNG's colour types
# A PNG that holds so many bytes for a pixel, as bit depth and colour type.
_SAME_BYTES = {1: (8, 0), 2: (16, 0), 3: (8, 2), 4: (8, 6), 6: (16, 2), 8: (16, 6)}
_TAGS = (258, 259, 262, 266, 277, 284, 292, 293, 317, 320, 338, 339, 347, 529, 530, 532)  # how TIFF's pixels are stored


class StripReader:
    """uint8 RGB (H, W, 3) in an unnamed temporary file; `spilled[a:b]` reads rows a to b."""

    def __init__(self, file: BinaryIO, height: int, width: int) -> None:
        self._file = file
        self.shape = (height, width, 3)

    def __getitem__(self, rows: slice) -> NDArray[np.uint8]:
        first, last, _ = rows.indices(self.shape[0])
        row = self.shape[1] * 3
        self._file.seek(first * row)
        data = bytearray(max(0, last - first) * row)
        self._file.readinto(data)  # type: ignore[attr-defined]
        return np.frombuffer(data, np.uint8).reshape(-1, *self.shape[1:])


def open_image(
    path: Path, *, max_pixels: int, folder: Path | None = None, progress: Callable[[float], None] = lambda share: None
) -> NDArray[np.uint8] | StripReader:
    """An image as uint8 RGB (H, W, 3), read by rows; the same pixels as `read_image` gives.

    Images above `LARGE` pixels that are plain PNGs (not interlaced, 8 or 16 bits) or TIFFs (not of separate planes) go
    to a temporary file of three bytes a pixel. All others are held whole.

    Args:
        path: The file.
        max_pixels: Refuse what has more.
        folder: For the temporary file; None: the system's.
        progress: Told the share that is decoded, 0 to 1.

    Raises:
        DataError: As `read_image`, and if the image is larger than `max_pixels`.
    """
    if not path.is_file():
        return read_image(path, max_pixels=max_pixels)  # whose message says what is wrong
    with path.open("rb") as file:
        refuse_bomb(file, path, limit=max_pixels, remedy="give max_pixels={}.")
        size = image_size(file)
        pieces = _pieces(file) if size is not None and size[0] * size[1] > LARGE else None
        if size is None or pieces is None:
            return read_image(path, max_pixels=max_pixels)
        height, width = size
        spill = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (it lives as long as the image)
        try:
            for top, left, pixels in pieces:
                pixels = pixels[: height - top, : width - left]
                if pixels.shape[1] == width:
                    spill.seek(top * width * 3)
                    spill.write(np.ascontiguousarray(pixels).data)
                else:
                    for row, line in enumerate(pixels, top):
                        spill.seek((row * width + left) * 3)
                        spill.write(np.ascontiguousarray(line).data)
                progress((top + len(pixels)) / height)
        except (zlib.error, struct.error, cv2.error, DataError, ValueError, OSError) as error:
            spill.close()
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's
            raise DataError(f"{path} is no complete image: {error} Copy it again, or save it as PNG.") from error
    return StripReader(spill, height, width)


Piece = tuple[int, int, NDArray[np.uint8]]  # top, left, pixels uint8 (h, w, 3), which may pass the image's border


def _pieces(file: BinaryIO) -> Iterator[Piece] | None:
    """The image piece by piece, or None where it is decoded whole, or its header is damaged."""
    file.seek(0)
    try:
        return _png_pieces(file) if file.read(8) == SIGNATURE else _tiff_pieces(file)
    except (struct.error, ValueError):
        return None


def _png_pieces(file: BinaryIO) -> Iterator[Piece] | None:
    """The rows of a PNG, or None where it is of a kind that is decoded whole."""
    width, height, depth, kind, _, _, interlace = struct.unpack(">II5B", _next_chunk(file)[1])
    begin, palette = file.tell(), None
    name, data = _next_chunk(file, skip=b"IDAT")
    while name != b"IDAT":
        if name == b"IEND" or (name == b"eXIf" and is_turned(data)):
            return None
        if name == b"PLTE":
            palette = np.frombuffer(data, np.uint8).reshape(-1, 3)
        begin = file.tell()
        name, data = _next_chunk(file, skip=b"IDAT")
    if interlace or depth < 8 or kind not in _CHANNELS or (kind == 3 and palette is None):
        return None
    file.seek(begin)
    return _png_rows(file, (height, width), depth // 8, kind, palette)


def _png_rows(
    file: BinaryIO, size: tuple[int, int], sample: int, kind: int, palette: NDArray[np.uint8] | None
) -> Iterator[Piece]:
    height, width = size
    channels = _CHANNELS[kind]
    line = width * channels * sample  # bytes
    rows = max(1, _PIECE // line)
    above = bytes(line)  # the row before the piece, decoded
    for top, filtered in _filtered_rows(file, height, line + 1, rows):
        count = len(filtered) // (line + 1)
        # The row above goes first, unfiltered, for the filters to refer to.
        stored = _stored_png(b"\0" + above + filtered, width, count + 1, *_SAME_BYTES[channels * sample])
        found = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_UNCHANGED)
        if found is None:
            raise ValueError(f"the rows from {top} on are damaged.")
        if found.ndim == 3:  # OpenCV's order of colours
            found = np.ascontiguousarray(found[..., [2, 1, 0, *range(3, found.shape[2])]])
        raw = found.astype(found.dtype.newbyteorder(">")).view(np.uint8).reshape(count + 1, line)
        above = raw[-1].tobytes()
        values = raw[1:].reshape(count, width, channels, sample)[..., 0]  # of 16 bits the upper 8
        yield top, 0, palette[values[..., 0]] if kind == 3 and palette is not None else _rgb(values)


def _filtered_rows(file: BinaryIO, height: int, line: int, rows: int) -> Iterator[tuple[int, bytes]]:
    """PNG's rows with their filter bytes, some at a time, with the number of the first."""
    stream, held, top = zlib.decompressobj(), bytearray(), 0
    while top < height:
        wanted = min(rows, height - top) * line
        while len(held) < wanted:
            if stream.unconsumed_tail:
                held += stream.decompress(stream.unconsumed_tail, wanted - len(held))
                continue
            name, data = _next_chunk(file)
            if name != b"IDAT":
                raise ValueError(f"it ends after {top + len(held) // line} of {height} rows.")
            held += stream.decompress(data, wanted - len(held))
        yield top, bytes(held[:wanted])
        del held[:wanted]
        top += wanted // line


def _next_chunk(file: BinaryIO, *, skip: bytes = b"") -> tuple[bytes, bytes]:
    """The next chunk's name and data; of a chunk called `skip` no data are read."""
    if file.tell() == 0:
        file.seek(8)
    length, name = struct.unpack(">I4s", file.read(8))
    if name == skip:
        return name, b""
    data = file.read(length)
    if file.read(4) != struct.pack(">I", zlib.crc32(data, zlib.crc32(name))):
        raise ValueError(f"the check sum of its {name.decode('latin-1')} is wrong.")
    return name, data


def _stored_png(filtered: bytes, width: int, height: int, depth: int, kind: int) -> bytes:
    """A PNG of filtered rows that are not compressed again."""
    header = struct.pack(">II5B", width, height, depth, kind, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(filtered, 0)) + chunk(b"IEND", b"")


def _rgb(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(h, w, 1 to 4 channels), grey or colour, with or without transparency -> (h, w, 3)."""
    return values[..., :3] if values.shape[2] >= 3 else np.repeat(values[..., :1], 3, axis=2)


def _tiff_pieces(file: BinaryIO) -> Iterator[Piece] | None:
    """The strips or tiles of a TIFF, or None where it is of a kind that is decoded whole, or no TIFF."""
    file.seek(0)
    try:
        tags = TiffImagePlugin.TiffImageFile(file).tag_v2
    except (SyntaxError, OSError, ValueError, KeyError):
        return None
    planes = tags.get(284, 1) == 2 and tags.get(277, 1) > 1
    if planes or tags.get(274, 1) != 1 or tags.get(259) == 6 or tags.next:
        return None
    return _tiff_strips(file, tags)


def _tiff_strips(file: BinaryIO, tags: Any) -> Iterator[Piece]:
    height, width = int(tags[257]), int(tags[256])
    tiled = 324 in tags
    offsets, lengths = (tags[324], tags[325]) if tiled else (tags[273], tags[279])
    h, w = (int(tags[323]), int(tags[322])) if tiled else (min(int(tags.get(278, height)), height), width)
    across = -(-width // w)
    for index, (offset, length) in enumerate(zip(offsets, lengths, strict=True)):
        top, left = index // across * h, index % across * w
        file.seek(offset)
        rows = h if tiled else min(h, height - top)
        data = file.read(length)
        if len(data) < length:
            raise ValueError(f"it ends in piece {index} of {len(offsets)}.")
        piece = _small_tiff(tags, data, rows, w)
        yield top, left, decode_image(piece, Path(f"its piece {index}"))


def _small_tiff(tags: Any, data: bytes, height: int, width: int) -> bytes:
    """One strip or tile as a TIFF of its own."""
    directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=tags.prefix)
    for tag in _TAGS:
        if tag in tags:
            directory.tagtype[tag] = tags.tagtype[tag]
            directory[tag] = tags[tag]
    for tag, value in ((256, width), (257, height), (278, height), (273, 0), (279, len(data))):
        directory.tagtype[tag] = 4  # LONG
        directory[tag] = value
    header = b"II*\0\x08\0\0\0" if tags.prefix == b"II" else b"MM\0*\0\0\0\x08"
    return header + directory.tobytes(len(header)) + data  # Pillow adds to offset 0 where the directory ends
