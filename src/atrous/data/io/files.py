"""Reads images, and the values that masks store, from files."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from atrous.data.io import sizes
from atrous.data.io.matlab import read_matlab
from atrous.data.io.png import GREY, INDEXED, RGB, decode_png
from atrous.data.io.remote import read_bytes
from atrous.errors import DataError

Color = tuple[int, int, int]
Mask = NDArray[np.uint8] | NDArray[np.int32]

JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})
IMAGE_SUFFIXES = JPEG_SUFFIXES | {
    ".png",
    ".bmp",
    ".dib",
    ".tif",
    ".tiff",
    ".webp",
    ".gif",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
}
REDUCTIONS = (1, 2, 4, 8)  # what a JPEG can be reduced by while it is decoded
_FLAGS = (cv2.IMREAD_COLOR, cv2.IMREAD_REDUCED_COLOR_2, cv2.IMREAD_REDUCED_COLOR_4, cv2.IMREAD_REDUCED_COLOR_8)
# What Pillow raises over damaged files.
BROKEN = (OSError, EOFError, ArithmeticError, LookupError, SyntaxError, TypeError, ValueError, struct.error)
SHOWN = 5  # how many names or values an error lists


def read_image(path: Path, *, reduction: int = 1, max_pixels: int | None = None) -> NDArray[np.uint8]:
    """Reads an image as uint8 RGB (H, W, 3), upright by its EXIF orientation.

    Grey becomes three equal channels, transparency is dropped, 16 bits are cut to the upper 8.

    Args:
        path: The file.
        reduction: 2, 4 or 8: a file named as a JPEG and not turned by EXIF comes as (ceil(H / reduction),
            ceil(W / reduction), 3), in three quarters to half of the time.
        max_pixels: Refuse larger images; None: `atrous.data.io.sizes.max_pixels`.

    Raises:
        DataError: If there is no such file, or it is no complete image, several in one, too large, or holds numbers of 32
            bits.
    """
    return decode_image(_read_bytes(path, max_pixels=max_pixels), path, reduction=reduction)


def decode_image(data: bytes, path: Path, *, reduction: int = 1) -> NDArray[np.uint8]:
    """Decodes a file's bytes as `read_image` does; errors name `path`."""
    rgb = decode_png(data, kinds=(RGB,))
    if rgb is not None:
        return rgb
    # Turned, a reduced image of an odd size would begin inside a pixel of the whole one.
    reduced = reduction > 1 and is_jpeg(path) and not _is_turned(data)
    flags = _FLAGS[REDUCTIONS.index(reduction)] if reduced else cv2.IMREAD_COLOR
    if data.startswith((b"II", b"MM", b"GIF8")):
        with suppress(*BROKEN, Image.DecompressionBombError):  # OpenCV reads kinds of TIFF that Pillow doesn't
            image = Image.open(io.BytesIO(data))
            _refuse_several(image, path)
            if image.mode in ("F", "I"):  # OpenCV would cut 0.0 to 1.0 to black
                message = f"{path} holds 32-bit numbers, expected 8 or 16 bits. Save it as PNG of 0 to 255."
                raise DataError(message, kind="32 bits", path=path)
    # It prints a line for each tag of a GeoTIFF, at each read; what it can't decode is said below.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # a size beyond OpenCV's limit
        bgr = None
    if bgr is not None:
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr), dtype=np.uint8)
    return np.array(_decode(data, path).convert("RGB"))  # formats of Pillow's own, and its error message


def read_mask(path: Path, *, by_color: bool = False, lossy: bool = False) -> NDArray[Any]:
    """Reads the values that a mask file stores, upright by its EXIF orientation.

    Args:
        path: A grey (8 or 16 bits), black and white, indexed or RGB image, or a Matlab file of SBD or COCO-Stuff 10k.
        by_color: Read an indexed image's colours instead of its indices.
        lossy: Read JPEGs, too, as grey unless `by_color`, and floating-point numbers.

    Returns:
        (H, W) of any integer type, float32 where `lossy`, or uint8 (H, W, 3) where the file holds colours that are not all grey.

    Raises:
        DataError: If there is no such file, or it is no complete mask image, several in one, or a JPEG.
    """
    if path.suffix == ".mat":
        return read_matlab(path)
    data = _read_bytes(path)
    stored = decode_png(data, kinds=(GREY,) if by_color else (GREY, INDEXED))
    if stored is not None:
        return stored
    image = _decode(data, path)
    if image.format in ("JPEG", "MPO"):
        if not lossy:
            message = (
                f"{path} is a JPEG. JPEG smears the values of masks; make the mask anew as PNG. If it is lost, set mask_threshold=128 "
                "for two classes, or nearest_value=true with value_map or palette."
            )
            raise DataError(message, kind="jpeg", path=path)
        return np.array(image.convert("RGB" if by_color else "L"))
    if image.mode == "F" and lossy:
        numbers = np.array(image)
        if not np.isfinite(numbers).all():
            message = f"{path} holds numbers that are not finite, expected the masks' values. Make the mask anew."
            raise DataError(message, kind="not finite", path=path)
        return numbers
    if image.mode in ("RGBA", "LA") and _only_alpha_differs(image):
        message = f"{path}: nothing but the transparency differs. Save the mask as grey values or colours."
        raise DataError(message, kind="transparency", path=path)
    if image.mode in ("RGBA", "LA") or (image.mode == "P" and by_color):
        image = image.convert("L" if image.mode == "LA" else "RGB")
    if image.mode == "1":
        return np.array(image).astype(np.uint8)
    if image.mode == "RGB":
        colors = np.array(image)
        grey = (colors[..., 0] == colors[..., 1]).all() and (colors[..., 0] == colors[..., 2]).all()
        return colors[..., 0] if grey and not by_color else colors
    if image.mode in ("L", "P", "I") or image.mode.startswith("I;16"):
        return np.array(image)
    raise DataError(
        f"{path}: a mask in Pillow's mode {image.mode}; expected class numbers (grey or indexed) or RGB colours. "
        "Save it as an 8-bit PNG.",
        kind="mode",
        path=path,
    )


def first_few(items: Sequence[object]) -> str:
    """The first few items as text, with a count of the rest."""
    rest = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(map(str, items[:SHOWN])) + rest


def _read_bytes(path: Path, *, max_pixels: int | None = None) -> bytes:
    if path.is_dir():
        message = f"{path} is a folder, expected an image file. Check the data folder's layout."
        raise DataError(message, kind="folder", path=path)
    try:
        data = read_bytes(path)
    except FileNotFoundError as error:
        message = f"no file {path}. Copy it there, or leave it out of the list."
        raise DataError(message, kind="missing", path=path) from error
    except OSError as error:
        message = f"{path} can't be read: {error.strerror}. Check the file's rights and its disk."
        raise DataError(message, kind="unreadable", path=path) from error
    if not data:
        message = f"{path} is empty (0 bytes), expected an image. Copy it again."
        raise DataError(message, kind="empty", path=path)
    limit = sizes.max_pixels() if max_pixels is None else max_pixels
    remedy = f"set the environment variable {sizes.VARIABLE}={{}}." if max_pixels is None else "give max_pixels={}."
    sizes.refuse_bomb(io.BytesIO(data), path, limit=limit, remedy=remedy)
    if 2 * (Image.MAX_IMAGE_PIXELS or limit) < limit:  # where Pillow refuses, lower than the user has it
        Image.MAX_IMAGE_PIXELS = -(-limit // 2)
    return data


def _decode(data: bytes, path: Path) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data))
        _refuse_several(image, path)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
    except Image.DecompressionBombError as error:
        message = f"{path}: {error} Cut it into tiles, or raise the limit by {sizes.VARIABLE}=PIXELS."
        raise DataError(message, kind="too large", path=path) from error
    except BROKEN as error:
        message = (
            f"{path} ({len(data)} bytes) is no complete image of a known format. Copy it again, or save it as PNG."
        )
        raise DataError(message, kind="damaged", path=path) from error
    return image


def _refuse_several(image: Image.Image, path: Path) -> None:
    """Raises DataError where a TIFF or GIF holds further images of the first one's size; thumbnails are smaller."""
    count = getattr(image, "n_frames", 1) if image.format in ("TIFF", "GIF") else 1
    if count > 1:
        size = image.size
        image.seek(1)
        if image.size == size:
            message = f"{path} holds {count} images, expected one. Save each as a file of its own."
            raise DataError(message, kind="several", path=path)
        image.seek(0)


def _only_alpha_differs(image: Image.Image) -> bool:
    pixels = np.array(image)  # (H, W, 2 or 4), the last of which is the transparency
    return bool(np.ptp(pixels[..., -1]) and not np.ptp(pixels[..., :-1], axis=(0, 1)).any())


def _is_turned(data: bytes) -> bool:
    try:
        return bool(Image.open(io.BytesIO(data)).getexif().get(ExifTags.Base.Orientation, 1) != 1)
    except (OSError, SyntaxError, ValueError):
        return True


def is_jpeg(path: Path) -> bool:
    return path.suffix.lower() in JPEG_SUFFIXES
