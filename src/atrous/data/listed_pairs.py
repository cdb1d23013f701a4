"""The pairs of images and masks that a CSV file lists, and divisions of a data set that are there but not called so."""

from __future__ import annotations

import csv as csv_module
import os
from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from atrous.data.io.files import first_few
from atrous.data.pairing import SPLITS, Pair
from atrous.errors import DataError

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
        Pair(
            os.path.splitext(row["image"])[0],
            os.path.join(folder, row["image"]),
            os.path.join(folder, row["mask"]),
            row,
        )
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
