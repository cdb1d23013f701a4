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

from atrous.data.io.listing import list_images
from atrous.data.io.masks import MaskReader
from atrous.data.pairs import FilePairs, check_folders, check_split
from atrous.errors import ConfigError
from atrous.types import IGNORE_INDEX, ClassInfo

FOLDERS = {"train": "training", "val": "validation", "test": "testing"}  # 18,000, 2,000 and 5,000 images

Label = tuple[str, tuple[int, int, int], str]
T, S, V = "thing", "stuff", "void"  # the config's `instances`, its others, and its `evaluate: false`

# A label's place is its value in the label files.
# fmt: off
LABELS_1_2: tuple[Label, ...] = (
    ("Bird", (165, 42, 42), T), ("Ground Animal", (0, 192, 0), T), ("Curb", (196, 196, 196), S),
    ("Fence", (190, 153, 153), S), ("Guard Rail", (180, 165, 180), S), ("Barrier", (90, 120, 150), S),
    ("Wall", (102, 102, 156), S), ("Bike Lane", (128, 64, 255), S), ("Crosswalk - Plain", (140, 140, 200), T),
    ("Curb Cut", (170, 170, 170), S), ("Parking", (250, 170, 160), S), ("Pedestrian Area", (96, 96, 96), S),
    ("Rail Track", (230, 150, 140), S), ("Road", (128, 64, 128), S), ("Service Lane", (110, 110, 110), S),
    ("Sidewalk", (244, 35, 232), S), ("Bridge", (150, 100, 100), S), ("Building", (70, 70, 70), S),
    ("Tunnel", (150, 120, 90), S), ("Person", (220, 20, 60), T), ("Bicyclist", (255, 0, 0), T),
    ("Motorcyclist", (255, 0, 100), T), ("Other Rider", (255, 0, 200), T),
    ("Lane Marking - Crosswalk", (200, 128, 128), T), ("Lane Marking - General", (255, 255, 255), S),
    ("Mountain", (64, 170, 64), S), ("Sand", (230, 160, 50), S), ("Sky", (70, 130, 180), S),
    ("Snow", (190, 255, 255), S), ("Terrain", (152, 251, 152), S), ("Vegetation", (107, 142, 35), S),
    ("Water", (0, 170, 30), S), ("Banner", (255, 255, 128), T), ("Bench", (250, 0, 30), T),
    ("Bike Rack", (100, 140, 180), T), ("Billboard", (220, 220, 220), T), ("Catch Basin", (220, 128, 128), T),
    ("CCTV Camera", (222, 40, 40), T), ("Fire Hydrant", (100, 170, 30), T), ("Junction Box", (40, 40, 40), T),
    ("Mailbox", (33, 33, 33), T), ("Manhole", (100, 128, 160), T), ("Phone Booth", (142, 0, 0), T),
    ("Pothole", (70, 100, 150), S), ("Street Light", (210, 170, 100), T), ("Pole", (153, 153, 153), T),
    ("Traffic Sign Frame", (128, 128, 128), T), ("Utility Pole", (0, 0, 80), T), ("Traffic Light", (250, 170, 30), T),
    ("Traffic Sign (Back)", (192, 192, 192), T), ("Traffic Sign (Front)", (220, 220, 0), T),
    ("Trash Can", (140, 140, 20), T), ("Bicycle", (119, 11, 32), T), ("Boat", (150, 0, 255), T),
    ("Bus", (0, 60, 100), T), ("Car", (0, 0, 142), T), ("Caravan", (0, 0, 90), T), ("Motorcycle", (0, 0, 230), T),
    ("On Rails", (0, 80, 100), S), ("Other Vehicle", (128, 64, 64), T), ("Trailer", (0, 0, 110), T),
    ("Truck", (0, 0, 70), T), ("Wheeled Slow", (0, 0, 192), T), ("Car Mount", (32, 32, 32), S),
    ("Ego Vehicle", (120, 10, 10), S), ("Unlabeled", (0, 0, 0), V),
)

LABELS_2_0: tuple[Label, ...] = (
    ("Bird", (165, 42, 42), T), ("Ground Animal", (0, 192, 0), T), ("Ambiguous Barrier", (250, 170, 31), V),
    ("Concrete Block", (250, 170, 32), S), ("Curb", (196, 196, 196), S), ("Fence", (190, 153, 153), S),
    ("Guard Rail", (180, 165, 180), S), ("Barrier", (90, 120, 150), S), ("Road Median", (250, 170, 33), S),
    ("Road Side", (250, 170, 34), S), ("Lane Separator", (128, 128, 128), S), ("Temporary Barrier", (250, 170, 35), T),
    ("Wall", (102, 102, 156), S), ("Bike Lane", (128, 64, 255), S), ("Crosswalk - Plain", (140, 140, 200), T),
    ("Curb Cut", (170, 170, 170), S), ("Driveway", (250, 170, 36), T), ("Parking", (250, 170, 160), S),
    ("Parking Aisle", (250, 170, 37), S), ("Pedestrian Area", (96, 96, 96), S), ("Rail Track", (230, 150, 140), S),
    ("Road", (128, 64, 128), S), ("Road Shoulder", (110, 110, 110), S), ("Service Lane", (110, 110, 110), S),
    ("Sidewalk", (244, 35, 232), S), ("Traffic Island", (128, 196, 128), S), ("Bridge", (150, 100, 100), S),
    ("Building", (70, 70, 70), S), ("Garage", (150, 150, 150), S), ("Tunnel", (150, 120, 90), S),
    ("Person", (220, 20, 60), T), ("Person Group", (220, 20, 60), V), ("Bicyclist", (255, 0, 0), T),
    ("Motorcyclist", (255, 0, 100), T), ("Other Rider", (255, 0, 200), T),
    ("Lane Marking - Dashed Line", (255, 255, 255), S), ("Lane Marking - Straight Line", (255, 255, 255), S),
    ("Lane Marking - Zigzag Line", (250, 170, 29), S), ("Lane Marking - Ambiguous", (250, 170, 28), V),
    ("Lane Marking - Arrow (Left)", (250, 170, 26), T), ("Lane Marking - Arrow (Other)", (250, 170, 25), T),
    ("Lane Marking - Arrow (Right)", (250, 170, 24), T),
    ("Lane Marking - Arrow (Split Left or Straight)", (250, 170, 22), T),
    ("Lane Marking - Arrow (Split Right or Straight)", (250, 170, 21), T),
    ("Lane Marking - Arrow (Straight)", (250, 170, 20), T), ("Lane Marking - Crosswalk", (255, 255, 255), T),
    ("Lane Marking - Give Way (Row)", (250, 170, 19), T), ("Lane Marking - Give Way (Single)", (250, 170, 18), T),
    ("Lane Marking - Hatched (Chevron)", (250, 170, 12), S), ("Lane Marking - Hatched (Diagonal)", (250, 170, 11), S),
    ("Lane Marking - Other", (255, 255, 255), T), ("Lane Marking - Stop Line", (255, 255, 255), T),
    ("Lane Marking - Symbol (Bicycle)", (250, 170, 16), T), ("Lane Marking - Symbol (Other)", (250, 170, 15), T),
    ("Lane Marking - Text", (250, 170, 15), T), ("Lane Marking (only) - Dashed Line", (255, 255, 255), S),
    ("Lane Marking (only) - Crosswalk", (255, 255, 255), S), ("Lane Marking (only) - Other", (255, 255, 255), S),
    ("Lane Marking (only) - Test", (255, 255, 255), S), ("Mountain", (64, 170, 64), S), ("Sand", (230, 160, 50), S),
    ("Sky", (70, 130, 180), S), ("Snow", (190, 255, 255), S), ("Terrain", (152, 251, 152), S),
    ("Vegetation", (107, 142, 35), S), ("Water", (0, 170, 30), S), ("Banner", (255, 255, 128), T),
    ("Bench", (250, 0, 30), T), ("Bike Rack", (100, 140, 180), T), ("Catch Basin", (220, 128, 128), T),
    ("CCTV Camera", (222, 40, 40), T), ("Fire Hydrant", (100, 170, 30), T), ("Junction Box", (40, 40, 40), T),
    ("Mailbox", (33, 33, 33), T), ("Manhole", (100, 128, 160), T), ("Parking Meter", (20, 20, 255), T),
    ("Phone Booth", (142, 0, 0), T), ("Pothole", (70, 100, 150), S), ("Signage - Advertisement", (250, 171, 30), T),
    ("Signage - Ambiguous", (250, 172, 30), V), ("Signage - Back", (250, 173, 30), T),
    ("Signage - Information", (250, 174, 30), T), ("Signage - Other", (250, 175, 30), T),
    ("Signage - Store", (250, 176, 30), T), ("Street Light", (210, 170, 100), T), ("Pole", (153, 153, 153), T),
    ("Pole Group", (153, 153, 153), V), ("Traffic Sign Frame", (128, 128, 128), T), ("Utility Pole", (0, 0, 80), T),
    ("Traffic Cone", (210, 60, 60), T), ("Traffic Light - General (Single)", (250, 170, 30), T),
    ("Traffic Light - Pedestrians", (250, 170, 30), T), ("Traffic Light - General (Upright)", (250, 170, 30), T),
    ("Traffic Light - General (Horizontal)", (250, 170, 30), T), ("Traffic Light - Cyclists", (250, 170, 30), T),
    ("Traffic Light - Other", (250, 170, 30), T), ("Traffic Sign - Ambiguous", (192, 192, 192), V),
    ("Traffic Sign (Back)", (192, 192, 192), T), ("Traffic Sign - Direction (Back)", (192, 192, 192), T),
    ("Traffic Sign - Direction (Front)", (220, 220, 0), T), ("Traffic Sign (Front)", (220, 220, 0), T),
    ("Traffic Sign - Parking", (0, 0, 196), T), ("Traffic Sign - Temporary (Back)", (192, 192, 192), T),
    ("Traffic Sign - Temporary (Front)", (220, 220, 0), T), ("Trash Can", (140, 140, 20), T),
    ("Bicycle", (119, 11, 32), T), ("Boat", (150, 0, 255), T), ("Bus", (0, 60, 100), T), ("Car", (0, 0, 142), T),
    ("Caravan", (0, 0, 90), T), ("Motorcycle", (0, 0, 230), T), ("On Rails", (0, 80, 100), T),
    ("Other Vehicle", (128, 64, 64), T), ("Trailer", (0, 0, 110), T), ("Truck", (0, 0, 70), T),
    ("Vehicle Group", (0, 0, 142), V), ("Wheeled Slow", (0, 0, 192), T), ("Water Valve", (170, 170, 170), T),
    ("Car Mount", (32, 32, 32), S), ("Dynamic", (111, 74, 0), S), ("Ego Vehicle", (120, 10, 10), S),
    ("Ground", (81, 0, 81), S), ("Static", (111, 111, 0), S), ("Unlabeled", (0, 0, 0), V),
)
# fmt: on


def _class_info(labels: Sequence[Label]) -> ClassInfo:
    """The labels that are evaluated; the others are ignored."""
    ids = tuple(value for value, (_, _, kind) in enumerate(labels) if kind != V)
    return ClassInfo(
        names=tuple(labels[value][0] for value in ids),
        palette=tuple(labels[value][1] for value in ids),
        things=tuple(index for index, value in enumerate(ids) if labels[value][2] == T),
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
