"""Anybody's own images and masks, in two folders or listed in a CSV file."""

from __future__ import annotations

import csv as csv_module
import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from atrous.data.io.files import Color, first_few
from atrous.data.io.listing import list_images
from atrous.data.io.masks import MaskReader
from atrous.data.pairs import FilePairs
from atrous.data.voc import voc_colors
from atrous.errors import ConfigError, DataError
from atrous.types import IGNORE_INDEX, ClassInfo

SPLITS = ("train", "val", "test")
_LAYOUT = (
    "Expected an image file per sample and a mask of the same name (plus mask_suffix) in any of the usual formats."
)


class Folder(FilePairs):
    """One split of a data set of image and mask files.

    Where the files come from, one of:

    - `images` and `masks`, a folder each: a mask has its image's path and name, plus `mask_suffix`, with any extension;
      the split is drawn.
    - `images` and `masks`, a mapping from split to folder each.
    - `csv`: a file with the columns image and mask, relative to the file's own folder, and perhaps split (train, val
      or test); without it the split is drawn.

    A drawn split depends on a sample's name and `split_seed` alone: new files move none of the old ones.

    Args:
        split: "train", "val" or "test".
        class_names: One name per class, in the order of their indices.
        images: The images' folder, or one for each split.
        masks: The masks' folder, or one for each split.
        csv: The CSV file.
        mask_suffix: What a mask's name has after its image's, such as "_mask".
        value_map: From the values stored in the masks to class indices, such as {0: 0, 255: 1}; a value that it does
            not name is an error. None: the masks store class indices and `ignore_index`.
        palette: (R, G, B) per class. Given, RGB masks and indexed ones are read by colour.
        ignore_colors: Colours of ignored pixels in such masks.
        ignore_index: The class index of ignored pixels.
        val_fraction: Share of a drawn val split, 0 to 1.
        test_fraction: Share of a drawn test split, 0 to 1.
        split_seed: Another seed draws other splits.

    Raises:
        ConfigError: If settings are missing, contradict each other or are outside their range.
        DataError: If a folder, file, column or mask is missing, or the split is empty.
    """

    def __init__(
        self,
        *,
        split: str,
        class_names: Sequence[str],
        images: str | Mapping[str, str] | None = None,
        masks: str | Mapping[str, str] | None = None,
        csv: str | None = None,
        mask_suffix: str = "",
        value_map: Mapping[int, int] | None = None,
        palette: Sequence[Sequence[int]] | None = None,
        ignore_colors: Sequence[Sequence[int]] = (),
        ignore_index: int = IGNORE_INDEX,
        val_fraction: float = 0.2,
        test_fraction: float = 0.0,
        split_seed: int = 0,
    ) -> None:
        if split not in SPLITS:
            raise ConfigError(f"no split {split!r}; choose one of {', '.join(SPLITS)}.")
        if min(val_fraction, test_fraction) < 0 or val_fraction + test_fraction >= 1:
            raise ConfigError(
                f"val_fraction={val_fraction} and test_fraction={test_fraction}: expected numbers from 0, with a sum "
                "below 1, such as 0.2 and 0."
            )
        colors = [_color(color) for color in palette] if palette is not None else voc_colors(len(class_names))
        try:
            class_info = ClassInfo(tuple(class_names), tuple(colors), ignore_index)
        except ValueError as error:
            raise ConfigError(f"class_names, palette and ignore_index don't fit: {error}") from error
        by_color = {} if palette is None else dict(zip(colors, range(len(colors)), strict=True))
        by_color |= {_color(color): ignore_index for color in ignore_colors}
        if palette is not None and len(by_color) < len(colors) + len(ignore_colors):
            raise ConfigError("palette and ignore_colors name a colour twice; give each class its own.")
        reader = MaskReader(class_info=class_info, value_map=value_map, colors=by_color)

        drawn = True
        if csv is not None and images is None and masks is None:
            pairs, drawn = _from_csv(Path(csv), split)
        elif csv is None and isinstance(images, str) and isinstance(masks, str):
            pairs = _from_folders(Path(images), Path(masks), mask_suffix)
        elif csv is None and isinstance(images, Mapping) and isinstance(masks, Mapping):
            drawn = False
            if split not in images or split not in masks:
                raise DataError(
                    f"no folders for the split {split!r}: images has {first_few(list(images)) or 'none'}, masks has "
                    f"{first_few(list(masks)) or 'none'}. Add images.{split}=... and masks.{split}=... ."
                )
            pairs = _from_folders(Path(images[split]), Path(masks[split]), mask_suffix)
        else:
            raise ConfigError(
                f"images={images}, masks={masks}, csv={csv}: give images and masks (two folders, or a folder for each "
                "split), or csv alone."
            )
        if drawn:
            total = len(pairs)
            shares = {"val": val_fraction, "test": test_fraction}
            pairs = [pair for pair in pairs if _draw(pair.name, shares, split_seed) == split]
            if not pairs:
                raise DataError(
                    f"the split {split!r} is empty: none of {total} samples fell to it with val_fraction={val_fraction} "
                    f"and test_fraction={test_fraction}. Raise {split}_fraction, or choose another split_seed."
                    if split != "train"
                    else f"the split 'train' is empty: all {total} samples fell to val and test. Lower val_fraction."
                )
        super().__init__(
            title=f"the split {split!r}",
            remedy=_LAYOUT if csv is None else f"Paths in {csv} start at its folder.",
            names=[pair.name for pair in pairs],
            images=[pair.image for pair in pairs],
            masks=[pair.mask for pair in pairs],
            reader=reader,
        )


class _Pair(NamedTuple):
    name: str
    image: str
    mask: str


def _from_folders(images: Path, masks: Path, mask_suffix: str) -> list[_Pair]:
    mask_files = _by_name(masks, "masks")
    image_files = _by_name(images, "images")
    if mask_suffix and images.resolve() == masks.resolve():
        image_files = {name: path for name, path in image_files.items() if not name.endswith(mask_suffix)}
    if not image_files:
        raise DataError(f"no images in {images}. {_LAYOUT}")
    missing = [name for name in image_files if name + mask_suffix not in mask_files]
    if missing:
        expected = f"{masks / missing[0]}{mask_suffix}.png"
        raise DataError(
            f"{len(missing)} of {len(image_files)} images in {images} have no mask: {first_few(missing)}. Expected one such "
            f"as {expected}; found in {masks}: {first_few(list(mask_files)) or 'none'}. Add the masks, or set mask_suffix."
        )
    return [_Pair(name, path, mask_files[name + mask_suffix]) for name, path in image_files.items()]


def _by_name(folder: Path, setting: str) -> dict[str, str]:
    """The image files of a folder by their relative path without extension."""
    if not folder.is_dir():
        raise DataError(f"no folder {folder} ({setting}=...). {_LAYOUT}")
    files: dict[str, str] = {}
    for file in list_images(folder):
        name, path = os.path.splitext(file)[0], os.path.join(folder, file)
        if name in files:
            raise DataError(f"{files[name]} and {path} have one name; rename one, or take it away.")
        files[name] = path
    return files


def _from_csv(path: Path, split: str) -> tuple[list[_Pair], bool]:
    """The CSV's pairs, and whether their split is still to be drawn."""
    if not path.is_file():
        raise DataError(
            f"no file {path} (csv=...). Expected a CSV file with the columns image, mask and perhaps split."
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv_module.DictReader(file)
            rows, columns = list(reader), list(reader.fieldnames or ())
    except (UnicodeDecodeError, csv_module.Error) as error:
        raise DataError(f"{path} is no CSV file in UTF-8: {error}. Save it as CSV UTF-8.") from error
    if not {"image", "mask"} <= set(columns):
        raise DataError(
            f"{path} has the columns {first_few(columns) or 'none'}; expected image, mask and perhaps split in its first line."
        )
    has_split = "split" in columns
    for number, row in enumerate(rows, start=2):
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
                f"{path} has no rows of the split {split!r}, only of {first_few(there) or 'none'}. Add some."
            )
    if not rows:
        raise DataError(f"{path} lists no images. Add a line image,mask for each.")
    folder = path.parent
    pairs = [
        _Pair(os.path.splitext(row["image"])[0], os.path.join(folder, row["image"]), os.path.join(folder, row["mask"]))
        for row in rows
    ]
    if len({pair.name for pair in pairs}) < len(pairs):
        counts = Counter(pair.name for pair in pairs)
        raise DataError(
            f"{path} lists {first_few([name for name, n in counts.items() if n > 1])} twice. Delete a line."
        )
    return pairs, not has_split


def _draw(name: str, shares: Mapping[str, float], seed: int) -> str:
    """The split of a name: test, then val, then train along a hash's way from 0 to 1."""
    position = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8]) / 2**64
    if position < shares["test"]:
        return "test"
    return "val" if position < shares["test"] + shares["val"] else "train"


def _color(color: Sequence[int]) -> Color:
    if len(color) != 3 or not all(isinstance(part, int) and 0 <= part <= 255 for part in color):
        raise ConfigError(f"colour {list(color)} is impossible; expected [red, green, blue], each 0 to 255.")
    return color[0], color[1], color[2]
