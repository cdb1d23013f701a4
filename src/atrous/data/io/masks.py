"""Turns what mask files store into class indices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from atrous.data.io.files import SHOWN, Color, Mask, read_mask
from atrous.errors import ConfigError, DataError
from atrous.types import ClassInfo

LEAST, MOST = -32768, 65535  # stored values that `value_map` can name
_KEPT = 4096  # how many values or colours an error's fields hold


class MaskReader:
    """Reads mask files as class indices, and refuses every value that is none.

    Args:
        class_info: The classes and the ignore index.
        value_map: From stored value to class index or ignore index; values it does not name are errors. None: the
            stored values are class indices or the ignore index.
        colors: From (R, G, B) to class index or ignore index. Given, RGB and indexed masks are read by colour, and
            grey ones still by value.
        threshold: For two classes: a value from this one on is class 1, one below is class 0.
        nearest: A value that `value_map` does not name, and a colour that `colors` does not, is read as the nearest one.
            With this or `threshold` JPEGs and floating-point TIFFs are read.

    Raises:
        ConfigError: If `value_map` names a stored value outside -32768 to 65535 or a class that does not exist, or the
            settings contradict each other.
    """

    def __init__(
        self,
        *,
        class_info: ClassInfo,
        value_map: Mapping[int, int] | None = None,
        colors: Mapping[Color, int] | None = None,
        threshold: float | None = None,
        nearest: bool = False,
    ) -> None:
        self.class_info = class_info
        self.value_map = value_map
        self.colors = dict(colors or {})
        self.threshold = threshold
        self.nearest = nearest
        classes = range(class_info.num_classes)
        targets = {*classes, class_info.ignore_index}
        values = {target: target for target in targets} if value_map is None else value_map
        for value, target in values.items():
            storable = isinstance(value, int) and not isinstance(value, bool) and LEAST <= value <= MOST
            if target not in targets or (value_map is not None and not storable):
                raise ConfigError(
                    f"value_map {{{value}: {target}}}: expected a stored value from {LEAST} to {MOST} and a class from 0 to "
                    f"{len(classes) - 1} or the ignore index {class_info.ignore_index}."
                )
        if threshold is not None and (len(classes) != 2 or value_map is not None or self.colors or nearest):
            raise ConfigError(
                f"mask_threshold={threshold:g} divides the values of two classes; there are {len(classes)}, and value_map, palette, "
                "ignore_colors and nearest_value don't go with it. Use nearest_value=true with value_map for more."
            )
        if nearest and not value_map and not self.colors:
            raise ConfigError(
                "nearest_value=true needs the values or colours to be near to: give value_map={0: 0, 255: 1} or palette=[[r, g, b], ...]."
            )
        self.values = tuple(sorted(value for value, target in values.items() if target != class_info.ignore_index))
        fits = 0 <= class_info.ignore_index <= 255 and len(classes) < 255
        self._dtype: Any = np.uint8 if fits else np.int32
        # A result that no class has marks the values outside the classes.
        self._illegal = max(set(range(256)) - targets) if fits else np.iinfo(np.int32).min
        self._low = min([0, *values])  # stored value of the table's first entry
        self._table = np.full(MOST + 1 - self._low, self._illegal, self._dtype)  # stored value -> class
        for value, target in values.items():
            if LEAST <= value <= MOST:
                self._table[value - self._low] = target
        if nearest and value_map:
            named = np.array(sorted(value_map))
            middles = (named[1:] + named[:-1]) / 2
            place = np.searchsorted(middles, np.arange(self._low, MOST + 1), side="left")  # a tie: the lower
            self._table = np.array([value_map[int(value)] for value in named], self._dtype)[place]
        self._codes = np.array(sorted(_code(np.array(list(self.colors), np.uint8).reshape(-1, 3))), np.int32)
        by_code = {int(_code(np.array(color, np.uint8))): target for color, target in self.colors.items()}
        self._targets = np.array([by_code[int(code)] for code in self._codes], self._dtype)

    def __call__(self, path: Path) -> Mask:
        """Reads `path` as (H, W) class indices or ignore index, uint8 where they fit and int32 otherwise.

        Raises:
            DataError: If the file can't be read, or holds a value or colour that is no class.
        """
        stored = read_mask(path, by_color=bool(self.colors), lossy=self.nearest or self.threshold is not None)
        if stored.ndim == 3:
            return self._from_colors(stored, path)
        if self.threshold is not None:
            return (stored >= self.threshold).astype(np.uint8)
        if stored.dtype.kind == "f":
            stored = stored.round().clip(self._low, MOST).astype(np.int32)
        if self.nearest and self.value_map and stored.dtype.itemsize > 2:
            stored = stored.astype(np.int64).clip(self._low, MOST)
        elif (stored.dtype.kind == "i" or stored.dtype.itemsize > 2) and (
            stored.min() < self._low or stored.max() > MOST
        ):
            raise self._value_error(stored, path)
        if stored.dtype == self._dtype == np.uint8 and self._low == 0:
            mask = cast(Mask, cv2.LUT(stored, self._table[:256]))  # in half of the time of `take`
        else:
            mask = cast(Mask, self._table.take(stored if self._low == 0 else stored.astype(np.int32) - self._low))
        if (mask == self._illegal).any():
            raise self._value_error(stored, path)
        return mask

    def key(self) -> bytes:
        """Cache key: differs if two readers would decode a file differently."""
        how = (self.class_info, sorted(self.colors.items()), self.threshold, self.nearest, self._low)
        return repr(how).encode() + self._table.tobytes()

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
        if unknown.any() and self.nearest:
            position[unknown] = self._nearest_color(codes[unknown])
        elif unknown.any():
            raise self._color_error(stored[unknown], path)
        return cast(Mask, self._targets[position])

    def _nearest_color(self, codes: NDArray[np.int32]) -> NDArray[np.intp]:
        """The places in `_codes` of the colours nearest to these, by their Euclidean distance in RGB."""
        different, inverse = np.unique(codes, return_inverse=True)
        distance = _parts(different)[:, None] - _parts(self._codes)[None]
        nearest: NDArray[np.intp] = (distance**2).sum(-1).argmin(1)[inverse]
        return nearest

    def _color_error(self, pixels: NDArray[np.uint8], path: Path) -> DataError:
        colors, counts = np.unique(pixels, axis=0, return_counts=True)
        commonest = np.argsort(-counts, kind="stable")
        color = colors[commonest[0]].astype(int)
        nearest = min(self.colors, key=lambda known: int(((color - np.array(known)) ** 2).sum()))
        others = f", and {len(colors) - 1} other unknown colours" if len(colors) > 1 else ""
        return DataError(
            f"{path}: colour {color.tolist()} ({counts.max()} pixels) is not in the palette{others}. The nearest is "
            f"{list(nearest)}, {self._meaning(self.colors[nearest])}. Add the colour to palette or ignore_colors"
            + ("; if edges are soft, nearest_value=true reads each as the nearest." if len(colors) > SHOWN else "."),
            kind="colours",
            path=path,
            wrong={tuple(colors[at].tolist()): int(counts[at]) for at in commonest[:_KEPT]},
        )

    def _value_error(self, stored: NDArray[Any], path: Path) -> DataError:
        values, counts = np.unique(stored, return_counts=True)
        legal = [
            self._low <= value <= MOST and self._table[value - self._low] != self._illegal for value in values.tolist()
        ]
        wrong = [(int(v), int(n)) for v, n, ok in zip(values, counts, legal, strict=True) if not ok]
        found = ", ".join(f"{value} ({count} pixels)" for value, count in wrong[:SHOWN])
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        last, ignored = self.class_info.num_classes - 1, self.class_info.ignore_index
        if self.value_map == {}:
            expected = "colours, as RGB or indexed PNGs have them. Copy the original masks."
        elif self.value_map is not None:
            expected = f"the values of value_map: {', '.join(map(str, sorted(self.value_map)))}. Add the others to it."
        else:
            expected = f"0 to {last} and {ignored} (ignored)."
        soft = commonest_values(values, counts, self.class_info.num_classes)
        if soft:
            return DataError(
                f"{path}: mask values {found}{more} are outside the classes; expected {expected} {blurred(soft)}",
                kind="soft values",
                path=path,
            )
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
        if len(values) == count and self.class_info.ignore_index in values and max(values) > count:
            spread = ", ".join(f"{value}: {number}" for number, value in enumerate(sorted(values)))
            return f" That looks like {count} grey levels; set value_map={{{spread}}}."
        if values <= {0, 255}:
            return " That looks like a 0/255 mask; set value_map={0: 0, 255: 1}."
        if -1 in values:
            return " Where -1 is to be ignored, name it in value_map={-1: 255, 0: 0, 1: 1, ...}."
        values = values - {self.class_info.ignore_index}
        if min(values) >= 1 and max(values) == count:
            shifted = ", ".join(f"{value}: {value - 1}" for value in range(1, count + 1))
            return f" That looks like classes counted from 1; set value_map={{{shifted}}}."
        every = " Where each value above 0 is foreground, set mask_threshold=1." if count == 2 and 0 in values else ""
        return f" Set class_names to all classes, or value_map to say which class each value is.{every}"

    def _meaning(self, target: int) -> str:
        return "ignored" if target == self.class_info.ignore_index else f"class {self.class_info.names[target]!r}"


def commonest_values(values: NDArray[Any], counts: NDArray[np.intp], classes: int) -> list[int]:
    """The values that the classes of a mask with soft edges, or JPEG's noise, are likely to have; empty for other masks.

    Such a mask holds nine pixels of ten at as many values as there are classes, and the rest at four or more others, of
    which none has a twentieth, or half of what the rarest class has.
    """
    order = np.argsort(-counts, kind="stable")
    share = counts[order] / counts.sum()
    if len(values) < classes + 4 or share[:classes].sum() < 0.9 or share[classes] > min(0.05, share[classes - 1] / 2):
        return []
    return sorted(int(value) for value in values[order[:classes]])


def blurred(levels: Sequence[int]) -> str:
    """What to do about masks that `commonest_values` recognises."""
    if len(levels) == 2:
        remedy = f"set mask_threshold={(levels[0] + levels[1] + 1) // 2}"
    else:
        named = ", ".join(f"{value}: {number}" for number, value in enumerate(levels))
        remedy = f"set nearest_value=true and value_map={{{named}}}"
    return f"Most pixels are {', '.join(map(str, levels))}, as in masks with soft edges or JPEG noise; {remedy}."


def _parts(codes: NDArray[np.int32]) -> NDArray[np.int32]:
    """Colours (N, 3) from single numbers (N,)."""
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1)


def _code(colors: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Colours (..., 3) as single numbers (...)."""
    wide = colors.astype(np.int32)
    return np.asarray((wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2], dtype=np.int32)
