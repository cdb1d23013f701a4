"""Reads images and masks from files and turns what masks store into class indices."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from atrous.data.io import header
from atrous.data.io.matlab import read_matlab
from atrous.data.io.png import GREY, INDEXED, RGB, decode_png
from atrous.errors import ConfigError, DataError
from atrous.types import ClassInfo, RawSample

Color = tuple[int, int, int]
Mask = NDArray[np.uint8] | NDArray[np.int32]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".pbm"})
REDUCTIONS = (1, 2, 4, 8)  # what a JPEG can be reduced by while it is decoded
_FLAGS = (cv2.IMREAD_COLOR, cv2.IMREAD_REDUCED_COLOR_2, cv2.IMREAD_REDUCED_COLOR_4, cv2.IMREAD_REDUCED_COLOR_8)
_BROKEN = (
    OSError,
    EOFError,
    LookupError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)  # Pillow's, of damaged files
_SHOWN = 5  # how many names or values an error lists
_KEPT = 4096  # how many values or colours are in its fields


def read_image(path: Path, *, reduction: int = 1, max_pixels: int | None = None) -> NDArray[np.uint8]:
    """Reads an image as uint8 RGB (H, W, 3), upright by its EXIF orientation.

    Grey becomes three equal channels, transparency is dropped, 16 bits are cut to the upper 8.

    Args:
        path: The file.
        reduction: 2, 4 or 8: a file named as a JPEG and not turned by EXIF comes as (ceil(H / reduction),
            ceil(W / reduction), 3), in three quarters to half of the time.
        max_pixels: Refuse larger images; None: `atrous.data.io.header.max_pixels`.

    Raises:
        DataError: If there is no such file, or it is no complete image, several in one, too large, or holds numbers of 32
            bits.
    """
    return decode_image(_read_bytes(path, max_pixels=max_pixels), path, reduction=reduction)


def decode_image(data: bytes, path: Path, *, reduction: int = 1) -> NDArray[np.uint8]:
    """As `read_image`, of a file's bytes; `path` is what errors call it."""
    rgb = decode_png(data, kinds=(RGB,))
    if rgb is not None:
        return rgb
    # Turned, a reduced image of an odd size would begin inside a pixel of the whole one.
    reduced = reduction > 1 and _is_jpeg(path) and not _is_turned(data)
    flags = _FLAGS[REDUCTIONS.index(reduction)] if reduced else cv2.IMREAD_COLOR
    if data.startswith((b"II", b"MM", b"GIF8")):
        with suppress(*_BROKEN, Image.DecompressionBombError):  # OpenCV reads kinds of TIFF that Pillow doesn't
            image = Image.open(io.BytesIO(data))
            _refuse_several(image, path)
            if image.mode in ("F", "I"):  # OpenCV would cut 0.0 to 1.0 to black
                message = f"{path} holds 32-bit numbers, expected 8 or 16 bits. Save it as PNG of 0 to 255."
                raise DataError(message, kind="32 bits", path=path)
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # a size beyond OpenCV's limit
        bgr = None
    if bgr is not None:
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr), dtype=np.uint8)
    return np.array(_decode(data, path).convert("RGB"))  # formats of Pillow's own, and its error message


def read_mask(path: Path, *, by_color: bool = False) -> NDArray[Any]:
    """Reads the values that a mask file stores, upright by its EXIF orientation.

    Args:
        path: A grey (8 or 16 bits), black and white, indexed or RGB image, or a Matlab file of SBD or COCO-Stuff 10k.
        by_color: Read an indexed image's colours instead of its indices.

    Returns:
        (H, W) of any integer type, or uint8 (H, W, 3) where the file holds colours that are not all grey.

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
        message = f"{path} is a JPEG. JPEG smears the values of masks; make the mask anew as PNG."
        raise DataError(message, kind="jpeg", path=path)
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


class MaskReader:
    """Reads mask files as class indices, and refuses every value that is none.

    Args:
        class_info: The classes and the ignore index.
        value_map: From stored value to class index or ignore index; values it does not name are errors. None: the
            stored values are class indices or the ignore index.
        colors: From (R, G, B) to class index or ignore index. Given, RGB and indexed masks are read by colour, and
            grey ones still by value.

    Raises:
        ConfigError: If `value_map` names a stored value outside 0 to 65535 or a class that does not exist.
    """

    def __init__(
        self,
        *,
        class_info: ClassInfo,
        value_map: Mapping[int, int] | None = None,
        colors: Mapping[Color, int] | None = None,
    ) -> None:
        self.class_info = class_info
        self.value_map = value_map
        self.colors = dict(colors or {})
        classes = range(class_info.num_classes)
        targets = {*classes, class_info.ignore_index}
        values = {target: target for target in targets} if value_map is None else value_map
        for value, target in values.items():
            if target not in targets or (value_map is not None and not 0 <= value <= 65535):
                raise ConfigError(
                    f"value_map {{{value}: {target}}}: expected a stored value from 0 to 65535 and a class from 0 to "
                    f"{len(classes) - 1} or the ignore index {class_info.ignore_index}."
                )
        fits = 0 <= class_info.ignore_index <= 255 and len(classes) < 255
        self._dtype: Any = np.uint8 if fits else np.int32
        # A result that no class has marks the values outside the classes.
        self._illegal = max(set(range(256)) - targets) if fits else np.iinfo(np.int32).min
        self._table = np.full(65536, self._illegal, self._dtype)  # stored value -> class
        for value, target in values.items():
            if 0 <= value <= 65535:
                self._table[value] = target
        self._codes = np.array(sorted(_code(np.array(list(self.colors), np.uint8).reshape(-1, 3))), np.int32)
        by_code = {int(_code(np.array(color, np.uint8))): target for color, target in self.colors.items()}
        self._targets = np.array([by_code[int(code)] for code in self._codes], self._dtype)

    def __call__(self, path: Path) -> Mask:
        """Reads `path` as (H, W) class indices or ignore index, uint8 where they fit and int32 otherwise.

        Raises:
            DataError: If the file can't be read, or holds a value or colour that is no class.
        """
        stored = read_mask(path, by_color=bool(self.colors))
        if stored.ndim == 3:
            return self._from_colors(stored, path)
        if stored.dtype.itemsize > 2 and (stored.min() < 0 or stored.max() > 65535):
            raise self._value_error(stored, path)
        if stored.dtype == self._dtype == np.uint8:
            mask = cast(Mask, cv2.LUT(stored, self._table[:256]))  # in half of the time of `take`
        else:
            mask = cast(Mask, self._table.take(stored))
        if (mask == self._illegal).any():
            raise self._value_error(stored, path)
        return mask

    def key(self) -> bytes:
        """What tells apart readers that read a file differently."""
        return repr((self.class_info, sorted(self.colors.items()))).encode() + self._table.tobytes()

    def _from_colors(self, stored: NDArray[np.uint8], path: Path) -> Mask:
        if not self.colors:
            raise DataError(
                f"{path} holds colours (RGB), expected class numbers. Give each class's colour as "
                "palette=[[r, g, b], ...], or save the masks with class numbers.",
                kind="no palette",
                path=path,
            )
        codes = _code(stored)
        position = np.searchsorted(self._codes, codes).clip(max=len(self._codes) - 1)
        unknown = self._codes[position] != codes
        if unknown.any():
            raise self._color_error(stored[unknown], path)
        return cast(Mask, self._targets[position])

    def _color_error(self, pixels: NDArray[np.uint8], path: Path) -> DataError:
        colors, counts = np.unique(pixels, axis=0, return_counts=True)
        commonest = np.argsort(-counts, kind="stable")
        color = colors[commonest[0]].astype(int)
        nearest = min(self.colors, key=lambda known: int(((color - np.array(known)) ** 2).sum()))
        others = f", and {len(colors) - 1} other unknown colours" if len(colors) > 1 else ""
        return DataError(
            f"{path}: colour {color.tolist()} ({counts.max()} pixels) is not in the palette{others}. The nearest is "
            f"{list(nearest)}, {self._meaning(self.colors[nearest])}. Add the colour to palette or ignore_colors.",
            kind="colours",
            path=path,
            wrong={tuple(colors[at].tolist()): int(counts[at]) for at in commonest[:_KEPT]},
        )

    def _value_error(self, stored: NDArray[Any], path: Path) -> DataError:
        values, counts = np.unique(stored, return_counts=True)
        legal = [0 <= value <= 65535 and self._table[value] != self._illegal for value in values]
        wrong = [(int(v), int(n)) for v, n, ok in zip(values, counts, legal, strict=True) if not ok]
        found = ", ".join(f"{value} ({count} pixels)" for value, count in wrong[:_SHOWN])
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        last, ignored = self.class_info.num_classes - 1, self.class_info.ignore_index
        if self.value_map == {}:
            expected = "colours, as RGB or indexed PNGs have them. Copy the original masks."
        elif self.value_map is not None:
            expected = f"the values of value_map: {', '.join(map(str, sorted(self.value_map)))}. Add the others to it."
        else:
            expected = f"0 to {last} and {ignored} (ignored)."
        return DataError(
            f"{path}: mask values {found}{more} are outside the classes; expected {expected}"
            + self._value_hint({int(value) for value in values}),
            kind="values" if self.value_map is None else "unmapped values",
            path=path,
            wrong=dict(wrong[:_KEPT]),
            stored=values[:_KEPT].tolist(),
        )

    def _value_hint(self, values: set[int]) -> str:
        count = self.class_info.num_classes
        if self.value_map is not None:
            return ""
        if values <= {0, 255}:
            return " That looks like a 0/255 mask; set value_map={0: 0, 255: 1}."
        values = values - {self.class_info.ignore_index}
        if min(values) >= 1 and max(values) == count:
            shifted = ", ".join(f"{value}: {value - 1}" for value in range(1, count + 1))
            return f" That looks like classes counted from 1; set value_map={{{shifted}}}."
        return " Set class_names to all classes, or value_map to say which class each value is."

    def _meaning(self, target: int) -> str:
        return "ignored" if target == self.class_info.ignore_index else f"class {self.class_info.names[target]!r}"


def read_pair(image_path: Path, mask_path: Path, name: str, reader: MaskReader, *, reduction: int = 1) -> RawSample:
    """Reads an image, reduced as `read_image` has it, with its mask.

    Raises:
        DataError: If either can't be read, the mask holds a value that is no class, or their sizes differ.
    """
    image, mask = read_image(image_path, reduction=reduction), reader(mask_path)
    reduced = _is_jpeg(image_path) and image.shape[:2] == tuple(-(-side // reduction) for side in mask.shape)
    if image.shape[:2] != mask.shape and not reduced:
        if reduction > 1:
            return read_pair(image_path, mask_path, name, reader)  # the message tells the whole sizes
        swapped = image.shape[:2] == mask.shape[::-1]
        raise DataError(
            f"{mask_path} is {mask.shape[0]} x {mask.shape[1]}, its image {image_path} {image.shape[0]} x "
            f"{image.shape[1]} pixels (height x width); they must be equal. "
            + ("One of them is turned: save both without an EXIF rotation." if swapped else "Make the mask anew."),
            kind="turned" if swapped else "size",
            path=mask_path,
        )
    return RawSample(image, mask, name)


def list_images(folder: str | Path, *, suffixes: Collection[str] = IMAGE_SUFFIXES) -> list[str]:
    """The image files in `folder` and the folders below it, relative to it, sorted; hidden ones are left out."""
    found: list[str] = []
    open_folders = [""]
    seen = set()  # a link to a folder above would lead round and round
    while open_folders:
        below = open_folders.pop()
        place = os.path.realpath(os.path.join(folder, below))
        if place in seen:
            continue
        seen.add(place)
        with os.scandir(os.path.join(folder, below)) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and os.path.isdir(entry)):
                    open_folders.append(f"{below}{entry.name}/")
                elif os.path.splitext(entry.name)[1].lower() in suffixes:
                    found.append(below + entry.name)
    return sorted(found)


def first_few(items: Sequence[object]) -> str:
    """The first few items as text, with a count of the rest."""
    rest = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(map(str, items[:_SHOWN])) + rest


def _read_bytes(path: Path, *, max_pixels: int | None = None) -> bytes:
    if path.is_dir():
        message = f"{path} is a folder, expected an image file. Check the data folder's layout."
        raise DataError(message, kind="folder", path=path)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        message = f"no file {path}. Copy it there, or leave it out of the list."
        raise DataError(message, kind="missing", path=path) from error
    except OSError as error:
        message = f"{path} can't be read: {error.strerror}. Check the file's rights and its disk."
        raise DataError(message, kind="unreadable", path=path) from error
    if not data:
        message = f"{path} is empty (0 bytes), expected an image. Copy it again."
        raise DataError(message, kind="empty", path=path)
    limit = header.max_pixels() if max_pixels is None else max_pixels
    remedy = f"set the environment variable {header.VARIABLE}={{}}." if max_pixels is None else "give max_pixels={}."
    header.refuse_bomb(io.BytesIO(data), path, limit=limit, remedy=remedy)
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
        message = f"{path}: {error} Cut it into tiles, or raise the limit by {header.VARIABLE}=PIXELS."
        raise DataError(message, kind="too large", path=path) from error
    except _BROKEN as error:
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


def _code(colors: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Colours (..., 3) as single numbers (...)."""
    wide = colors.astype(np.int32)
    return np.asarray((wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2], dtype=np.int32)


def _is_turned(data: bytes) -> bool:
    try:
        return bool(Image.open(io.BytesIO(data)).getexif().get(ExifTags.Base.Orientation, 1) != 1)
    except (OSError, SyntaxError, ValueError):
        return True


def _is_jpeg(path: Path) -> bool:
    return path.suffix.lower() in (".jpg", ".jpeg")
