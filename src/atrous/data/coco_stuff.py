"""COCO-Stuff: COCO's photographs with every pixel labelled, 80 classes of things and 91 of stuff.

Caesar, Uijlings, Ferrari: COCO-Stuff: Thing and Stuff Classes in Context. CVPR 2018. https://arxiv.org/abs/1612.03716
164k: https://github.com/nightrome/cocostuff, 10k: https://github.com/nightrome/cocostuff10k, whose READMEs give the
layouts. The annotations are under CC BY 4.0; the images are Flickr's, whose terms of use apply.
Names and numbers of classes: labels.txt of the first. Colours are VOC's map at a class's number: the authors draw theirs
with Matlab's random numbers, and mmsegmentation's repeat.
"""

from __future__ import annotations

import os
from pathlib import Path

from atrous.data.io.listing import list_images
from atrous.data.io.masks import MaskReader
from atrous.data.pairs import FilePairs, check_folders, check_split, read_list
from atrous.data.voc import voc_colors
from atrous.errors import ConfigError
from atrous.types import ClassInfo

SPLITS = ("train", "val", "test")  # 118,287, 5,000 and 40,670 images; of 10k 9,000 and 1,000, which are val and test
# COCO numbers its 91 things from 1 to 91, and 11 of them have no masks; stuff has 92 to 182, and 0 is unlabelled.
# fmt: off
_NAMES = {
    1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus", 7: "train", 8: "truck", 9: "boat",
    10: "traffic light", 11: "fire hydrant", 13: "stop sign", 14: "parking meter", 15: "bench", 16: "bird", 17: "cat",
    18: "dog", 19: "horse", 20: "sheep", 21: "cow", 22: "elephant", 23: "bear", 24: "zebra", 25: "giraffe",
    27: "backpack", 28: "umbrella", 31: "handbag", 32: "tie", 33: "suitcase", 34: "frisbee", 35: "skis",
    36: "snowboard", 37: "sports ball", 38: "kite", 39: "baseball bat", 40: "baseball glove", 41: "skateboard",
    42: "surfboard", 43: "tennis racket", 44: "bottle", 46: "wine glass", 47: "cup", 48: "fork", 49: "knife",
    50: "spoon", 51: "bowl", 52: "banana", 53: "apple", 54: "sandwich", 55: "orange", 56: "broccoli", 57: "carrot",
    58: "hot dog", 59: "pizza", 60: "donut", 61: "cake", 62: "chair", 63: "couch", 64: "potted plant", 65: "bed",
    67: "dining table", 70: "toilet", 72: "tv", 73: "laptop", 74: "mouse", 75: "remote", 76: "keyboard",
    77: "cell phone", 78: "microwave", 79: "oven", 80: "toaster", 81: "sink", 82: "refrigerator", 84: "book",
    85: "clock", 86: "vase", 87: "scissors", 88: "teddy bear", 89: "hair drier", 90: "toothbrush", 92: "banner",
    93: "blanket", 94: "branch", 95: "bridge", 96: "building-other", 97: "bush", 98: "cabinet", 99: "cage",
    100: "cardboard", 101: "carpet", 102: "ceiling-other", 103: "ceiling-tile", 104: "cloth", 105: "clothes",
    106: "clouds", 107: "counter", 108: "cupboard", 109: "curtain", 110: "desk-stuff", 111: "dirt", 112: "door-stuff",
    113: "fence", 114: "floor-marble", 115: "floor-other", 116: "floor-stone", 117: "floor-tile", 118: "floor-wood",
    119: "flower", 120: "fog", 121: "food-other", 122: "fruit", 123: "furniture-other", 124: "grass", 125: "gravel",
    126: "ground-other", 127: "hill", 128: "house", 129: "leaves", 130: "light", 131: "mat", 132: "metal",
    133: "mirror-stuff", 134: "moss", 135: "mountain", 136: "mud", 137: "napkin", 138: "net", 139: "paper",
    140: "pavement", 141: "pillow", 142: "plant-other", 143: "plastic", 144: "platform", 145: "playingfield",
    146: "railing", 147: "railroad", 148: "river", 149: "road", 150: "rock", 151: "roof", 152: "rug", 153: "salad",
    154: "sand", 155: "sea", 156: "shelf", 157: "sky-other", 158: "skyscraper", 159: "snow", 160: "solid-other",
    161: "stairs", 162: "stone", 163: "straw", 164: "structural-other", 165: "table", 166: "tent",
    167: "textile-other", 168: "towel", 169: "tree", 170: "vegetable", 171: "wall-brick", 172: "wall-concrete",
    173: "wall-other", 174: "wall-panel", 175: "wall-stone", 176: "wall-tile", 177: "wall-wood", 178: "water-other",
    179: "waterdrops", 180: "window-blind", 181: "window-other", 182: "wood",
}
# fmt: on
_THINGS = sum(number < 92 for number in _NAMES)  # 80
_COLORS = voc_colors(max(_NAMES) + 1)
_IDS = {"164k": tuple(number - 1 for number in _NAMES), "10k": tuple(_NAMES)}  # as the versions' masks store them
_UNLABELLED = {"164k": 255, "10k": 0}
CLASS_INFO = {
    version: ClassInfo(
        tuple(_NAMES.values()), tuple(_COLORS[number] for number in _NAMES), things=tuple(range(_THINGS)), ids=ids
    )
    for version, ids in _IDS.items()
}
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
