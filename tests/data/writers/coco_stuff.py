"""COCO-Stuff's two versions as their authors lay them out."""

from pathlib import Path

import numpy as np
from fixtures import blocks, image_of
from PIL import Image
from scipy.io import savemat

# Numbers of the things that have no masks, by the README of https://github.com/nightrome/cocostuff: blender, desk, door,
# eye glasses, hair brush, hat, mirror, plate, shoe, street sign, window.
UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
NUMBERS = np.setdiff1d(np.arange(183), UNUSED)  # 0, unlabelled, and 171 classes
COUNTS = {"164k": {"train": 5, "val": 2, "test": 2}, "10k": {"train": 5, "test": 3}}


def write_coco_stuff(
    root: Path,
    *,
    version: str = "164k",
    splits: dict[str, int] | None = None,
    size: tuple[int, int] = (48, 64),
    seed: int = 0,
) -> Path:
    """`splits` maps train, val and test (164k), or train and test (10k), to numbers of images.

    Every second image is upright, and the first of each split grey.
    """
    rng = np.random.default_rng(seed)
    write = {"164k": _write_164k, "10k": _write_10k}[version]
    first = 0
    for split, count in (splits or COUNTS[version]).items():
        names = []
        for number in range(first, first + count):
            numbers = NUMBERS[blocks(rng, len(NUMBERS), size if number % 2 else size[::-1])].astype(np.uint8)
            image = Image.fromarray(image_of(numbers, rng))
            names.append(write(root, split, number * 7 + 9, image.convert("L") if number == first else image, numbers))
        first += count
        if version == "10k":
            (root / "imageLists").mkdir(exist_ok=True)
            for listed in (split, "all"):
                with (root / "imageLists" / f"{listed}.txt").open("a") as file:
                    file.writelines(f"{name}\n" for name in names)
    return root


def _write_164k(root: Path, split: str, number: int, image: Image.Image, numbers: np.ndarray) -> str:
    name = f"{number:012d}"
    images, annotations = root / "images" / f"{split}2017", root / "annotations" / f"{split}2017"
    images.mkdir(parents=True, exist_ok=True)
    image.save(images / f"{name}.jpg")
    if split != "test":
        annotations.mkdir(parents=True, exist_ok=True)
        Image.fromarray(numbers - np.uint8(1)).save(annotations / f"{name}.png")  # 0, unlabelled, becomes 255
    return name


def _write_10k(root: Path, split: str, number: int, image: Image.Image, numbers: np.ndarray) -> str:
    name = f"COCO_train2014_{number:012d}"
    for folder in ("images", "annotations"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    image.save(root / "images" / f"{name}.jpg")
    content = {
        "S": numbers,
        "names": np.array([[f"class {index}"] for index in range(1, 183)], object),
        "captions": np.array([["A tiny picture."]], object),
        "regionMapStuff": np.arange(1, numbers.size + 1, dtype=np.uint16).reshape(numbers.shape),
        "regionLabelsStuff": numbers.reshape(-1, 1),
    }
    savemat(root / "annotations" / f"{name}.mat", content, do_compression=True)
    return name
