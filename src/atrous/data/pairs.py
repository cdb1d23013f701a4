"""Datasets of one image file and one mask file per sample, as nearly all on disk are."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atrous.data.io.files import Mask, first_few, is_jpeg, read_image
from atrous.data.io.masks import MaskReader
from atrous.errors import ConfigError, DataError
from atrous.types import RawSample


class FilePairs:
    """A split whose images, and masks if it has any, are files.

    Paths are kept as one array of bytes: worker processes share it, so that memory does not grow with the dataset.

    Args:
        title: Its name in messages, such as "CamVid's split 'train' at data/camvid".
        remedy: The end of messages: where to get the data set, and the layout expected.
        names: One stable, unique, path-like name per sample.
        images: The image files.
        masks: The mask files. None: the split has no labels, and every pixel is ignored.
        reader: Turns mask files into class indices.
        left_out: Files beside them that belong to no sample and might be meant to; told by a check.

    Raises:
        DataError: If there are no images, or files are missing.
    """

    def __init__(
        self,
        *,
        title: str,
        remedy: str,
        names: Sequence[str],
        images: Sequence[str | Path],
        masks: Sequence[str | Path] | None,
        reader: MaskReader,
        left_out: Sequence[str] = (),
    ) -> None:
        if not names:
            raise DataError(f"{title} has no images. {remedy}")
        for kind, paths in (("images", images), ("masks", masks or ())):
            missing = missing_files(paths)
            if missing:
                raise DataError(
                    f"{title}: {len(missing)} of {len(paths)} {kind} are missing: {first_few(missing)}. {remedy}"
                )
        self.class_info = reader.class_info
        self.labelled = masks is not None
        self.left_out = tuple(left_out)
        self._reader = reader
        self._names = _packed(names)
        self._images = _packed(images)
        self._masks = None if masks is None else _packed(masks)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> RawSample:
        """Reads sample `index` at full size, see `read`."""
        return self.read(index)

    def read(self, index: int, *, reduction: int = 1) -> RawSample:
        """Reads sample `index`: image uint8 RGB (H, W, 3), mask (H, W) of class indices and the ignore index.

        Args:
            index: Which.
            reduction: 2, 4 or 8: the image of a JPEG with a mask comes as (ceil(H / reduction), ceil(W / reduction), 3).

        Raises:
            DataError: If a file is damaged, the sizes differ, or the mask holds a value or colour of no class.
        """
        name, image = os.fsdecode(self._names[index]), self.image_path(index)
        mask = self.mask_path(index)
        if mask is None:
            pixels = read_image(image)
            return RawSample(pixels, np.full(pixels.shape[:2], self.class_info.ignore_index, np.int32), name)
        return read_pair(image, mask, name, self._reader, reduction=reduction)

    def image_path(self, index: int) -> Path:
        """The image file of sample `index`."""
        return Path(os.fsdecode(self._images[index]))

    def mask_path(self, index: int) -> Path | None:
        """The mask file of sample `index`; None where the split has no labels."""
        return None if self._masks is None else Path(os.fsdecode(self._masks[index]))

    @property
    def indexed_values(self) -> tuple[int, ...] | None:
        """The values of classes in indexed masks; None where these are read by their colours."""
        return None if self._reader.colors else self._reader.values

    def mask(self, index: int) -> Mask | None:
        """The mask of sample `index` alone, (H, W); None where the split has no labels.

        Raises:
            DataError: If the file is damaged, or holds a value or colour of no class.
        """
        path = self.mask_path(index)
        return None if path is None else self._reader(path)

    def cache_key(self) -> str:
        """Twenty hex digits of the names, sizes and times of all files and of how masks are read; opens no file."""
        digest = hashlib.sha256(self._reader.key() + self._names.tobytes() + "\n".join(self.left_out).encode())
        for paths in (self._images, self._masks if self._masks is not None else ()):
            for path in paths:
                status = os.stat(path)
                digest.update(b"%s %d %d\n" % (os.path.basename(path), status.st_size, status.st_mtime_ns))
        return digest.hexdigest()[:20]


def read_pair(image_path: Path, mask_path: Path, name: str, reader: MaskReader, *, reduction: int = 1) -> RawSample:
    """Reads an image, reduced as `read_image` has it, with its mask.

    Raises:
        DataError: If either can't be read, the mask holds a value that is no class, or their sizes differ.
    """
    image, mask = read_image(image_path, reduction=reduction), reader(mask_path)
    reduced = is_jpeg(image_path) and image.shape[:2] == tuple(-(-side // reduction) for side in mask.shape)
    if image.shape[:2] != mask.shape and not reduced:
        if reduction > 1:
            return read_pair(image_path, mask_path, name, reader)  # its message has the whole sizes
        swapped = image.shape[:2] == mask.shape[::-1]
        raise DataError(
            f"{mask_path} is {mask.shape[0]} x {mask.shape[1]}, its image {image_path} {image.shape[0]} x "
            f"{image.shape[1]} pixels (height x width); they must be equal. "
            + ("One of them is turned: save both without an EXIF rotation." if swapped else "Make the mask anew."),
            kind="turned" if swapped else "size",
            path=mask_path,
        )
    return RawSample(image, mask, name)


def check_split(split: str, splits: Iterable[str], dataset: str) -> None:
    """Raises ConfigError where `dataset` has no such split."""
    if split not in splits:
        raise ConfigError(f"{dataset} has no split {split!r}; choose one of {', '.join(splits)}.")


def check_folders(root: Path, folders: Iterable[str], *, dataset: str, remedy: str) -> None:
    """Raises DataError where `root`, or one of `folders` in it, is not there."""
    if not root.is_dir():
        raise DataError(f"no {dataset} folder at {root}. {remedy}")
    missing = [folder for folder in folders if not (root / folder).is_dir()]
    if missing:
        there = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
        raise DataError(
            f"{dataset} at {root} lacks the folder {', '.join(missing)}; there are: {first_few(there) or 'none'}. {remedy}"
        )


def read_list(path: Path, *, title: str, remedy: str) -> list[str]:
    """The lines of a split's list of names, empty ones left out.

    Raises:
        DataError: If the file is missing.
    """
    if not path.is_file():
        raise DataError(f"{title}: no list {path}. {remedy}")
    return path.read_text(encoding="utf-8-sig").split()


def missing_files(paths: Iterable[str | Path]) -> list[str]:
    """Finds the `paths` that are no files, by listing each folder once."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        folder, name = os.path.split(path)
        by_folder[folder].append(name)
    missing = []
    for folder, names in by_folder.items():
        try:
            with os.scandir(folder or ".") as entries:
                there = {
                    entry.name for entry in entries if entry.is_file(follow_symlinks=False) or os.path.isfile(entry)
                }
        except OSError:
            there = set()
        missing += [os.path.join(folder, name) for name in names if name not in there]
    return missing


def _packed(strings: Iterable[str | Path]) -> NDArray[np.bytes_]:
    return np.array([os.fsencode(string) for string in strings], dtype=np.bytes_)
