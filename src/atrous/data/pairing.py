"""Which image file belongs to which mask file: by their names in two folders, or as an annotation file lists them."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from atrous.data.io.files import IMAGE_SUFFIXES, first_few
from atrous.data.io.listing import UNREAD_SUFFIXES, list_images
from atrous.errors import ConfigError, DataError

SPLITS = ("train", "val", "test")
LAYOUT = "Expected an image file per sample and a mask of the same name in any of the usual formats."


class Pair(NamedTuple):
    name: str
    image: str
    mask: str
    columns: Mapping[str, str] = {}  # of a CSV file's line


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


def from_folders(
    images: Path,
    masks: Path,
    names: Names,
    *,
    more_images: Sequence[Path] = (),
    suffixes: Collection[str] = IMAGE_SUFFIXES,
    setting: str = "masks",
) -> Pairing:
    """Pairs the images of a folder with the masks of another, or of the same, and the folders below.

    Two forms of one Unicode string are one name.

    Args:
        images: The images' folder. Where the masks' is inside it, that holds no images; and so the other way round.
        masks: The masks' folder.
        names: How they are called.
        more_images: Folders of other splits' images, whose masks are here as well.
        suffixes: Of the masks' files.
        setting: What the user calls the masks' folder.

    Raises:
        ConfigError: If the images would be their own masks.
        DataError: If there are no images, one has no mask, or two files have one name.
    """
    together = images.resolve() == masks.resolve() and suffixes == IMAGE_SUFFIXES
    if together and names.image == names.mask:
        raise ConfigError(
            f"images and masks are both {images}, and each file would be its own mask. Say what the masks are called, such as "
            "data.mask_name=*_mask or data.mask_suffix=_mask."
        )
    mask_files = _by_key(masks, setting, names.mask, suffixes, without=images)
    image_files = _by_key(images, "images", names.image, without=masks)
    if names.image == "*" and together:  # the masks are no images, then
        own = {path for _, path in mask_files.values()}
        image_files = {key: found for key, found in image_files.items() if found[1] not in own}
    if not image_files:
        called = "" if names.image == "*" else f" called {names.image}"
        raise DataError(f"no images{called} in {images}{_other_files(images)}. {LAYOUT}")
    missing = [name for key, (name, _) in image_files.items() if key not in mask_files]
    if missing:
        folder, _, stem = missing[0].rpartition("/")
        expected = (
            masks
            / folder
            / f"{names.mask.replace('*', _common(stem, names.image) or stem)}{'.png' if suffixes == IMAGE_SUFFIXES else min(suffixes)}"
        )
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


def _by_key(
    folder: Path, setting: str, pattern: str, suffixes: Collection[str] = IMAGE_SUFFIXES, *, without: Path
) -> dict[str, tuple[str, str]]:
    """What stands for `*` in the files called `pattern`, with the folders before -> name without extension, and path."""
    if not folder.is_dir():
        raise DataError(f"no folder {folder} ({setting}=...). {LAYOUT}")
    inner, whole = os.path.realpath(without), os.path.realpath(folder)
    excluded = os.path.relpath(inner, whole).replace(os.sep, "/") + "/" if inner.startswith(whole + os.sep) else None
    files: dict[str, tuple[str, str]] = {}
    for file in list_images(folder, suffixes=suffixes):
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
                f"'data.{'image' if setting == 'images' else 'mask'}_name=*{os.path.splitext(file)[1]}', or list the pairs in a CSV file, csv=... ."
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
    outlines = [suffix for suffix in (".json", ".xml", ".txt") if suffix in others]
    hint = ", annotations=... reads outlines as masks" if outlines else ""
    return f" (and {first_few(kinds)}, which are no images{hint})" if kinds else ""


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


def with_listed(images: Path, listed: Collection[str], source: Path, *, more_images: Sequence[Path] = ()) -> Pairing:
    """Pairs the images of a folder with the names under which a file lists them, which stand in the place of masks.

    A name with other folders before it is compared by its end, where that is one image's alone.

    Args:
        images: The images' folder.
        listed: The names.
        source: The file.
        more_images: Folders of other splits' images, which are listed as well.

    Raises:
        DataError: If there are no images, or one is not listed.
    """
    if not images.is_dir():
        raise DataError(f"no folder {images} (images=...). {LAYOUT}")
    elsewhere = {unicodedata.normalize("NFC", file) for folder in more_images for file in list_images(folder)}
    whole = {unicodedata.normalize("NFC", name.replace("\\", "/")): name for name in listed}
    ends = Counter(name.rpartition("/")[2] for name in whole)
    by_end = {name.rpartition("/")[2]: given for name, given in whole.items() if ends[name.rpartition("/")[2]] == 1}
    pairs, missing = [], []
    for file in list_images(images):
        name = unicodedata.normalize("NFC", file)
        given = whole.get(name) or by_end.get(name.rpartition("/")[2])
        if given is None:
            missing.append(file)
        else:
            pairs.append(Pair(os.path.splitext(file)[0], os.path.join(images, file), given))
    if missing or not pairs:
        raise DataError(
            f"{len(missing)} of {len(missing) + len(pairs)} images in {images} are not in {source}: {first_few(missing) or 'none'}; it "
            f"lists {first_few(list(listed)) or 'none'}. Take them away, or annotate them; an image without objects is listed, too."
        )
    taken = {pair.mask for pair in pairs}
    if len(taken) < len(pairs):
        twice = Counter(pair.mask for pair in pairs).most_common(1)[0][0]
        raise DataError(f"several images in {images} are {twice} of {source}. Lay them as it lists them.")
    elsewhere |= {file.rpartition("/")[2] for file in elsewhere}
    alone = [
        given for name, given in whole.items() if given not in taken and not {name, name.rpartition("/")[2]} & elsewhere
    ]
    left_out = [f"{given} of {source}" for given in alone]
    left_out += [os.path.join(images, file) for file in list_images(images, suffixes=UNREAD_SUFFIXES)]
    return Pairing(pairs, tuple(left_out))
