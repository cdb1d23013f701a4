"""PASCAL VOC 2012: photographs of 20 kinds of objects and background, with SBD's masks for more training images.

Everingham, Van Gool, Williams, Winn, Zisserman: The PASCAL Visual Object Classes Challenge 2012 (VOC2012) Results.
2012. http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ The images are Flickr's, whose terms of use apply.
Hariharan, Arbeláez, Bourdev, Maji, Malik: Semantic Contours from Inverse Detectors (SBD). ICCV 2011.
http://home.bharathh.info/pubs/codes/SBD/download.html
Layout and colour map: the development kit, http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/, VOClabelcolormap.m.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from atrous.data.io.masks import MaskReader
from atrous.data.pairs import FilePairs, check_folders, check_split, read_list
from atrous.types import ClassInfo

SPLITS = ("train", "val", "test")  # 1,464, 1,449 and 1,456 images; trainval has 2,913
# Augmented, train has 10,582 and trainval 12,031 images: mmsegmentation's tools/dataset_converters/voc_aug.py makes the
# same union of the published lists and stops at any other number, and DeepLab counts as many (tensorflow/models,
# research/deeplab/datasets/data_generator.py).


def voc_colors(count: int) -> list[tuple[int, int, int]]:
    """VOC's colour map, distinct for up to 2^24 classes: an index's bits, dealt to R, G and B from the highest down."""

    def channel(index: int, shift: int) -> int:
        return sum((index >> (3 * bit + shift) & 1) << (7 - bit) for bit in range(8))

    return [(channel(i, 0), channel(i, 1), channel(i, 2)) for i in range(count)]


# fmt: off
CLASS_INFO = ClassInfo(
    names=(
        "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
        "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
    ),
    palette=tuple(voc_colors(21)),
    things=tuple(range(1, 21)),
)
# fmt: on

_REMEDY = (
    "Unpack VOCtrainval_11-May-2012.tar of http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ there (and, for the split "
    "test, VOC2012test.tar, for which it wants an account), or set the folder with data.root=... . Expected in it: "
    "VOCdevkit/VOC2012/ with JPEGImages/ SegmentationClass/ ImageSets/Segmentation/. The images are Flickr's, whose terms "
    "of use apply."
)
_MORE = (
    "data.augmented=true adds SBD's masks to train: unpack benchmark.tgz of "
    "http://home.bharathh.info/pubs/codes/SBD/download.html beside VOCdevkit/, as benchmark_RELEASE/; or have the same "
    "masks as DeepLab has them, as PNGs in VOCdevkit/VOC2012/SegmentationClassAug/ with the list "
    "ImageSets/Segmentation/trainaug.txt; or set data.augmented=false for VOC's own 1,464 images. SBD's authors ask to "
    "cite Hariharan et al. 2011."
)


class VOC(FilePairs):
    """One split of VOC 2012: images of up to 500 x 500 pixels, masks of 0 to 20, and 255 at the objects' borders.

    Augmented, train is the images of SBD's train and val and of VOC's train, less those of VOC's val. SBD marks no
    borders; where VOC's train has a mask, that one is read.

    Args:
        root: The folder that holds VOCdevkit/ and, for `augmented`, benchmark_RELEASE/. Where this is missing SBD's masks
            are read from VOCdevkit/VOC2012/SegmentationClassAug/, and ImageSets/Segmentation/trainaug.txt names the
            images or their files.
        split: "train", "val" or "test", which has no labels.
        augmented: Whether train has SBD's images.
        trainval: Whether train has val's images too, as a training has whose predictions go to the test server.

    Raises:
        ConfigError: If there is no such split in VOC 2012.
        DataError: If a folder, list, image or mask is missing.
    """

    def __init__(self, *, root: str | Path, split: str, augmented: bool = True, trainval: bool = False) -> None:
        check_split(split, SPLITS, "VOC 2012")
        root, labelled, remedy = Path(root), split != "test", _REMEDY
        voc, title = f"{root}/VOCdevkit/VOC2012", f"VOC 2012's split {split!r} at {root}"
        folders = ("JPEGImages", "SegmentationClass") if labelled else ("JPEGImages",)
        check_folders(root, ("VOCdevkit/VOC2012",), dataset="VOC 2012", remedy=_REMEDY)
        check_folders(Path(voc), folders, dataset="VOC 2012", remedy=_REMEDY)

        def image_set(name: str, remedy: str = _REMEDY) -> list[str]:
            return read_list(Path(f"{voc}/ImageSets/Segmentation/{name}.txt"), title=title, remedy=remedy)

        own = image_set("trainval" if trainval and split == "train" else split)
        masks = {name: f"{voc}/SegmentationClass/{name}.png" for name in own}
        if augmented and split == "train":
            remedy = f"{_MORE} {_REMEDY}"
            aug = f"{voc}/SegmentationClassAug"
            if os.path.isdir(aug) and not os.path.isdir(root / "benchmark_RELEASE"):
                more = {name: f"{aug}/{name}.png" for name in _stems(image_set("trainaug", _MORE))}
            else:
                more = _of_sbd(root, title)
            for held_out in image_set("val"):
                more.pop(held_out, None)
            masks = more | masks
        names = sorted(masks)
        super().__init__(
            title=title,
            remedy=remedy,
            names=names,
            images=[f"{voc}/JPEGImages/{name}.jpg" for name in names],
            masks=[masks[name] for name in names] if labelled else None,
            reader=MaskReader(class_info=CLASS_INFO),
        )


def _of_sbd(root: Path, title: str) -> dict[str, str]:
    """SBD's masks by name."""
    folder = "benchmark_RELEASE/dataset"
    check_folders(root, (f"{folder}/cls",), dataset="SBD", remedy=_MORE)
    names: list[str] = []
    for split in ("train", "val"):
        names += read_list(root / folder / f"{split}.txt", title=title, remedy=_MORE)
    return {name: f"{root}/{folder}/cls/{name}.mat" for name in names}


def _stems(entries: Sequence[str]) -> list[str]:
    """File names without folder and extension, once each; DeepLab's list has an image's and a mask's in each line."""
    return list(dict.fromkeys(os.path.splitext(os.path.basename(entry))[0] for entry in entries))
