"""Which image file belongs to which mask file: by their names in two folders, or as a CSV file lists them."""

from __future__ import annotations

import csv as csv_module
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile, zip_longest
from pathlib import Path
from typing import NamedTuple

from atrous.data.io.files import IMAGE_SUFFIXES, first_few
from atrous.data.io.listing import UNREAD_SUFFIXES, list_images
from atrous.errors import ConfigError, DataError

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
LAYOUT = "Expected an image file per sample and a mask of the same name in any of the usual formats."


class Pair(NamedTuple):
    name: str
    image: str
    mask: str


class Pairing(NamedTuple):
    """The pairs, and the files that belong to none: masks without an image, images of an unknown format."""

    pairs: list[Pair]
    left_out: tuple[str, ...] = ()


class Names(NamedTuple):
    """How image and mask files are called, each with one `*` for what is the same in both, such as "*_mask".

    A pattern is compared with a file's name without and then with its extension; folders must be the same.
    """

    image: str = "*"
    mask: str = "*"


def from_folders(images: Path, masks: Path, names: Names, *, more_images: Sequence[Path] = ()) -> Pairing:
    """Pairs the images of a folder with the masks of another, or of the same, and the folders below.

    Two forms of one Unicode string are one name.

    Args:
        images: The images' folder. Where the masks' is inside it, that holds no images; and so the other way round.
        masks: The masks' folder.
        names: How they are called.
        more_images: Folders of other splits' images, whose masks are here as well.

    Raises:
        ConfigError: If the images would be their own masks.
        DataError: If there are no images, one has no mask, or two files have one name.
    """
    if images.resolve() == masks.resolve() and names.image == names.mask:
        raise ConfigError(
            f"images and masks are both {images}, and each file would be its own mask. Say what the masks are called, such as "
            "data.mask_name=*_mask or data.mask_suffix=_mask."
        )
    mask_files = _by_key(masks, "masks", names.mask, without=images)
    image_files = _by_key(images, "images", names.image, without=masks)
    if names.image == "*" and images.resolve() == masks.resolve():  # the masks are no images, then
        own = {path for _, path in mask_files.values()}
        image_files = {key: found for key, found in image_files.items() if found[1] not in own}
    if not image_files:
        called = "" if names.image == "*" else f" called {names.image}"
        raise DataError(f"no images{called} in {images}{_other_files(images)}. {LAYOUT}")
    missing = [name for key, (name, _) in image_files.items() if key not in mask_files]
    if missing:
        folder, _, stem = missing[0].rpartition("/")
        expected = masks / folder / f"{names.mask.replace('*', _common(stem, names.image) or stem)}.png"
        raise DataError(
            f"{len(missing)} of {len(image_files)} images in {images} have no mask: {first_few(missing)}. Expected one such "
            f"as {expected}; found in {masks}: {first_few([name for name, _ in mask_files.values()]) or 'none'}"
            f"{_other_files(masks)}. {_remedy(images, masks)}"
        )
    taken = set(image_files).union(*(_by_key(folder, "images", names.image, without=masks) for folder in more_images))
    left_out = [path for key, (_, path) in mask_files.items() if key not in taken]
    left_out += [os.path.join(images, file) for file in list_images(images, suffixes=UNREAD_SUFFIXES)]
    pairs = [Pair(name, path, mask_files[key][1]) for key, (name, path) in image_files.items()]
    return Pairing(pairs, tuple(left_out))


def _by_key(folder: Path, setting: str, pattern: str, *, without: Path) -> dict[str, tuple[str, str]]:
    """What stands for `*` in the files called `pattern`, with the folders before -> name without extension, and path."""
    if not folder.is_dir():
        raise DataError(f"no folder {folder} ({setting}=...). {LAYOUT}")
    inner, whole = os.path.realpath(without), os.path.realpath(folder)
    excluded = os.path.relpath(inner, whole).replace(os.sep, "/") + "/" if inner.startswith(whole + os.sep) else None
    files: dict[str, tuple[str, str]] = {}
    for file in list_images(folder):
        if excluded is not None and file.startswith(excluded):
            continue
        below, _, base = file.rpartition("/")
        name, path = os.path.splitext(file)[0], os.path.join(folder, file)
        common = _common(os.path.splitext(base)[0], pattern)
        common = _common(base, pattern) if common is None else common
        if common is None:
            continue
        key = unicodedata.normalize("NFC", f"{below}/{common}")
        if key in files:
            raise DataError(
                f"{files[key][1]} and {path} have one name; rename one, take it away, say which are meant, such as "
                f"'data.{setting.removesuffix('s')}_name=*{os.path.splitext(file)[1]}', or list the pairs in a CSV file, csv=... ."
            )
        files[key] = name, path
    return files


def _common(name: str, pattern: str) -> str | None:
    """What stands for `*` in a name; None where it is called otherwise."""
    before, _, after = pattern.partition("*")
    fits = len(name) >= len(before) + len(after) and name.startswith(before) and name.endswith(after)
    return name[len(before) : len(name) - len(after)] if fits else None


def _other_files(folder: Path) -> str:
    """What else lies in a folder, for messages: files whose kind is not read as images."""
    others = Counter(os.path.splitext(file)[1].lower() for file in list_images(folder, suffixes=None))
    kinds = [f"{count} {suffix}" for suffix, count in others.most_common() if suffix and suffix not in IMAGE_SUFFIXES]
    return f" (and {first_few(kinds)}, which are not read here)" if kinds else ""


def _remedy(images: Path, masks: Path) -> str:
    """Ends the message of images without masks, with the patterns under which most of their names would fit."""
    (image, image_middles), (mask, mask_middles) = (
        _affixes([os.path.splitext(os.path.basename(file))[0] for file in list_images(folder)])
        for folder in (images, masks)
    )
    fitting = len(image_middles & mask_middles)
    if fitting > 1 and 2 * fitting >= len(image_middles) and image != mask:
        return f"{fitting} fit with 'data.image_name={image}' 'data.mask_name={mask}'."
    return (
        "Add the masks; or say what they are called, such as data.mask_suffix=_mask, or 'data.image_name=img_*' "
        "'data.mask_name=mask_*'; or list the pairs in a CSV file, csv=... ."
    )


def _affixes(names: Sequence[str]) -> tuple[str, set[str]]:
    """The pattern of what all names begin and end with, digits aside, and what stands for its `*`."""
    before = _beginning(names).rstrip("0123456789")
    after = _beginning([name[len(before) :][::-1] for name in names])[::-1].lstrip("0123456789")
    return f"{before}*{after}", {name[len(before) : len(name) - len(after)] for name in names}


def _beginning(names: Sequence[str]) -> str:
    same = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in same)


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
