"""Mapillary Vistas: 25,000 photographs of streets on six continents, by many cameras, 1920 x 1080 pixels and larger.

Neuhold, Ollmann, Rota Bulò, Kontschieder: The Mapillary Vistas Dataset for Semantic Understanding of Street Scenes.
ICCV 2017. https://www.mapillary.com/dataset/vistas
Evaluation: https://github.com/mapillary/mapillary_vistas, which leaves out the labels whose `evaluate` is false in the
data set's config: one of the 66 in version 1.2, "Unlabeled", and 8 of the 124 in 2.0, with "Person Group" and
"Ambiguous Barrier" among them. Predictions are 8-bit PNGs of label values with the names of the images.
Names and colours: mmsegmentation's mmseg/datasets/mapillary.py (MapillaryDataset_v1 and _v2), the colours compared one by
one with those of the data set's config.json in Mask2Former's register_mapillary_vistas.py (1.2) and in a public copy of
config_v2.0.json. The counts are the published ones: 37 things among 66 labels in 1.2; 70 things, 46 stuff and 8 void or
crowd in 2.0.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from atrous.data.io.listing import list_images
from atrous.data.io.masks import MaskReader
from atrous.data.pairs import FilePairs, check_folders, check_split
from atrous.errors import ConfigError
from atrous.types import IGNORE_INDEX, ClassInfo

FOLDERS = {"train": "training", "val": "validation", "test": "testing"}  # 18,000, 2,000 and 5,000 images

Label = tuple[str, tuple[int, int, int], Literal["thing", "stuff", "void"]]

# A label's place is its value in the label files; "thing" is the config's `instances`, "void" its `evaluate: false`.
# fmt: off
LABELS_1_2: tuple[Label, ...] = (
    ("Bird", (165, 42, 42), "thing"), ("Ground Animal", (0, 192, 0), "thing"), ("Curb", (196, 196, 196), "stuff"),
    ("Fence", (190, 153, 153), "stuff"), ("Guard Rail", (180, 165, 180), "stuff"),
    ("Barrier", (90, 120, 150), "stuff"), ("Wall", (102, 102, 156), "stuff"), ("Bike Lane", (128, 64, 255), "stuff"),
    ("Crosswalk - Plain", (140, 140, 200), "thing"), ("Curb Cut", (170, 170, 170), "stuff"),
    ("Parking", (250, 170, 160), "stuff"), ("Pedestrian Area", (96, 96, 96), "stuff"),
    ("Rail Track", (230, 150, 140), "stuff"), ("Road", (128, 64, 128), "stuff"),
    ("Service Lane", (110, 110, 110), "stuff"), ("Sidewalk", (244, 35, 232), "stuff"),
    ("Bridge", (150, 100, 100), "stuff"), ("Building", (70, 70, 70), "stuff"), ("Tunnel", (150, 120, 90), "stuff"),
    ("Person", (220, 20, 60), "thing"), ("Bicyclist", (255, 0, 0), "thing"), ("Motorcyclist", (255, 0, 100), "thing"),
    ("Other Rider", (255, 0, 200), "thing"), ("Lane Marking - Crosswalk", (200, 128, 128), "thing"),
    ("Lane Marking - General", (255, 255, 255), "stuff"), ("Mountain", (64, 170, 64), "stuff"),
    ("Sand", (230, 160, 50), "stuff"), ("Sky", (70, 130, 180), "stuff"), ("Snow", (190, 255, 255), "stuff"),
    ("Terrain", (152, 251, 152), "stuff"), ("Vegetation", (107, 142, 35), "stuff"), ("Water", (0, 170, 30), "stuff"),
    ("Banner", (255, 255, 128), "thing"), ("Bench", (250, 0, 30), "thing"), ("Bike Rack", (100, 140, 180), "thing"),
    ("Billboard", (220, 220, 220), "thing"), ("Catch Basin", (220, 128, 128), "thing"),
    ("CCTV Camera", (222, 40, 40), "thing"), ("Fire Hydrant", (100, 170, 30), "thing"),
    ("Junction Box", (40, 40, 40), "thing"), ("Mailbox", (33, 33, 33), "thing"),
    ("Manhole", (100, 128, 160), "thing"), ("Phone Booth", (142, 0, 0), "thing"),
    ("Pothole", (70, 100, 150), "stuff"), ("Street Light", (210, 170, 100), "thing"),
    ("Pole", (153, 153, 153), "thing"), ("Traffic Sign Frame", (128, 128, 128), "thing"),
    ("Utility Pole", (0, 0, 80), "thing"), ("Traffic Light", (250, 170, 30), "thing"),
    ("Traffic Sign (Back)", (192, 192, 192), "thing"), ("Traffic Sign (Front)", (220, 220, 0), "thing"),
    ("Trash Can", (140, 140, 20), "thing"), ("Bicycle", (119, 11, 32), "thing"), ("Boat", (150, 0, 255), "thing"),
    ("Bus", (0, 60, 100), "thing"), ("Car", (0, 0, 142), "thing"), ("Caravan", (0, 0, 90), "thing"),
    ("Motorcycle", (0, 0, 230), "thing"), ("On Rails", (0, 80, 100), "stuff"),
    ("Other Vehicle", (128, 64, 64), "thing"), ("Trailer", (0, 0, 110), "thing"), ("Truck", (0, 0, 70), "thing"),
    ("Wheeled Slow", (0, 0, 192), "thing"), ("Car Mount", (32, 32, 32), "stuff"),
    ("Ego Vehicle", (120, 10, 10), "stuff"), ("Unlabeled", (0, 0, 0), "void"),
)

LABELS_2_0: tuple[Label, ...] = (
    ("Bird", (165, 42, 42), "thing"), ("Ground Animal", (0, 192, 0), "thing"),
    ("Ambiguous Barrier", (250, 170, 31), "void"), ("Concrete Block", (250, 170, 32), "stuff"),
    ("Curb", (196, 196, 196), "stuff"), ("Fence", (190, 153, 153), "stuff"), ("Guard Rail", (180, 165, 180), "stuff"),
    ("Barrier", (90, 120, 150), "stuff"), ("Road Median", (250, 170, 33), "stuff"),
    ("Road Side", (250, 170, 34), "stuff"), ("Lane Separator", (128, 128, 128), "stuff"),
    ("Temporary Barrier", (250, 170, 35), "thing"), ("Wall", (102, 102, 156), "stuff"),
    ("Bike Lane", (128, 64, 255), "stuff"), ("Crosswalk - Plain", (140, 140, 200), "thing"),
    ("Curb Cut", (170, 170, 170), "stuff"), ("Driveway", (250, 170, 36), "thing"),
    ("Parking", (250, 170, 160), "stuff"), ("Parking Aisle", (250, 170, 37), "stuff"),
    ("Pedestrian Area", (96, 96, 96), "stuff"), ("Rail Track", (230, 150, 140), "stuff"),
    ("Road", (128, 64, 128), "stuff"), ("Road Shoulder", (110, 110, 110), "stuff"),
    ("Service Lane", (110, 110, 110), "stuff"), ("Sidewalk", (244, 35, 232), "stuff"),
    ("Traffic Island", (128, 196, 128), "stuff"), ("Bridge", (150, 100, 100), "stuff"),
    ("Building", (70, 70, 70), "stuff"), ("Garage", (150, 150, 150), "stuff"), ("Tunnel", (150, 120, 90), "stuff"),
    ("Person", (220, 20, 60), "thing"), ("Person Group", (220, 20, 60), "void"), ("Bicyclist", (255, 0, 0), "thing"),
    ("Motorcyclist", (255, 0, 100), "thing"), ("Other Rider", (255, 0, 200), "thing"),
    ("Lane Marking - Dashed Line", (255, 255, 255), "stuff"),
    ("Lane Marking - Straight Line", (255, 255, 255), "stuff"),
    ("Lane Marking - Zigzag Line", (250, 170, 29), "stuff"), ("Lane Marking - Ambiguous", (250, 170, 28), "void"),
    ("Lane Marking - Arrow (Left)", (250, 170, 26), "thing"),
    ("Lane Marking - Arrow (Other)", (250, 170, 25), "thing"),
    ("Lane Marking - Arrow (Right)", (250, 170, 24), "thing"),
    ("Lane Marking - Arrow (Split Left or Straight)", (250, 170, 22), "thing"),
    ("Lane Marking - Arrow (Split Right or Straight)", (250, 170, 21), "thing"),
    ("Lane Marking - Arrow (Straight)", (250, 170, 20), "thing"),
    ("Lane Marking - Crosswalk", (255, 255, 255), "thing"),
    ("Lane Marking - Give Way (Row)", (250, 170, 19), "thing"),
    ("Lane Marking - Give Way (Single)", (250, 170, 18), "thing"),
    ("Lane Marking - Hatched (Chevron)", (250, 170, 12), "stuff"),
    ("Lane Marking - Hatched (Diagonal)", (250, 170, 11), "stuff"),
    ("Lane Marking - Other", (255, 255, 255), "thing"), ("Lane Marking - Stop Line", (255, 255, 255), "thing"),
    ("Lane Marking - Symbol (Bicycle)", (250, 170, 16), "thing"),
    ("Lane Marking - Symbol (Other)", (250, 170, 15), "thing"), ("Lane Marking - Text", (250, 170, 15), "thing"),
    ("Lane Marking (only) - Dashed Line", (255, 255, 255), "stuff"),
    ("Lane Marking (only) - Crosswalk", (255, 255, 255), "stuff"),
    ("Lane Marking (only) - Other", (255, 255, 255), "stuff"),
    ("Lane Marking (only) - Test", (255, 255, 255), "stuff"), ("Mountain", (64, 170, 64), "stuff"),
    ("Sand", (230, 160, 50), "stuff"), ("Sky", (70, 130, 180), "stuff"), ("Snow", (190, 255, 255), "stuff"),
    ("Terrain", (152, 251, 152), "stuff"), ("Vegetation", (107, 142, 35), "stuff"), ("Water", (0, 170, 30), "stuff"),
    ("Banner", (255, 255, 128), "thing"), ("Bench", (250, 0, 30), "thing"), ("Bike Rack", (100, 140, 180), "thing"),
    ("Catch Basin", (220, 128, 128), "thing"), ("CCTV Camera", (222, 40, 40), "thing"),
    ("Fire Hydrant", (100, 170, 30), "thing"), ("Junction Box", (40, 40, 40), "thing"),
    ("Mailbox", (33, 33, 33), "thing"), ("Manhole", (100, 128, 160), "thing"),
    ("Parking Meter", (20, 20, 255), "thing"), ("Phone Booth", (142, 0, 0), "thing"),
    ("Pothole", (70, 100, 150), "stuff"), ("Signage - Advertisement", (250, 171, 30), "thing"),
    ("Signage - Ambiguous", (250, 172, 30), "void"), ("Signage - Back", (250, 173, 30), "thing"),
    ("Signage - Information", (250, 174, 30), "thing"), ("Signage - Other", (250, 175, 30), "thing"),
    ("Signage - Store", (250, 176, 30), "thing"), ("Street Light", (210, 170, 100), "thing"),
    ("Pole", (153, 153, 153), "thing"), ("Pole Group", (153, 153, 153), "void"),
    ("Traffic Sign Frame", (128, 128, 128), "thing"), ("Utility Pole", (0, 0, 80), "thing"),
    ("Traffic Cone", (210, 60, 60), "thing"), ("Traffic Light - General (Single)", (250, 170, 30), "thing"),
    ("Traffic Light - Pedestrians", (250, 170, 30), "thing"),
    ("Traffic Light - General (Upright)", (250, 170, 30), "thing"),
    ("Traffic Light - General (Horizontal)", (250, 170, 30), "thing"),
    ("Traffic Light - Cyclists", (250, 170, 30), "thing"), ("Traffic Light - Other", (250, 170, 30), "thing"),
    ("Traffic Sign - Ambiguous", (192, 192, 192), "void"), ("Traffic Sign (Back)", (192, 192, 192), "thing"),
    ("Traffic Sign - Direction (Back)", (192, 192, 192), "thing"),
    ("Traffic Sign - Direction (Front)", (220, 220, 0), "thing"), ("Traffic Sign (Front)", (220, 220, 0), "thing"),
    ("Traffic Sign - Parking", (0, 0, 196), "thing"), ("Traffic Sign - Temporary (Back)", (192, 192, 192), "thing"),
    ("Traffic Sign - Temporary (Front)", (220, 220, 0), "thing"), ("Trash Can", (140, 140, 20), "thing"),
    ("Bicycle", (119, 11, 32), "thing"), ("Boat", (150, 0, 255), "thing"), ("Bus", (0, 60, 100), "thing"),
    ("Car", (0, 0, 142), "thing"), ("Caravan", (0, 0, 90), "thing"), ("Motorcycle", (0, 0, 230), "thing"),
    ("On Rails", (0, 80, 100), "thing"), ("Other Vehicle", (128, 64, 64), "thing"), ("Trailer", (0, 0, 110), "thing"),
    ("Truck", (0, 0, 70), "thing"), ("Vehicle Group", (0, 0, 142), "void"), ("Wheeled Slow", (0, 0, 192), "thing"),
    ("Water Valve", (170, 170, 170), "thing"), ("Car Mount", (32, 32, 32), "stuff"),
    ("Dynamic", (111, 74, 0), "stuff"), ("Ego Vehicle", (120, 10, 10), "stuff"), ("Ground", (81, 0, 81), "stuff"),
    ("Static", (111, 111, 0), "stuff"), ("Unlabeled", (0, 0, 0), "void"),
)
# fmt: on


def _class_info(labels: Sequence[Label]) -> ClassInfo:
    """The labels that are evaluated; the others are ignored."""
    ids = tuple(value for value, (_, _, kind) in enumerate(labels) if kind != "void")
    return ClassInfo(
        names=tuple(labels[value][0] for value in ids),
        palette=tuple(labels[value][1] for value in ids),
        things=tuple(index for index, value in enumerate(ids) if labels[value][2] == "thing"),
        ids=ids,
    )


def _value_map(labels: Sequence[Label], info: ClassInfo) -> dict[int, int]:
    return dict.fromkeys(range(len(labels)), IGNORE_INDEX) | {value: index for index, value in enumerate(info.ids)}


LABELS = {"1.2": LABELS_1_2, "2.0": LABELS_2_0}
CLASS_INFO = {version: _class_info(labels) for version, labels in LABELS.items()}
VALUE_MAPS = {version: _value_map(labels, CLASS_INFO[version]) for version, labels in LABELS.items()}

_REMEDY = (
    "Ask for the data set at https://www.mapillary.com/dataset/vistas and unpack it there, or set the folder with "
    "data.root=... . Expected in it: training/ validation/ testing/, each with images/, a JPEG per photograph; the "
    "first two also with v1.2/labels/ or v2.0/labels/ (in the releases 1.0 and 1.1 simply labels/, which is version "
    "1.2), a PNG of the same name. It may be used for research only, as the license in the download says."
)


class MapillaryVistas(FilePairs):
    """One split of Mapillary Vistas: images of any size, masks of 0 to 64 (version 2.0: 0 to 115) and 255.

    Args:
        root: The folder that holds training/, validation/ and testing/.
        split: "train", "val" or "test"; test has no labels.
        version: "1.2" (65 classes; also what the releases 1.0 and 1.1 hold) or "2.0" (116); a number will do.

    Raises:
        ConfigError: If there is no such split or version of Mapillary Vistas.
        DataError: If a folder, an image or a mask is missing.
    """

    def __init__(self, *, root: str | Path, split: str, version: str | float = "1.2") -> None:
        check_split(split, FOLDERS, "Mapillary Vistas")
        version = str(version)  # data.version=2.0 on the command line is a number
        if version not in CLASS_INFO:
            raise ConfigError(f"Mapillary Vistas has no version {version!r}; choose one of {', '.join(CLASS_INFO)}.")
        root, folder = Path(root), FOLDERS[split]
        labels = None if split == "test" else f"{folder}/v{version}/labels"
        if labels and version == "1.2" and not (root / labels).is_dir() and (root / folder / "labels").is_dir():
            labels = f"{folder}/labels"
        folders = (f"{folder}/images", labels) if labels else (f"{folder}/images",)
        check_folders(root, folders, dataset=f"Mapillary Vistas {version}", remedy=_REMEDY)
        images = list_images(root / folder / "images")
        names = [os.path.splitext(image)[0] for image in images]
        super().__init__(
            title=f"Mapillary Vistas {version}'s split {split!r} at {root}",
            remedy=_REMEDY,
            names=names,
            images=[f"{root}/{folder}/images/{image}" for image in images],
            masks=[f"{root}/{labels}/{name}.png" for name in names] if labels else None,
            reader=MaskReader(class_info=CLASS_INFO[version], value_map=VALUE_MAPS[version]),
        )
