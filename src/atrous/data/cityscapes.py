"""Cityscapes: frames of 1024 x 2048 pixels, driven in 50 cities; 5,000 are finely labelled and 19,998 more coarsely.

Cordts, Omran, Ramos, Rehfeld, Enzweiler, Benenson, Franke, Roth, Schiele: The Cityscapes Dataset for Semantic Urban
Scene Understanding. CVPR 2016. https://www.cityscapes-dataset.com
Classes, label ids, palette and layout: https://github.com/mcordts/cityscapesScripts, helpers/labels.py and README.
Its evaluation and the server want predictions as PNGs of label ids (`ClassInfo.ids`), one for each frame, in files
called CITY_SEQUENCE_FRAME*.png in any folder; samples are called so.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from atrous.data.io.listing import list_images
from atrous.data.io.masks import MaskReader
from atrous.data.pairs import FilePairs, check_folders, check_split
from atrous.errors import ConfigError
from atrous.types import IGNORE_INDEX, ClassInfo

FOLDERS = ("train", "val", "test", "train_extra")  # 2,975, 500, 1,525 and 19,998 frames
ANNOTATIONS = {"fine": "gtFine", "coarse": "gtCoarse"}

# fmt: off
CLASS_INFO = ClassInfo(
    names=(
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
        "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    ),
    palette=(
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153),
        (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0),
        (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ),
    things=(11, 12, 13, 14, 15, 16, 17, 18),
    ids=(7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33),
)
# fmt: on
# Ids run from 0 to 33; the licence plate's is -1, which 8 bits store as 255.
VALUE_MAP = dict.fromkeys((*range(34), 255), IGNORE_INDEX) | {value: i for i, value in enumerate(CLASS_INFO.ids)}

_IMAGE_END = "_leftImg8bit.png"
_CORRUPT = f"troisdorf/troisdorf_000000_000073{_IMAGE_END}"  # of train_extra: published all black
_REMEDY = (
    "Register at https://www.cityscapes-dataset.com, unpack leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip "
    "there (for coarse labels also gtCoarse.zip, for train_extra leftImg8bit_trainextra.zip), or set the folder with "
    "data.root=... . Expected in it: leftImg8bit/SPLIT/CITY/*_leftImg8bit.png, gtFine/SPLIT/CITY/*_gtFine_labelIds.png "
    "and gtCoarse/SPLIT/CITY/*_gtCoarse_labelIds.png. Its terms allow non-commercial use only: "
    "https://www.cityscapes-dataset.com/license."
)


class Cityscapes(FilePairs):
    """One split of Cityscapes: images (1024, 2048, 3), masks (1024, 2048) of 0 to 18 and 255.

    Args:
        root: The folder that holds leftImg8bit/ and gtFine/ or gtCoarse/.
        split: "train", "val", "test" or "train_extra"; test has no labels.
        annotation: Which labels of train and val are read, "fine" or "coarse"; train_extra has coarse ones only.
        folders: The published splits that make up this one, such as ["train", "train_extra"] or ["train", "val"] for
            training. None: the split of this name.

    Raises:
        ConfigError: If there is no such split or annotation in Cityscapes, or test is mixed with labelled splits.
        DataError: If a folder, an image or a mask is missing.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        split: str,
        annotation: str = "fine",
        folders: str | Sequence[str] | None = None,
    ) -> None:
        if annotation not in ANNOTATIONS:
            raise ConfigError(f"Cityscapes has no annotation {annotation!r}; choose one of {', '.join(ANNOTATIONS)}.")
        check_split(split, FOLDERS, "Cityscapes")
        parts = (
            (split,) if folders is None else (folders,) if isinstance(folders, str) else tuple(dict.fromkeys(folders))
        )
        for part in parts:
            check_split(part, FOLDERS, "Cityscapes")
        labelled = "test" not in parts
        if not labelled and len(parts) > 1:
            raise ConfigError(
                f"Cityscapes folders={list(parts)}: test has no labels and can't be mixed with others; leave it out."
            )
        root = Path(root)
        names, images, masks = [], [], []
        for part in parts:
            labels = "gtCoarse" if part == "train_extra" else ANNOTATIONS[annotation]
            wanted = [f"{kind}/{part}" for kind in ("leftImg8bit", labels)[: 1 + labelled]]
            check_folders(root, wanted, dataset="Cityscapes", remedy=_REMEDY)
            for frame in list_images(root / "leftImg8bit" / part):
                if not frame.endswith(_IMAGE_END) or frame == _CORRUPT:
                    continue
                name = frame.removesuffix(_IMAGE_END)
                names.append(name)
                images.append(f"{root}/leftImg8bit/{part}/{frame}")
                masks.append(f"{root}/{labels}/{part}/{name}_{labels}_labelIds.png")
        super().__init__(
            title=f"Cityscapes' split {split!r} at {root}",
            remedy=_REMEDY,
            names=names,
            images=images,
            masks=masks if labelled else None,
            reader=MaskReader(class_info=CLASS_INFO, value_map=VALUE_MAP),
        )
