"""Anybody's own images and masks, in two folders or listed in a CSV file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from atrous.data.annotations.masks import Classes, masks_of_annotations
from atrous.data.drawn_split import Division, drawn_split, labels_of
from atrous.data.io.files import Color, first_few
from atrous.data.io.masks import MaskReader
from atrous.data.listed_pairs import from_csv, refuse_hidden_folders
from atrous.data.pairing import LAYOUT, SPLITS, Names, Pair, Pairing, from_folders
from atrous.data.pairs import FilePairs
from atrous.data.voc import voc_colors
from atrous.errors import ConfigError, DataError
from atrous.types import IGNORE_INDEX, ClassInfo


class Folder(FilePairs):
    """One split of a data set of image and mask files.

    Where the files come from, one of:

    - `images` and `masks`, a folder each: a mask has its image's path and name, or what `image_name` and `mask_name`
      say, with any extension; the split is drawn.
    - `images` and `masks`, a mapping from split to folder each.
    - `images` and `annotations`, either way: outlines in a COCO, LabelMe, Cityscapes, YOLO or CVAT file or folder, drawn
      as masks by `masks_of_annotations`.
    - `csv`: a file with the columns image and mask, relative to the file's own folder, and perhaps split (train, val
      or test); without it the split is drawn.

    A split is drawn by the samples' names and `split_seed`, see `drawn_split`.

    Args:
        split: "train", "val" or "test".
        class_names: One name per class, in the order of their indices.
        images: The images' folder, or one for each split.
        masks: The masks' folder, or one for each split.
        annotations: A file of annotations or a folder of them, or one for each split.
        csv: The CSV file.
        mask_suffix: What a mask's name has after its image's, such as "_mask": short for `mask_name` "*_mask".
        image_name: How the images are called, with a `*` for what their masks' names have as well, such as "img_*".
        mask_name: How the masks are called, such as "mask_*".
        value_map: From the values stored in the masks to class indices, such as {0: 0, 255: 1}; a value that it does
            not name is an error. None: the masks store class indices and `ignore_index`. Of annotations: from labels.
        unannotated: The class index or ignore index of pixels in no outline of annotations. None: 0, unless that is a
            label of theirs.
        mask_threshold: For two classes whose masks have soft edges: values from this one on are class 1, see `MaskReader`.
        nearest_value: Read a value of no class as the nearest of `value_map`, and a colour as the nearest of `palette`.
        palette: (R, G, B) per class. Given, RGB masks and indexed ones are read by colour.
        ignore_colors: Colours of ignored pixels in such masks.
        ignore_index: The class index of ignored pixels.
        val_fraction: Share of a drawn val split, 0 to 1.
        test_fraction: Share of a drawn test split, 0 to 1.
        split_seed: Another seed draws other splits.
        split_rule: "rank"; "hash" as runs of before it, which also took any other column than `split` for none and
            looked neither for train and val folders among those of a split to be drawn nor for files that belong to none.
        folds: Val is one of so many equal parts of what is not test, instead of `val_fraction`.
        fold: Which of them, 0 to folds - 1.
        group: What samples belong together by: a column of the CSV, or a regular expression whose first group is looked
            for in their names, such as "^(.*?)_". A drawn split or fold gets all of a group or none.
        stratify: As `group`: a drawn split or fold gets its share of the samples of each value.
        cache_folder: Where masks of annotations are kept.

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
        annotations: str | Mapping[str, str] | None = None,
        csv: str | None = None,
        mask_suffix: str = "",
        image_name: str = "*",
        mask_name: str = "*",
        value_map: Mapping[Any, int] | None = None,
        unannotated: int | None = None,
        mask_threshold: float | None = None,
        nearest_value: bool = False,
        palette: Sequence[Sequence[int]] | None = None,
        ignore_colors: Sequence[Sequence[int]] = (),
        ignore_index: int = IGNORE_INDEX,
        val_fraction: float = 0.2,
        test_fraction: float = 0.0,
        split_seed: int = 0,
        split_rule: str = "rank",
        folds: int | None = None,
        fold: int | None = None,
        group: str | None = None,
        stratify: str | None = None,
        cache_folder: str | None = None,
    ) -> None:
        if split not in SPLITS:
            raise ConfigError(f"no split {split!r}; choose one of {', '.join(SPLITS)}.")
        division = Division(val_fraction, test_fraction, split_seed, split_rule, folds, fold)
        colors = [_color(color) for color in palette] if palette is not None else voc_colors(len(class_names))
        try:
            class_info = ClassInfo(tuple(class_names), tuple(colors), ignore_index)
        except ValueError as error:
            raise ConfigError(f"class_names, palette and ignore_index don't fit: {error}") from error
        by_color = {} if palette is None else dict(zip(colors, range(len(colors)), strict=True))
        by_color |= {_color(color): ignore_index for color in ignore_colors}
        if palette is not None and len(by_color) < len(colors) + len(ignore_colors):
            raise ConfigError("palette and ignore_colors name a colour twice; give each class its own.")
        names = _names(image_name, mask_name, mask_suffix)
        drawn = True
        left_out: tuple[str, ...] = ()
        key, files = ("masks", masks) if annotations is None else ("annotations", annotations)
        if masks is not None and annotations is not None:
            raise ConfigError(f"masks={masks} and annotations={annotations}: give one of them.")

        _refuse_unused(
            "annotations" if annotations is not None else None,
            mask_threshold=mask_threshold,
            nearest_value=nearest_value or None,
            ignore_colors=list(ignore_colors) or None,
        )
        _refuse_unused(None if annotations is not None else "masks that are images", unannotated=unannotated)
        if csv is not None:
            _refuse_unused(
                "csv",
                image_name=None if image_name == "*" else image_name,
                mask_name=None if mask_name == "*" else mask_name,
            )

        stored = MaskReader(class_info=class_info)
        if annotations is None:
            stored = MaskReader(
                class_info=class_info,
                value_map=value_map,
                colors=by_color,
                threshold=mask_threshold,
                nearest=nearest_value,
            )

        def paired(images: str, files: str, more: Sequence[str] = ()) -> Pairing:
            more_images = [Path(folder) for folder in more]
            if annotations is None:
                return from_folders(Path(images), Path(files), names, more_images=more_images)
            classes = Classes(class_info, value_map, unannotated)
            return masks_of_annotations(
                Path(images), Path(files), names, classes, folder=cache_folder, more_images=more_images
            )

        if csv is not None and images is None and files is None:
            pairs, drawn = from_csv(Path(csv), split, exact_names=split_rule == "hash")
        elif csv is None and isinstance(images, str) and isinstance(files, str):
            pairs, left_out = paired(images, files)
        elif csv is None and isinstance(images, Mapping) and isinstance(files, Mapping):
            drawn = False
            if split not in images or split not in files:
                raise DataError(
                    f"no folders for the split {split!r}: images has {first_few(list(images)) or 'none'}, {key} has "
                    f"{first_few(list(files)) or 'none'}. Add images.{split}=... and {key}.{split}=... .",
                    kind="absent",
                )
            same = [images[other] for other, place in files.items() if other in images and place == files[split]]
            pairs, left_out = paired(images[split], files[split], same)
        else:
            raise ConfigError(
                f"images={images}, masks={masks}, annotations={annotations}, csv={csv}: give images with masks or annotations (two "
                "places, or one for each split of both), or csv alone."
            )
        if drawn:
            pairs = _drawn(pairs, split, division, group=group, stratify=stratify)
        elif folds is not None or group is not None or stratify is not None:
            raise ConfigError(
                f"folds={folds}, group={group}, stratify={stratify} are for splits that are drawn; here they are given. Leave them "
                "out, or give one folder, or a CSV file without the column split."
            )
        super().__init__(
            title=f"the split {split!r}",
            remedy=LAYOUT if csv is None else f"Paths in {csv} start at its folder.",
            names=[pair.name for pair in pairs],
            images=[pair.image for pair in pairs],
            masks=[pair.mask for pair in pairs],
            reader=stored,
            left_out=() if split_rule == "hash" else left_out,
        )


def _drawn(
    pairs: Sequence[Pair], split: str, division: Division, *, group: str | None, stratify: str | None
) -> list[Pair]:
    """The pairs that a drawn split gets."""
    names = [pair.name for pair in pairs]
    if division.rule != "hash":
        refuse_hidden_folders(names)

    def labels(key: str, value: str | None) -> list[str] | None:
        if value is None:
            return None
        column = value.strip().casefold()
        if column not in pairs[0].columns:
            return labels_of(names, value, key)
        found = [pair.columns[column] for pair in pairs]
        if "" in found:
            raise DataError(f"{key}={value}: the column is empty for {names[found.index('')]!r}. Fill it in each line.")
        return found

    splits = drawn_split(names, division, groups=labels("group", group), strata=labels("stratify", stratify))
    found = [pair for pair, drawn_for in zip(pairs, splits, strict=True) if drawn_for == split]
    if not found:
        raise DataError(
            f"the split {split!r} is empty: of {len(names)} samples, {splits.count('train')} are train, {splits.count('val')} val "
            f"and {splits.count('test')} test, by val_fraction={division.val} and test_fraction={division.test}. "
            f"{_more(split, len(names))}",
            kind="absent" if split == "test" and division.test == 0 else "",
        )
    return found


def _color(color: Sequence[int]) -> Color:
    if len(color) != 3 or not all(isinstance(part, int) and 0 <= part <= 255 for part in color):
        raise ConfigError(f"colour {list(color)} is impossible; expected [red, green, blue], each 0 to 255.")
    return color[0], color[1], color[2]


def _refuse_unused(beside: str | None, **settings: Any) -> None:
    """Raises ConfigError for a setting that would mean nothing beside another one."""
    for key, value in settings.items():
        if beside is not None and value is not None:
            raise ConfigError(f"{key}={value} means nothing for {beside}; leave it out.")


def _names(image_name: str, mask_name: str, mask_suffix: str) -> Names:
    for key, pattern in {"image_name": image_name, "mask_name": mask_name}.items():
        if pattern.count("*") != 1 or "/" in pattern:
            raise ConfigError(
                f"{key}={pattern} is impossible; give a name with one * for what images and masks have in common, such as img_*, "
                "without folders."
            )
    if mask_suffix and mask_name != "*":
        raise ConfigError(f"mask_suffix={mask_suffix} and mask_name={mask_name} say the same; give one of them.")
    return Names(image_name, f"*{mask_suffix}" if mask_suffix else mask_name)


def _more(split: str, total: int) -> str:
    """What can be done about an empty split."""
    if split == "train":
        return "Lower val_fraction and test_fraction."
    same = (
        ""
        if split == "test"
        else ", or validate on the images that train: 'data.images={train: F, val: F}', masks alike"
    )
    return f"Raise {split}_fraction{same}." if total > 1 else f"Add images{same}."
