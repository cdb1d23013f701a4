"""Mapillary Vistas: 25,000 photographs of streets on six continents, by many cameras, 1920 x 1080 pixels and larger.

Neuhold, Ollmann, Rota Bulò, Kontschieder: The Mapillary Vistas Dataset for Semantic Understanding of Street Scenes.
ICCV 2017. https://www.mapillary.com/dataset/vistas
Evaluation: https://github.com/mapillary/mapillary_vistas, which leaves out the labels whose `evaluate` is false in the
data set's config: one of the 66 in version 1.2, "Unlabeled", and 8 of the 124 in 2.0, with "Person Group" and
"Ambiguous Barrier" among them. Predictions are 8-bit PNGs of label values with the names of the images.
"""

from __future__ import annotations

import os
from pathlib import Path

from atrous.data.io.files import MaskReader, list_images
from atrous.data.mapillary_classes import CLASS_INFO, VALUE_MAPS
from atrous.data.pairs import FilePairs, check_folders, check_split
from atrous.errors import ConfigError

FOLDERS = {"train": "training", "val": "validation", "test": "testing"}  # 18,000, 2,000 and 5,000 images

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
