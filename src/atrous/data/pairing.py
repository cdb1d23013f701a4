"""Which image file belongs to which mask file: by their names in two folders, or as a CSV file lists them."""

from __future__ import annotations

import csv as csv_module
import os
from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from atrous.data.io.files import first_few
from atrous.data.io.listing import list_images
from atrous.errors import DataError

SPLITS = ("train", "val", "test")
SPLIT_WORDS = frozenset(
    [
        "train",
        "training",
        "trn",
        "val",
        "valid",
        "validation",
        "dev",
        "test",
        "testing",
        "tst",
        "eval",
        "evaluation",
        "holdout",
        "hold_out",
    ]
)
_SPLIT_COLUMNS = SPLIT_WORDS | frozenset(
    [
        "splits",
        "subset",
        "set",
        "partition",
        "phase",
        "usage",
        "is_train",
        "is_val",
        "is_valid",
        "is_test",
        "train_test",
        "data_split",
        "dataset_split",
    ]
)
LAYOUT = "Expected an image file per sample and a mask of the same name (plus mask_suffix) in any of the usual formats."


class Pair(NamedTuple):
    name: str
    image: str
    mask: str


def from_folders(images: Path, masks: Path, mask_suffix: str) -> list[Pair]:
    mask_files = _by_name(masks, "masks")
    image_files = _by_name(images, "images")
    if mask_suffix and images.resolve() == masks.resolve():
        image_files = {name: path for name, path in image_files.items() if not name.endswith(mask_suffix)}
    if not image_files:
        raise DataError(f"no images in {images}. {LAYOUT}")
    missing = [name for name in image_files if name + mask_suffix not in mask_files]
    if missing:
        expected = f"{masks / missing[0]}{mask_suffix}.png"
        raise DataError(
            f"{len(missing)} of {len(image_files)} images in {images} have no mask: {first_few(missing)}. Expected one such "
            f"as {expected}; found in {masks}: {first_few(list(mask_files)) or 'none'}. Add the masks, or set mask_suffix."
        )
    return [Pair(name, path, mask_files[name + mask_suffix]) for name, path in image_files.items()]


def _by_name(folder: Path, setting: str) -> dict[str, str]:
    """The image files of a folder by their relative path without extension."""
    if not folder.is_dir():
        raise DataError(f"no folder {folder} ({setting}=...). {LAYOUT}")
    files: dict[str, str] = {}
    for file in list_images(folder):
        name, path = os.path.splitext(file)[0], os.path.join(folder, file)
        if name in files:
            raise DataError(f"{files[name]} and {path} have one name; rename one, or take it away.")
        files[name] = path
    return files


def from_csv(path: Path, split: str, *, exact_names: bool = False) -> tuple[list[Pair], bool]:
    """The CSV's pairs, and whether their split is still to be drawn.

    Spaces around a column's name or a split's, and capitals in them, mean nothing.

    Args:
        path: The file.
        split: Whose lines are taken, where a column says it.
        exact_names: Take no column for the split's but one called exactly so.

    Raises:
        DataError: If it is no such file, a line of it is not complete, or another column than split divides the lines.
    """
    columns, rows = _read_table(path, exact_names=exact_names)
    has_split = "split" in columns
    if not has_split and not exact_names:
        _refuse_hidden_split(path, columns, rows)
    for number, row in enumerate(rows, start=2):
        if has_split:
            row["split"] = row["split"].strip().casefold()
        if not row["image"] or not row["mask"] or (has_split and row["split"] not in SPLITS):
            raise DataError(
                f"{path}, line {number}: image={row['image']!r}, mask={row['mask']!r}"
                + (f", split={row['split']!r}" if has_split else "")
                + "; expected two paths"
                + (f" and one of {', '.join(SPLITS)}." if has_split else ".")
            )
    if has_split:
        there = sorted({row["split"] for row in rows})
        rows = [row for row in rows if row["split"] == split]
        if not rows:
            raise DataError(
                f"{path} has no rows of the split {split!r}, only of {first_few(there) or 'none'}. Add some.",
                kind="absent",
            )
    if not rows:
        raise DataError(f"{path} lists no images. Add a line image,mask for each.")
    folder = path.parent
    pairs = [
        Pair(os.path.splitext(row["image"])[0], os.path.join(folder, row["image"]), os.path.join(folder, row["mask"]))
        for row in rows
    ]
    if len({pair.name for pair in pairs}) < len(pairs):
        counts = Counter(pair.name for pair in pairs)
        raise DataError(
            f"{path} lists {first_few([name for name, n in counts.items() if n > 1])} twice. Delete a line."
        )
    return pairs, not has_split


def refuse_hidden_folders(names: Sequence[str]) -> None:
    """Raises DataError where folders called train, val or test hold samples whose split is to be drawn."""
    levels = zip_longest(*(name.split("/")[:-1] for name in names))
    for level in levels:
        found = sorted({part for part in level if part is not None and part.casefold() in SPLIT_WORDS})
        if len(found) > 1:
            raise DataError(
                f"the samples lie in folders called {', '.join(found)}, and their split would be drawn anew. Name a folder for "
                "each split, 'data.images={train: ..., val: ...}' and masks alike, or give a CSV file with the columns image, "
                "mask and split; rename the folders if they mean something else."
            )


def _read_table(path: Path, *, exact_names: bool) -> tuple[list[str], list[dict[str, str]]]:
    """The names of the columns, and the lines, whose missing cells are empty."""
    if not path.is_file():
        raise DataError(
            f"no file {path} (csv=...). Expected a CSV file with the columns image, mask and perhaps split."
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv_module.reader(file)
            columns = [name if exact_names else name.strip().casefold() for name in next(reader, [])]
            lines = [line for line in reader if line]
    except (UnicodeDecodeError, csv_module.Error) as error:
        raise DataError(f"{path} is no CSV file in UTF-8: {error}. Save it as CSV UTF-8.") from error
    if not {"image", "mask"} <= set(columns):
        raise DataError(
            f"{path} has the columns {first_few(columns) or 'none'}; expected image, mask and perhaps split in its first line."
        )
    twice = [name for name in ("image", "mask", "split") if columns.count(name) > 1]
    if twice:
        raise DataError(f"{path} has {columns.count(twice[0])} columns called {twice[0]}. Keep one.")
    return columns, [dict(zip_longest(columns, line[: len(columns)], fillvalue="")) for line in lines]


def _refuse_hidden_split(path: Path, columns: Sequence[str], rows: Sequence[dict[str, str]]) -> None:
    """Raises DataError for a column that divides the lines under another name, where a split would be drawn anew."""
    for column in columns:
        values = {row[column].strip().casefold() for row in rows} - {""}
        if column in _SPLIT_COLUMNS or (values and values <= SPLIT_WORDS):
            raise DataError(
                f"{path} has no column split, and its column {column!r} with {first_few(sorted(values)) or 'no values'} looks "
                f"like one. Call it split, with {', '.join(SPLITS)} in each line; or delete it, and a split is drawn."
            )
