"""Whether the masks of a data set mean one thing by their values, or differ from file to file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atrous.data.io.files import BROKEN, first_few
from atrous.data.io.remote import open_file
from atrous.types import ClassInfo

SEVERAL, NONE = -1, -2  # in place of a mask's only class


def only_class(classes: NDArray[np.intp]) -> int:
    """The class of a mask that has one; SEVERAL or NONE where it has more or none."""
    return int(classes[0]) if len(classes) == 1 else SEVERAL if len(classes) else NONE


def nothing_but_one_class(info: ClassInfo, only: NDArray[np.int32], ignores: NDArray[np.bool_]) -> str | None:
    """The message for masks that hold ignored pixels and all the same class at most, as 0/255 masks do; None for others.

    Args:
        info: The classes.
        only: (N,), each mask's `only_class`.
        ignores: (N,), whether each has ignored pixels.
    """
    classes = np.unique(only[only != NONE])
    if not ignores.any() or info.num_classes == 1 or len(classes) > 1 or SEVERAL in classes:
        return None
    held = f"class {info.names[int(classes[0])]!r} and " if len(classes) else ""
    return (
        f"the {len(only)} masks read hold only {held}ignored pixels ({info.ignore_index}). If they are 0/255 masks, set "
        "value_map={0: 0, 255: 1}."
    )


def two_meanings(info: ClassInfo, only: NDArray[np.int32], ignores: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The masks that hold one class and ignored pixels alone, where the others have more classes and ignore nothing.

    So look 0/255 masks among 0/1 masks. Where a single mask has the ignored value beside several classes, it is what it
    says, and no mask is returned.

    Args:
        info, only, ignores: As for `nothing_but_one_class`.
    """
    with_ignored = only[ignores]
    held = np.unique(with_ignored[with_ignored != NONE])
    others = only[~ignores]
    if info.num_classes == 1 or len(held) != 1 or held[0] == SEVERAL or not (others != held[0]).any():
        return np.empty(0, np.intp)
    return np.flatnonzero(ignores & (only == held[0]))


def two_meanings_message(info: ClassInfo, count: int, total: int) -> str:
    """What is said of the masks that `two_meanings` finds."""
    ignored = info.ignore_index
    alike = (
        f"Set value_map={{0: 0, 1: 1, {ignored}: 1}} to read both alike" if info.num_classes == 2 else "Make them anew"
    )
    return (
        f"{count} of {total} masks hold one class and {ignored} (ignored), and none of the others has {ignored}: likely 0/255 "
        f"masks among 0/1 masks, whose foreground would be ignored. {alike}"
    )


def color_table(path: Path, values: Sequence[int]) -> bytes:
    """The colours (R, G, B) of `values` in an indexed image's table, one after another; empty for other files."""
    try:
        with open_file(path) as file, Image.open(file) as image:  # reads the header alone
            table = image.getpalette("RGB") if image.mode == "P" else None
    except (*BROKEN, Image.DecompressionBombError):
        return b""
    return (
        b"" if table is None else b"".join(bytes(table[3 * value : 3 * value + 3]) for value in values if value < 256)
    )


def other_tables(tables: Mapping[bytes, Sequence[str]]) -> tuple[str, list[str]] | None:
    """Finds masks in whose colour table a colour has another value than in most: the message, and those masks.

    Args:
        tables: A colour table, see `color_table` -> the masks that have it.
    """
    coloured = {table: names for table, names in tables.items() if table}
    if len(coloured) < 2:
        return None
    usual = max(coloured, key=lambda table: len(coloured[table]))
    place = {color: value for value, color in reversed(list(enumerate(_colors(usual))))}
    moved: list[str] = []
    example = ""
    for table, names in coloured.items():
        for value, color in enumerate(_colors(table)):
            if value < len(_colors(usual)) and _colors(usual)[value] != color and color in place:
                moved += names
                example = example or (
                    f"{list(color)} is value {value} in {names[0]} and {place[color]} in {coloured[usual][0]}"
                )
                break
    if not moved:
        return None
    total = sum(map(len, tables.values()))
    return (
        f"the colour tables of {len(moved)} of {total} masks give the values another order: {example}. Read them by colour with "
        f"palette=[[r, g, b], ...]; most have {first_few([list(color) for color in _colors(usual)])}"
    ), moved


def _colors(table: bytes) -> list[tuple[int, ...]]:
    return [tuple(table[at : at + 3]) for at in range(0, len(table), 3)]
