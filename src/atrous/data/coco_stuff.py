"""COCO-Stuff: COCO's photographs with every pixel labelled, 80 classes of things and 91 of stuff.

Caesar, Uijlings, Ferrari: COCO-Stuff: Thing and Stuff Classes in Context. CVPR 2018. https://arxiv.org/abs/1612.03716
164k: https://github.com/nightrome/cocostuff, 10k: https://github.com/nightrome/cocostuff10k, whose READMEs give the
layouts. The annotations are under CC BY 4.0; the images are Flickr's, whose terms of use apply.
"""

from __future__ import annotations

import os
from pathlib import Path

from atrous.data.coco_stuff_classes import IDS, NAMES, PALETTE, THINGS
from atrous.data.io.files import MaskReader, list_images
from atrous.data.pairs import FilePairs, check_folders, check_split, read_list
from atrous.errors import ConfigError
from atrous.types import ClassInfo

SPLITS = ("train", "val", "test")  # 118,287, 5,000 and 40,670 images; of 10k 9,000 and 1,000, which are val and test
_IDS = {"164k": tuple(number - 1 for number in IDS), "10k": IDS}  # as the versions' masks store them
_UNLABELLED = {"164k": 255, "10k": 0}
CLASS_INFO = {version: ClassInfo(names=NAMES, palette=PALETTE, things=THINGS, ids=ids) for version, ids in _IDS.items()}
VALUE_MAPS = {
    version: {value: index for index, value in enumerate(info.ids)} | {_UNLABELLED[version]: info.ignore_index}
    for version, info in CLASS_INFO.items()
}

_TERMS = "The annotations are under CC BY 4.0; the images are Flickr's, whose terms of use apply."
_REMEDIES = {
    "164k": (
        "Follow https://github.com/nightrome/cocostuff (train2017.zip, val2017.zip and, for the split test, test2017.zip of "
        "cocodataset.org, and stuffthingmaps_trainval2017.zip), or set the folder with data.root=... . Expected in it: "
        "images/train2017/ images/val2017/ images/test2017/, each with JPEGs, and annotations/train2017/ "
        "annotations/val2017/, each with a PNG of an image's name; files *_labelTrainIds.png beside them are not read. "
        + _TERMS
    ),
    "10k": (
        "Unpack cocostuff-10k-v1.1.zip of https://github.com/nightrome/cocostuff10k there, or set the folder with "
        "data.root=... . Expected in it: images/ with JPEGs, annotations/ with a .mat file of an image's name, and "
        "imageLists/; a converter for mmsegmentation moves the images elsewhere. " + _TERMS
    ),
}


class COCOStuff(FilePairs):
    """One split of COCO-Stuff: images of up to 640 x 640 pixels, masks of 0 to 170 and 255.

    Args:
        root: The folder that holds images/ and annotations/.
        split: "train", "val" or "test"; 164k's test has no labels, and 10k's is its val.
        version: "164k" or "10k".

    Raises:
        ConfigError: If there is no such split or version of COCO-Stuff.
        DataError: If a folder, list, image or mask is missing.
    """

    def __init__(self, *, root: str | Path, split: str, version: str = "164k") -> None:
        check_split(split, SPLITS, "COCO-Stuff")
        if version not in CLASS_INFO:
            raise ConfigError(f"COCO-Stuff has no version {version!r}; choose one of {', '.join(CLASS_INFO)}.")
        root, remedy = Path(root), _REMEDIES[version]
        dataset = f"COCO-Stuff {version}"
        title = f"{dataset}'s split {split!r} at {root}"
        labelled = version == "10k" or split != "test"
        below = f"/{split}2017" if version == "164k" else ""
        folders = (f"images{below}", f"annotations{below}") if labelled else (f"images{below}",)
        check_folders(root, folders, dataset=dataset, remedy=remedy)
        if version == "164k":
            suffix = ".png"
            names = [os.path.splitext(file)[0] for file in list_images(root / folders[0], suffixes={".jpg"})]
        else:
            suffix = ".mat"
            list_name = "train" if split == "train" else "test"
            names = read_list(root / "imageLists" / f"{list_name}.txt", title=title, remedy=remedy)
        super().__init__(
            title=title,
            remedy=remedy,
            names=names,
            images=[f"{root}/images{below}/{name}.jpg" for name in names],
            masks=[f"{root}/annotations{below}/{name}{suffix}" for name in names] if labelled else None,
            reader=MaskReader(class_info=CLASS_INFO[version], value_map=VALUE_MAPS[version]),
        )
