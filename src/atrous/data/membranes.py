"""ISBI 2012's electron microscopy stacks: membranes between the neurons of a fruit fly larva, 30 slices of 512 x 512.

Arganda-Carreras, Turaga, Berger, et al.: Crowdsourcing the creation of image segmentation algorithms for
connectomics. Frontiers in Neuroanatomy 9, 2015. https://imagej.net/events/isbi-2012-segmentation-challenge
Data: Cardona, Saalfeld, Preibisch, et al.: An Integrated Micro- and Macroarchitectural Analysis of the Drosophila Brain
by Computer-Assisted Serial Section Electron Microscopy. PLoS Biology 8(10), 2010.
Terms: free "for the purpose of generating or testing non-commercial image segmentation software"; publications must
cite TrakEM2 and Cardona et al. 2010.

The labels are white for cells and black for membranes, as U-Net's paper (Ronneberger et al., MICCAI 2015) describes them.
The challenge gives no val split: the last slices of the stack serve, in one block, because neighbours look alike.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from atrous.data.io.files import BROKEN
from atrous.data.io.listing import list_images
from atrous.data.io.masks import MaskReader
from atrous.data.io.remote import open_file
from atrous.data.pairs import FilePairs, check_folders, check_split
from atrous.errors import ConfigError, DataError
from atrous.types import ClassInfo, RawSample

SPLITS = ("train", "val", "test")
CLASS_INFO = ClassInfo(names=("membrane", "cell"), palette=((0, 0, 0), (255, 255, 255)), things=(1,), ids=(0, 255))
VALUE_MAP = {0: 0, 255: 1}

_REMEDY = (
    "Get the stacks from https://imagej.net/events/isbi-2012-segmentation-challenge, or set the folder with "
    "data.root=... . Expected in it: train-volume.tif, train-labels.tif and test-volume.tif; or the slices as files, "
    "train/image/0.png, train/label/0.png, test/0.png and so on, as the folder data/membrane of "
    "https://github.com/zhixuhao/unet has them. The data are for non-commercial segmentation software."
)


class Membranes:
    """One split of the stacks: images (512, 512, 3) of three equal channels, masks (512, 512) of 0 and 1.

    Args:
        root: The folder that holds the TIFF stacks, or train/ and test/ with one PNG per slice.
        split: "train", "val" or "test"; the test stack's labels are not published.
        val_slices: How many slices at the end of the training stack are the val split.

    Raises:
        ConfigError: If there is no such split, or `val_slices` leaves one of the two without slices.
        DataError: If the folder, a stack, a slice or its label is missing, or a stack can't be read.
    """

    def __init__(self, *, root: str | Path, split: str, val_slices: int = 6) -> None:
        check_split(split, SPLITS, "ISBI 2012")
        root = Path(root)
        check_folders(root, (), dataset="ISBI 2012", remedy=_REMEDY)
        source = "test" if split == "test" else "train"
        stack, labels = root / f"{source}-volume.tif", None if split == "test" else root / "train-labels.tif"
        self._slices: _Stack | FilePairs
        if stack.is_file():
            self._slices = _Stack(stack, labels, split, val_slices)
        else:
            self._slices = _files(root, source, split, val_slices)
        self.class_info = CLASS_INFO
        self.labelled = self._slices.labelled

    def __len__(self) -> int:
        return len(self._slices)

    def __getitem__(self, index: int) -> RawSample:
        """Reads sample `index`.

        Raises:
            DataError: If a slice is damaged, the sizes differ, or the labels hold a value other than 0 and 255.
        """
        return self._slices[index]

    def cache_key(self) -> str:
        """Twenty hex digits of the files' names, sizes and times and of which slices are read; opens no file."""
        return self._slices.cache_key()


class _Stack:
    """The slices of one split, out of TIFF stacks that are read at once."""

    def __init__(self, images: Path, labels: Path | None, split: str, val_slices: int) -> None:
        self.labelled = labels is not None
        self._files = [path for path in (images, labels) if path is not None]
        if labels is not None and not labels.is_file():
            raise DataError(f"no labels {labels} beside {images.name}. {_REMEDY}")
        stacks = [_read_stack(path) for path in self._files]
        self._images, self._labels = stacks[0], stacks[-1]
        count, label_count = map(len, (self._images, self._labels))
        if labels is not None and count != label_count:
            raise DataError(
                f"{images} has {count} slices, but {labels.name} {label_count}; one is incomplete. {_REMEDY}"
            )
        self._pages = _of_split(range(count), split, val_slices)

    def __len__(self) -> int:
        return len(self._pages)

    def __getitem__(self, index: int) -> RawSample:
        page, path = self._pages[index], self._files[-1]
        image = np.repeat(self._images[page][..., None], 3, axis=2)  # (H, W) -> (H, W, 3)
        name = f"{self._files[0].stem.removesuffix('-volume')}/{page}"
        if not self.labelled:
            return RawSample(image, np.full(image.shape[:2], CLASS_INFO.ignore_index, np.uint8), name)
        stored = self._labels[page]
        if stored.shape != image.shape[:2]:
            raise DataError(
                f"{path}, slice {page}, is {stored.shape[0]} x {stored.shape[1]}, its image "
                f"{image.shape[0]} x {image.shape[1]} pixels (height x width); they must be equal. {_REMEDY}",
                kind="size",
                path=path,
            )
        wrong = np.setdiff1d(stored, list(VALUE_MAP))
        if len(wrong):
            raise DataError(
                f"{path}, slice {page}: label values {', '.join(map(str, wrong[:5]))}; expected 0 (membrane) and "
                f"255 (cell) alone. Copy the stack again.",
                kind="values",
                path=path,
            )
        return RawSample(image, (stored == 255).astype(np.uint8), name)

    def cache_key(self) -> str:
        digest = hashlib.sha256(repr((CLASS_INFO, VALUE_MAP, self._pages)).encode())
        for path in self._files:
            status = os.stat(path)
            digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
        return digest.hexdigest()[:20]


def _files(root: Path, source: str, split: str, val_slices: int) -> FilePairs:
    """The slices of `split` as PNG files in the order of their numbers; the predictions among them are left out."""
    images, labels = ("test", None) if source == "test" else ("train/image", "train/label")
    folders = [folder for folder in (images, labels) if folder]
    if not all((root / folder).is_dir() for folder in folders):
        raise DataError(f"ISBI 2012 at {root} has neither {source}-volume.tif nor {' and '.join(folders)}. {_REMEDY}")
    stems = [file.removesuffix(".png") for file in list_images(root / images, suffixes={".png"})]
    ordered = sorted(filter(str.isdecimal, stems), key=int)
    numbers = [ordered[position] for position in _of_split(range(len(ordered)), split, val_slices)]
    return FilePairs(
        title=f"ISBI 2012's split {split!r} at {root}",
        remedy=_REMEDY,
        names=[f"{source}/{number}" for number in numbers],
        images=[f"{root}/{images}/{number}.png" for number in numbers],
        masks=labels and [f"{root}/{labels}/{number}.png" for number in numbers],
        reader=MaskReader(class_info=CLASS_INFO, value_map=VALUE_MAP),
    )


def _of_split(slices: range, split: str, val_slices: int) -> range:
    """The positions in a stack of a split's slices: for val the last ones, for test all."""
    if split == "test" or not slices:
        return slices
    if not 0 < val_slices < len(slices):
        raise ConfigError(
            f"val_slices={val_slices} of {len(slices)} slices; expected 1 to {len(slices) - 1}. Set data.val_slices=6."
        )
    return slices[:-val_slices] if split == "train" else slices[-val_slices:]


def _read_stack(path: Path) -> list[NDArray[np.uint8]]:
    """The pages of a TIFF, each (H, W)."""
    pages = []
    try:
        with open_file(path) as file, Image.open(file) as stack:
            for number, page in enumerate(ImageSequence.Iterator(stack)):
                if page.mode != "L":
                    message = f"{path}, slice {number}: Pillow's mode {page.mode}; expected 8 bits of grey. {_REMEDY}"
                    raise DataError(message, kind="mode", path=path)
                pages.append(np.array(page))
    except (*BROKEN, Image.DecompressionBombError) as error:
        message = f"{path} is no complete TIFF stack: {error}. Copy it again."
        raise DataError(message, kind="damaged", path=path) from error
    return pages
